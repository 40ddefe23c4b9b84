"""A base from a folder, a hub id or the package, on its device, with offloading and LoRAs."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import diffusers
import torch
from diffusers import DiffusionPipeline

from echoreel.bases.base import Base
from echoreel.bases.finite import check_small_parts
from echoreel.bases.known_bases import KNOWN, known_base
from echoreel.bases.lookup import base_of
from echoreel.bases.loras import denoiser_of_lora, lora_here
from echoreel.bases.missing_tensors import check_complete, transformers_parts, variant_in
from echoreel.bases.model_index import blamed_on_index
from echoreel.bases.noise_schedule import check_noise
from echoreel.bases.part_sizes import (
    check_layers,
    check_lora,
    check_no_adapter,
    check_parts,
    check_pictures,
    check_schedule,
)
from echoreel.bases.ports.lvdm_pipeline import LVDMPipeline
from echoreel.bases.ports.videocrafter_pipelines import VideoCrafterImagePipeline, VideoCrafterPipeline
from echoreel.bases.quantize import (
    Quantize,
    checked_quantize,
    for_denoisers,
    names_of,
    quantization,
    store_as_fp8,
)
from echoreel.bases.single_file import SUFFIXES, denoiser_name, denoiser_of, parts_around, single_file
from echoreel.bases.token_ids import check_token_lists, check_tokenizers
from echoreel.common.checksums import check_packaged
from echoreel.common.errors import BaseUnsupported, EchoReelError, MissingExtra, SettingsError
from echoreel.common.exclusive import one_at_a_time
from echoreel.common.extras import needs
from echoreel.common.loading_errors import why_not_loaded
from echoreel.common.places import HUB_ID, WEIGHTS, at_home, check_readable

LOG = logging.getLogger(__name__)
Offload: TypeAlias = Literal["model", "layers"]
PIPELINES = {  # that diffusers does not know by name
    pipeline.__name__: pipeline
    for pipeline in (LVDMPipeline, VideoCrafterPipeline, VideoCrafterImagePipeline)
}


def load_base(
    name: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    offload: Offload | None = None,
    loras: Sequence[str | Path] = (),
    parts: str | Path | None = None,
    quantize: str | None = None,
) -> DiffusionPipeline:
    """Load a supported video pipeline from a folder, the Hugging Face Hub, or this package.

    Only safetensors are read, and no code of a model is run.

    Args:
        name: a folder, a hub id, one .safetensors or .gguf file, or a short name such as "wan-1.3b". Default,
            or "embedded": that of this package.
        dtype: of the weights. Default: bfloat16 on a GPU, float32 elsewhere and for the embedded base.
        device: Default: the GPU, if there is one.
        offload: keep on the GPU only what computes: whole parts of the base ("model"), or single layers
            ("layers"), which is slower and needs the least.
        loras: files, folders or hub ids, all of which act. For a base with two denoisers each as
            "transformer=FILE" or "transformer_2=FILE".
        parts: of a denoiser in one file: the folder or hub id of a pipeline with the rest. Default: the one
            that the file lies in.
        quantize: the denoiser's weights in fewer bits: "int8", "fp8" (both by torchao), "nf4" (bitsandbytes,
            on GPUs), or "fp8-storage", which needs no package and computes in `dtype`. Default: none.

    Returns:
        A diffusers pipeline.

    Raises:
        BaseUnsupported: it is not a pipeline of a supported family, or cannot be loaded.
        EchoReelError: a LoRA or an offloading does not work with it.
        MissingExtra: `quantize` needs a package.
    """
    began, kind = time.perf_counter(), checked_quantize(quantize)
    device = device_of(device)
    pipe = load_parts(name, (), dtype, device, parts, kind)
    base = base_of(pipe)
    for number, lora in enumerate(loras):
        _add_lora(base, str(lora), f"lora-{number}")
    if loras:
        pipe.set_adapters([f"lora-{number}" for number in range(len(loras))])
    _place(pipe, device, offload)
    LOG.info(
        "base: %s from %s, in %s%s on %s%s, loaded in %.1f s",
        type(pipe).__name__,
        pipe.config["_name_or_path"],
        str(pipe.dtype).removeprefix("torch."),
        "" if kind is None else f" and {kind}",
        device,
        "".join(f", LoRA {lora}" for lora in loras),
        time.perf_counter() - began,
    )
    return pipe  # type: ignore[no-any-return]


def device_of(device: torch.device | str | None) -> torch.device:
    """Itself, or the GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


@one_at_a_time
def load_parts(
    name: str | Path | None,
    without: Collection[str],
    dtype: torch.dtype | None,
    device: torch.device,
    parts: str | Path | None = None,
    quantize: Quantize | None = None,
) -> Any:
    """The pipeline in main memory, but for the parts that it is asked to be without.

    Raises as `load_base` does.
    """
    file = single_file(name)
    if file is None and parts is not None:
        raise EchoReelError("--base-parts is for a base in one file, and this is not one; leave it out")
    if quantize is not None and file is not None and file.suffix.lower() == ".gguf":
        raise SettingsError(f"quantize: {file.name} is in fewer bits already; leave it out")
    whole = name if file is None else parts or parts_around(file)
    source = find_model("base", whole, "model_index.json")
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" and source != WEIGHTS / "base" else torch.float32
    try:
        config: Any = DiffusionPipeline.load_config(str(source))
        kind = pipeline_class(config)
        own = {} if file is None else {denoiser_name(config): (str(source), file)}
        folder = _folder(source, kind, {*own, *without})
        with blamed_on_index(folder, config, kind):
            check_schedule(folder, config)
            check_layers(folder)
            for each in {path.parent for path in folder.glob("*/*.json")}:
                check_token_lists(each)
            wanted = {part: entry for part, entry in config.items() if part not in without}
            check_no_adapter(*(folder / part for part in wanted))
            if source == WEIGHTS / "base":
                check_packaged("base")
            else:
                check_parts(folder, wanted, own)
            few = None if quantize is None else quantization(quantize, dtype, device)
            with _any_text_encoder():
                read = dict(transformers_parts(folder, wanted, dtype))
                if file is not None and denoiser_name(config) not in without:
                    read |= denoiser_of(file, source, config, dtype, few)
                read |= dict.fromkeys(without)
                more: dict[str, Any] = {"variant": variant_in(folder, wanted)}
                more |= {} if few is None else {"quantization_config": for_denoisers(few, wanted)}
                pipe = kind.from_pretrained(str(folder), dtype=dtype, use_safetensors=True, **read, **more)
            check_complete(pipe.components)
            if source != WEIGHTS / "base":  # which has checksums
                check_small_parts(pipe.components)
            check_tokenizers(pipe.components)
            for each in pipe.components.values():
                check_pictures(each)
            if pipe.components.get("scheduler"):
                check_noise(pipe.scheduler)
            if has_denoiser := not {*names_of(config)} & {*without}:
                base_of(pipe)
    except (MissingExtra, SettingsError):
        raise
    except Exception as error:  # the hub, the disk or any class that the folder names: no common type
        raise BaseUnsupported(why_not_loaded("base", file or source, error)) from error
    pipe.register_to_config(_name_or_path=str(file or source))
    if quantize == "fp8-storage" and has_denoiser:
        base = base_of(pipe)
        store_as_fp8(base.denoisers, base.checkpoints or base.sites, dtype)
    return pipe


def pipeline_class(config: Mapping[str, Any]) -> Any:
    """By its own class: DiffusionPipeline would load its optional parts again, not take those that are read.

    Raises EchoReelError for a class that is not a pipeline.
    """
    name = config.get("_class_name")
    if not isinstance(name, str):
        raise EchoReelError(
            f"its model_index.json says {name!r:.80} of `_class_name`, need the name of a pipeline; get the "
            "base's files again"
        )
    found = PIPELINES.get(name, getattr(diffusers, name, DiffusionPipeline))
    if not (isinstance(found, type) and issubclass(found, DiffusionPipeline)):
        raise EchoReelError(
            f"{name} is not a pipeline; give a folder that save_pretrained of a pipeline wrote"
        )
    return found


def _folder(source: Path | str, kind: Any, without: Collection[str]) -> Path:
    """The base's files on this machine, downloaded where `source` is a hub id, but for some parts."""
    if isinstance(source, Path):
        return source
    return Path(kind.download(source, use_safetensors=True, **dict.fromkeys(without)))


@contextmanager
def _any_text_encoder() -> Iterator[None]:
    """Without diffusers' note that a text encoder is of another class than usual: the embedded base's is."""
    logger = logging.getLogger("diffusers.pipelines.pipeline_utils")

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Expected types for text_encoder")

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _place(pipe: Any, device: torch.device, offload: Offload | None) -> None:
    """Raises EchoReelError for an offloading that this machine cannot do."""
    if offload == "model":
        if device.type == "cpu":
            raise EchoReelError("offload 'model' needs a GPU, and this machine has none; leave it out")
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "layers":
        pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    else:
        pipe.to(device)


@one_at_a_time
def _add_lora(base: Base, told: str, name: str) -> None:
    """Raises EchoReelError unless it was loaded and acts."""
    if not hasattr(base.denoiser, "add_adapter"):
        raise EchoReelError(f"lora {told}: a {type(base.denoiser).__name__} cannot use LoRAs; leave it out")
    pipe, (part, source) = base.pipe, denoiser_of_lora(base, told)
    with needs("peft", "--lora"):
        import peft  # noqa: F401 - diffusers uses it
    if Path(source).suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise EchoReelError(
            f"lora {source}: need a .safetensors file; others may run code when they are read"
        )
    try:
        here = lora_here(source)
        check_lora(here)
        second = {f"load_into_{part}": True} if part in base.more else {}
        pipe.load_lora_weights(here, adapter_name=name, use_safetensors=True, **second)
        check_complete(pipe.components)
    except Exception as error:  # as in load_base
        raise EchoReelError(why_not_loaded("lora", Path(source), error)) from error
    if not any(name in names for names in pipe.get_list_adapters().values()):
        raise EchoReelError(f"lora {source}: none of its layers are in this base; give one made for it")


def find_model(kind: str, name: str | Path | None, marker: str) -> Path | str:
    """The folder with a file `marker`, or the hub id, that `name` means. Raises EchoReelError."""
    if name is None or name == "embedded":
        if not (WEIGHTS / kind / marker).is_file():
            raise EchoReelError(f"this installation has no embedded {kind}; give one: a folder or a hub id")
        return WEIGHTS / kind
    folder = at_home(name)
    if kind == "base" and not folder.exists() and (known := known_base(str(name))):
        return known.hub_id
    if not folder.exists() and HUB_ID.fullmatch(str(name)):
        return str(name)
    if not folder.is_dir():
        meant = "file" if folder.suffix.lower() in SUFFIXES else "folder"
        what = "is a file" if folder.exists() else f"there is no such {meant}"
        raise EchoReelError(f"{kind} {name}: {what}; give {_choices(kind, str(name))}")
    if not (folder / marker).is_file():
        inside = (folder / kind / marker).is_file()  # a run's folder
        advice = f"did you mean {folder / kind}?" if inside else "give a folder that save_pretrained wrote"
        raise EchoReelError(f"{kind} {name}: holds no {marker}; {advice}")
    try:
        check_readable(folder)
    except OSError as error:
        raise EchoReelError(why_not_loaded(kind, folder, error)) from error
    return folder


def _choices(kind: str, name: str) -> str:
    """What else may be given in place of a name that is nothing."""
    short = kind == "base" and Path(name).name == name and Path(name).suffix not in SUFFIXES
    return f"a folder or a hub id, or one of {', '.join(KNOWN)}" if short else "a folder or a hub id"


def model_name(model: Any) -> str:
    """Folder or hub id that a pipeline or adapter came from, else its class."""
    name = model.config.get("_name_or_path") or type(model).__name__
    return "embedded" if Path(name).is_relative_to(WEIGHTS) else str(name)
