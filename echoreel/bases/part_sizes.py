"""What the configs of a base ask for: they may be somebody else's, so they are checked before parts are made.

Making a part that its weights do not fill would take time and memory without limit, before diffusers finds
that they lack something.
"""

import math
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DDIMScheduler
from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.videomae.modeling_videomae import VideoMAEPatchEmbeddings

from echoreel.bases.missing_tensors import check_finite, check_statistics
from echoreel.common.errors import BaseUnsupported, CheckpointError
from echoreel.common.places import check_ends, check_readable, small_file
from echoreel.common.text import json_value

LAYERS = re.compile("layers|depth|num_blocks")  # in a name of a part's config: how often something is made
MOST_LAYERS = 1024
MOST_LABELS = 100_000  # of a classifier: transformers makes a name for each before it looks at the weights
MOST_ENTRIES = 1024  # of a list in a config
MOST_MODULES = 20_000  # of a part, at all depths; a Wan of 14 billion numbers has 1500
MOST_COMPUTED = 2**24  # numbers that transformers computes one by one; a large VideoMAE has 2 million
MOST_TRAINED_STEPS = 100_000  # of a scheduler; usual are 1000
MOST_SIDE = 4096  # of a picture for an encoder; usual are 224 to 384
PACKED = 8  # numbers that a byte of weights holds at most: GGUF has a bit and a half for one
LORA_FACTS = "lora_adapter_metadata"  # in a LoRA's file
MOST_RANK = 4096  # of a LoRA
OF_TORCH = {"", "eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm"}  # ways to compute layers
PLAIN_NAME = re.compile(r"[\w.^$-]+")
FLOATING = re.compile("B?F")  # how safetensors names their kinds
WEIGHTS = (".safetensors", ".bin")
OURS = f"{__package__}.ports."  # modules of parts that diffusers does not have
ROOM = 2**26  # numbers that are computed when a part is made, such as tables of positions


def check_schedule(source: Path | str, parts: Mapping[str, Any]) -> None:
    """Raises BaseUnsupported for a schedule of so many steps that its tables alone would fill the memory."""
    if parts.get("scheduler"):
        steps = DDIMScheduler.load_config(str(source), subfolder="scheduler").get("num_train_timesteps", 1)
        if not isinstance(steps, int) or not 0 < steps <= MOST_TRAINED_STEPS:
            raise BaseUnsupported(
                f"its scheduler has num_train_timesteps {steps!r:.40}, need 1 to {MOST_TRAINED_STEPS}"
            )


def check_layers(folder: Path) -> None:
    """Raises CheckpointError for a part in a folder whose config asks for more layers than networks have."""
    for config in folder.glob("*/config.json"):
        check_counts(config.parent.name, json_value(small_file(config).decode()))


def check_counts(part: str, config: Any) -> None:
    """Raises CheckpointError where a part's config asks for more layers or labels than any network has, has
    numbers that are none, or names code to be run."""
    if kernel := _kernel(config):
        raise CheckpointError(
            f"{part} asks for code of the hub, {kernel:.80}, which is never run; take that entry out of the "
            "config"
        )
    for name, count in _counts(config):
        if not math.isfinite(count) and part != "scheduler":  # DPM's lambda_min_clipped is -inf
            raise CheckpointError(f"{part} has {name} {count}, need a finite number; get the files again")
        most = MOST_LABELS if name == "num_labels" else MOST_LAYERS if LAYERS.search(name) else count
        if count > most:
            raise CheckpointError(f"{part} has {name} {count}, at most {most}; get the files again")


def _kernel(told: Any, is_named: bool = False) -> str | None:
    """A way to compute layers that a config names and torch does not have: transformers would fetch a kernel
    of the hub for it, and run it. is_named: `told` is, or lies below, what names one."""
    if isinstance(told, dict):
        parts = ((value, is_named or "_implementation" in str(key)) for key, value in told.items())
    elif isinstance(told, list):
        parts = ((value, is_named) for value in told)
    else:
        return told if is_named and isinstance(told, str) and told not in OF_TORCH else None
    return next((found for part in parts if (found := _kernel(*part))), None)


def check_no_adapter(*folders: Path, told: str = "") -> None:
    """Raises CheckpointError for a model with an adapter of peft, which transformers would add unchecked."""
    for folder in folders:
        if os.path.lexists(folder / "adapter_config.json"):
            raise CheckpointError(
                f"{told or folder.name} has an adapter_config.json, an adapter of peft, which is not read; "
                "remove it, or merge it into the weights"
            )


def _counts(told: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that a config tells, with the name of the key."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _counts(value, str(key))
    elif isinstance(told, list):
        if len(told) > MOST_ENTRIES:
            raise CheckpointError(
                f"{name} has {len(told)} entries, at most {MOST_ENTRIES}; get the files again"
            )
        for value in told:
            yield from _counts(value, name)
    elif isinstance(told, int | float):
        yield name, told


def check_parts(folder: Path, parts: Mapping[str, Any], others: Mapping[str, tuple[str, Path]]) -> None:
    """Raises CheckpointError for a part that asks for more numbers than its weights can hold.

    folder: of the pipeline. parts: what its `model_index.json` says. others: parts that come from one file,
    with the folder or hub id of their config.
    """
    for part, entry in parts.items():
        source, file = others.get(part, (str(folder), None))
        files = [file] if file else [*folder.glob(f"{part}/*.safetensors")]
        made = None if not is_part(entry) or not files else made_empty(source, part, *entry)
        if isinstance(made, nn.Module):
            tensors = [*made.parameters(), *made.buffers()]
            asked, stored = sum(map(torch.numel, tensors)), sum(file.stat().st_size for file in files)
            if not file:
                check_kinds(folder / part, files)
                check_statistics(part, made, files)
            elif file.suffix.lower() == ".safetensors":
                _check_floating(file.name, [file])
            if asked > PACKED * stored + ROOM:
                raise CheckpointError(
                    f"the config of {part} asks for {asked} numbers, its weights have {stored} bytes; get "
                    "the files again"
                )


def check_kinds(folder: Path, files: Sequence[Path]) -> None:
    """Raises CheckpointError for weights of whole numbers or booleans, which would silently become others."""
    if "quantization_config" in json_value(small_file(folder / "config.json").decode()):
        return
    _check_floating(folder.name, files)


def _check_floating(what: str, files: Sequence[Path]) -> None:
    """Raises CheckpointError."""
    for file in files:
        with safe_open(str(file), "pt") as held:
            kinds = {name: str(held.get_slice(name).get_dtype()) for name in held.keys()}  # noqa: SIM118
        for name, kind in kinds.items():
            if name.endswith((".weight", ".bias")) and not FLOATING.match(kind):
                raise CheckpointError(
                    f"{what} has the tensor {name} of {kind}, need floating-point; get the files again"
                )


def check_lora(source: str) -> None:
    """Raises CheckpointError for a LoRA on this machine with giant ranks, or with NaN in its weights.

    So it does where layers are named by patterns: a match may take any time.
    """
    place = Path(source)
    for file in place.glob("*.safetensors") if place.is_dir() else [place] if place.exists() else []:
        check_ends(file)
        with safe_open(str(file), "pt") as held:
            told = json_value((held.metadata() or {}).get(LORA_FACTS, "{}"))
            for name in held.keys():  # noqa: SIM118 - it is no dict
                check_finite({name: held.get_tensor(name)})
        for name, value in told.items() if isinstance(told, dict) else ():
            key = str(name).rpartition(".")[2]
            inside = value.items() if isinstance(value, dict) else ()
            ranks = [value] if key == "r" else [rank for _, rank in inside] if key == "rank_pattern" else []
            if not all(isinstance(rank, int) and 1 <= rank <= MOST_RANK for rank in ranks):
                raise CheckpointError(
                    f"its {name} is {value!r:.60}, need at least 1, at most {MOST_RANK}; get the file again"
                )
            patterns = (
                [value] if key.endswith("_modules") and isinstance(value, str) else [k for k, _ in inside]
            )
            if not all(PLAIN_NAME.fullmatch(str(pattern)) for pattern in patterns):
                raise CheckpointError(f"its {name} has a pattern, need names of layers; get the file again")


def check_model(folder: Path, kind: str | None = None) -> None:
    """Raises CheckpointError for a model of transformers in a folder that is of another kind, or whose config
    asks for more numbers than its weights can hold, and whatever transformers does."""
    check_readable(folder)
    told, asked = asked_by(folder)
    stored = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in WEIGHTS)
    if asked > PACKED * stored + ROOM:
        raise CheckpointError(
            f"its config asks for {asked} numbers, its weights have {stored} bytes; get the files again"
        )
    if kind not in (None, told.model_type):  # else one of usual sizes is made
        raise CheckpointError(f"it is a {told.model_type}, need a {kind}; give another one")


def asked_by(folder: Path) -> tuple[Any, int]:
    """The config of a model of transformers, and how many numbers it asks for. Raises as `check_model`."""
    check_no_adapter(folder, told="the model")
    check_counts("the model", json_value(small_file(folder / "config.json").decode()))
    told = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    check_counts("the model", told.to_dict())
    _check_positions(told)
    with _on_meta("the model"):
        made: Any = transformers.AutoModel.from_config(told, trust_remote_code=False)
    return told, sum(tensor.numel() for tensor in [*made.parameters(), *made.buffers()])


def _check_positions(config: Any) -> None:
    """Raises CheckpointError where a VideoMAE would take minutes to compute its table of positions."""
    if config.model_type == "videomae":
        with _on_meta("the model"):
            numbers = VideoMAEPatchEmbeddings(config).num_patches * config.hidden_size
        if numbers > MOST_COMPUTED:
            raise CheckpointError(
                f"its config asks for positions of {numbers} numbers, at most {MOST_COMPUTED}; get the files "
                "again"
            )


def check_pictures(processor: Any) -> None:
    """Raises CheckpointError for a processor of transformers that makes any picture a giant one."""
    if not isinstance(processor, ImageProcessingMixin) or hasattr(processor, "patch_size"):
        return  # those of patches have numbers of pixels in place of sides, which only limit a picture
    for sides in (getattr(processor, name, None) for name in ("size", "crop_size")):
        told = vars(sides) if hasattr(sides, "shortest_edge") else sides  # transformers' own kind of dict
        told = [*told.values()] if isinstance(told, Mapping) else [told]
        if most := [side for side in told if isinstance(side, int | float) and side > MOST_SIDE]:
            raise CheckpointError(
                f"it makes pictures of {most[0]:g} pixels a side, at most {MOST_SIDE}; get the files again"
            )


def is_part(value: Any) -> bool:
    """Whether a value in a `model_index.json` names a part: its package and its class."""
    return isinstance(value, list) and len(value) == 2


def made_empty(source: str, part: str, package: str | None, kind: str | None) -> Any:
    """A part of a pipeline without weights, which takes no memory; None for tokenizers and unknown classes.

    Raises CheckpointError for a config that asks for too much, and whatever the class does.
    """
    found: Any = getattr(_module(package or ""), kind or "", None)
    if not isinstance(found, type):
        return None
    diffusers_own: Any = found if hasattr(found, "load_config") else None
    if diffusers_own:
        config = diffusers_own.load_config(source, subfolder=part)
        check_counts(part, config)
        if not issubclass(found, nn.Module):
            return diffusers_own.from_config(config)
        with _on_meta(part):
            return diffusers_own.from_config(config)
    if not issubclass(found, transformers.PreTrainedModel):
        return None
    check_counts(part, transformers.PretrainedConfig.get_config_dict(source, subfolder=part)[0])
    told = (found.config_class or transformers.AutoConfig).from_pretrained(source, subfolder=part)
    check_counts(part, told.to_dict())  # with usual sizes for those that are not told
    with _on_meta(part):
        return found(told)


def _module(package: str) -> Any:
    """The module that a `model_index.json` names as the one of a part's class; None for one of others."""
    if package.startswith(OURS):
        return import_module(package)
    known = {"diffusers": diffusers, "transformers": transformers}
    return known.get(package) or getattr(diffusers.pipelines, package, None)


@contextmanager
def _on_meta(part: str) -> Iterator[None]:
    """What is made has no memory. Raises CheckpointError as soon as it has too many modules."""
    mine, count = threading.get_ident(), 0

    def one_more(*_: object) -> None:
        nonlocal count
        count += threading.get_ident() == mine
        if count > MOST_MODULES:
            raise CheckpointError(f"{part} has over {MOST_MODULES} modules; get the files again")

    hook = register_module_module_registration_hook(one_more)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            yield
    finally:
        hook.remove()
