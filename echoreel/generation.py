"""Prompt and references -> the base's own pipeline -> video.

Nothing of the base's call is replaced: scheduler, guidance and options are its own. Each video is made in a
call of its own with a generator of its own, seeded on the CPU: a seed names a video, alone or among others.
"""

import importlib.util
import inspect
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from pydantic import PositiveFloat, PositiveInt

from echoreel.adapter import ActionAdapter
from echoreel.backbones import base_of
from echoreel.backbones.lvdm_pipeline import LVDMPipeline
from echoreel.backbones.videocrafter_pipelines import VideoCrafterImagePipeline, VideoCrafterPipeline
from echoreel.config import Settings, validated
from echoreel.errors import AdapterMismatch, BaseUnsupported, EchoReelError, MissingExtra, SettingsError
from echoreel.pictures import Frames, fitted
from echoreel.references import ReferenceVideo
from echoreel.result import GenerationResult, GenerationSettings, checked_request
from echoreel.video import read_image

WEIGHTS = Path(__file__).parent / "weights"  # base/ and adapter/: the embedded ones
RECOMMENDATION = "generation.json"  # in a base's folder
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
AS_RECOMMENDED = GenerationSettings()
Offload: TypeAlias = Literal["model", "layers"]

PIPELINES = {  # that diffusers does not know by name
    pipeline.__name__: pipeline
    for pipeline in (LVDMPipeline, VideoCrafterPipeline, VideoCrafterImagePipeline)
}


class RecommendedSettings(Settings):
    """What a base's folder may say in `generation.json`: values for what the user leaves open."""

    num_inference_steps: PositiveInt | None = None  # these are named as in the pipeline's call
    guidance_scale: float | None = None
    num_frames: PositiveInt | None = None
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    negative_prompt: str | None = None
    fps: PositiveFloat | None = None  # of the files made of its videos


CALL_ARGUMENTS = {  # of a pipeline: our settings
    "num_inference_steps": "steps",
    "guidance_scale": "guidance_scale",
    "num_frames": "num_frames",
    "height": "height",
    "width": "width",
    "negative_prompt": "negative_prompt",
}


def load_base(
    name: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    offload: Offload | None = None,
    loras: Sequence[str | Path] = (),
) -> DiffusionPipeline:
    """A supported video pipeline: the embedded one (None or "embedded"), a folder, or a hub id.

    Safetensors only. On the GPU where there is one; in float32, other bases on a GPU in bfloat16. offload:
    what is brought to the device only while it computes, whole "model"s or single "layers", which is slower
    and needs the least. loras: files, folders or hub ids, all of which act. Raises BaseUnsupported for what
    is no pipeline of a supported family or cannot be had, EchoReelError for the rest.
    """
    source = _find("base", name, "model_index.json")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" and source != WEIGHTS / "base" else torch.float32
    try:
        pipeline: Any = PIPELINES.get(DiffusionPipeline.load_config(str(source))["_class_name"])
        load = (pipeline or DiffusionPipeline).from_pretrained
        pipe = load(str(source), dtype=dtype, use_safetensors=True)
    except Exception as error:  # the hub, the disk or any class that the folder names: no common type
        raise BaseUnsupported(_cannot_load("base", source, error)) from error
    base_of(pipe)
    for number, lora in enumerate(loras):
        _add_lora(pipe, str(lora), f"lora-{number}")
    if loras:
        pipe.set_adapters([f"lora-{number}" for number in range(len(loras))])
    _place(pipe, device, offload)
    return pipe  # type: ignore[no-any-return]


def _place(pipe: Any, device: torch.device, offload: Offload | None) -> None:
    """Raises EchoReelError for an offloading that this machine cannot do."""
    if offload == "model":
        if device.type == "cpu":
            raise EchoReelError(
                "got offload 'model' on a machine without GPU, where all is in main memory; leave it out"
            )
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "layers":
        pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    else:
        pipe.to(device)


def _add_lora(pipe: Any, source: str, name: str) -> None:
    """Raises EchoReelError unless it was loaded and acts."""
    if not hasattr(base_of(pipe).denoiser, "add_adapter"):
        raise EchoReelError(
            f"lora {source}: a {type(base_of(pipe).denoiser).__name__} takes none; leave it out"
        )
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra('LoRA needs the package peft; pip install "echoreel[lora]"')
    if Path(source).suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise EchoReelError(
            f"lora {source}: need a .safetensors file; others may run code when they are read"
        )
    try:
        pipe.load_lora_weights(source, adapter_name=name, use_safetensors=True)
    except Exception as error:  # as in load_base
        raise EchoReelError(_cannot_load("lora", Path(source), error)) from error
    if not any(name in names for names in pipe.get_list_adapters().values()):
        raise EchoReelError(f"lora {source}: none of its layers are in this base; give one made for it")


def load_adapter(name: str | Path | None = None) -> ActionAdapter:
    """The embedded adapter (None or "embedded"), one of a folder, or of a hub id. Safetensors only.

    Raises AdapterMismatch for what is no adapter or cannot be had.
    """
    source = _find("adapter", name, "config.json")
    try:
        adapter: ActionAdapter = ActionAdapter.from_pretrained(str(source), use_safetensors=True).eval()
    except Exception as error:  # as in load_base
        raise AdapterMismatch(_cannot_load("adapter", source, error)) from error
    return adapter


def generate(
    prompt: str,
    references: Sequence[ReferenceVideo] = (),
    *,
    base: DiffusionPipeline | str | Path | None = None,
    adapter: ActionAdapter | str | Path | None = None,
    seed: int | Sequence[int] = 0,
    settings: GenerationSettings = AS_RECOMMENDED,
    image: Path | str | Frames | None = None,
) -> GenerationResult:
    """Make the base film `prompt` with the action of the references: one video per seed.

    base: a pipeline, a folder, a hub id, or None for the embedded one; adapter: likewise. image: the first
    frame (H, W, 3) uint8 or its file, for image-to-video bases; cropped and resized to the video's size.
    Afterwards the adapter is detached and has no references. Raises EchoReelError's family for what cannot
    work.
    """
    seeds = checked_request(prompt, len(references), seed, settings)
    pipe: Any = load_base(base) if base is None or isinstance(base, str | Path) else base
    if references and (adapter is None or isinstance(adapter, str | Path)):
        adapter = load_adapter(adapter)
    settings = resolved(pipe, settings)
    first = _first_frame(pipe, image, settings)
    film = partial(_film, pipe, prompt, settings=settings, image=first)
    base_videos: list[Frames] = []
    began = time.perf_counter()
    if references:
        assert isinstance(adapter, ActionAdapter)
        with _acting(adapter, pipe, settings):
            if settings.compare:
                base_videos = [film(s, label="base") for s in seeds]
            size = (settings.height, settings.width) if settings.height and settings.width else None
            both = settings.guidance == "both" and (settings.guidance_scale or 0) > 1
            negative = (settings.negative_prompt or "") if both else None
            adapter.set_references(list(references), prompt, size, negative)
            videos = [film(s, label="ours") for s in seeds]
    else:
        videos = [film(s, label="base") for s in seeds]
    return GenerationResult(
        prompt=prompt,
        references=tuple(references),
        seeds=seeds,
        settings=settings,
        fps=settings.fps or base_of(pipe).family.fps,
        base=model_name(pipe),
        adapter=model_name(adapter) if references else None,
        videos=tuple(videos),
        base_videos=tuple(base_videos),
        seconds=time.perf_counter() - began,
        peak_memory=peak_memory(),
        image=str(image) if isinstance(image, str | Path) else None,
    )


def resolved(pipe: DiffusionPipeline, settings: GenerationSettings) -> GenerationSettings:
    """Settings without gaps: from the base's `generation.json`, else the defaults of the pipeline's call.

    Raises EchoReelError for a setting that the pipeline does not take, SettingsError for a wrong file.
    """
    accepted = inspect.signature(type(pipe).__call__).parameters
    recommended, family = _recommended(pipe), base_of(pipe).family
    filled: dict[str, Any] = {"fps": settings.fps or recommended.fps or family.fps}
    for argument, name in CALL_ARGUMENTS.items():
        value = getattr(settings, name)
        if value is not None and argument not in {*accepted, *family.translated}:
            raise EchoReelError(f"{type(pipe).__name__} takes no {argument}; leave it out")
        if value is None:
            value = getattr(recommended, argument)
        own = family.translated.get(argument, argument)
        if value is None and own is not None and own in accepted:
            value = accepted[own].default
        filled[name] = value
    most, frames = family.most_frames(pipe), filled["num_frames"]
    if most is not None and frames is not None and frames > most:
        if settings.num_frames is not None:
            raise EchoReelError(f"got {frames} frames, need {most} or fewer, which this base was trained for")
        filled["num_frames"] = most
    return settings.model_copy(update=filled)


def peak_memory() -> int:
    """Most bytes of main memory that this process has held so far; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _acting(adapter: ActionAdapter, pipe: Any, settings: GenerationSettings) -> Iterator[None]:
    """The adapter attached to the pipeline and set up, without references; afterwards detached."""
    adapter.attach(pipe)
    try:
        adapter.clear_references()
        adapter.set_scale(settings.scale)
        adapter.set_guidance(settings.guidance)
        adapter.set_window(*settings.window)
        yield
    finally:
        adapter.clear_references()
        adapter.detach()


def _first_frame(
    pipe: Any, image: Path | str | Frames | None, settings: GenerationSettings
) -> Image.Image | None:
    """The picture to start from, in the video's size where it is known. Raises EchoReelError, VideoError."""
    if base_of(pipe).family.image(pipe) != (image is not None):
        raise EchoReelError(
            f"{type(pipe).__name__} makes a video from its first frame, need it: image=FILE, or --image FILE"
            if image is None
            else f"{type(pipe).__name__} makes videos from text alone; leave the image out"
        )
    if image is None:
        return None
    picture = read_image(image) if isinstance(image, str | Path) else image
    if settings.height and settings.width:
        picture = fitted(picture, (settings.height, settings.width))
    return Image.fromarray(picture)


def _film(
    pipe: Any,
    prompt: str,
    seed: int,
    *,
    settings: GenerationSettings,
    image: Image.Image | None,
    label: str,
) -> Frames:
    """One video (T, H, W, 3) by the pipeline's own call. Raises EchoReelError for what it refuses."""
    wanted = {argument: getattr(settings, name) for argument, name in CALL_ARGUMENTS.items()}
    wanted |= {"image": image, "prompt": prompt, "generator": torch.Generator().manual_seed(seed)}
    given = {argument: value for argument, value in wanted.items() if value is not None}
    given = base_of(pipe).family.call(pipe, given)
    with _progress(pipe, f"{label}, seed {seed}"), torch.random.fork_rng():
        torch.manual_seed(seed)  # some pipelines draw an image's latents without the generator
        try:
            video = pipe(output_type="np", **given).frames[0]
        except torch.OutOfMemoryError as error:
            raise EchoReelError(
                "out of GPU memory; ask for fewer or smaller frames, or a smaller base"
            ) from error
        except ValueError as error:
            raise EchoReelError(f"{type(pipe).__name__} refuses: {error}") from error
    if not np.isfinite(video).all():
        raise EchoReelError(f"the base made values that are no numbers in {pipe.dtype}; load it in float32")
    frames: Frames = np.round(video * 255).astype(np.uint8)
    return frames


@contextmanager
def _progress(pipe: Any, description: str) -> Iterator[None]:
    """The pipeline's own bar, named, and on terminals only unless its owner has said otherwise."""
    before = getattr(pipe, "_progress_bar_config", {})
    pipe.set_progress_bar_config(**{"disable": None, "desc": description} | before)
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def _recommended(pipe: Any) -> RecommendedSettings:
    path = Path(pipe.name_or_path or "") / RECOMMENDATION
    if not path.is_file():
        return RecommendedSettings()
    try:
        return validated(RecommendedSettings, json.loads(path.read_bytes()), str(path))
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from error


def _find(kind: str, name: str | Path | None, marker: str) -> Path | str:
    """The folder with a file `marker`, or the hub id, that `name` means. Raises EchoReelError."""
    if name is None or name == "embedded":
        if not (WEIGHTS / kind / marker).is_file():
            raise EchoReelError(f"this installation has no embedded {kind}; give one: a folder or a hub id")
        return WEIGHTS / kind
    folder = Path(name).expanduser()
    if not folder.exists() and HUB_ID.fullmatch(str(name)):
        return str(name)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise EchoReelError(f"{kind} {name}: {what}; give a folder or a hub id")
    if not (folder / marker).is_file():
        raise EchoReelError(f"{kind} {name}: holds no {marker}; give a folder that save_pretrained wrote")
    return folder


def _cannot_load(kind: str, source: Path | str, error: Exception) -> str:
    if isinstance(source, str):
        return f"{kind} {source}: no such folder, and the hub cannot be reached or has no such {kind}"
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return f"{kind} {source}: cannot be loaded: {reason or type(error).__name__}"


def model_name(model: Any) -> str:
    """Folder or hub id that a pipeline or adapter came from, else its class."""
    name = model.config.get("_name_or_path") or type(model).__name__
    return "embedded" if Path(name).is_relative_to(WEIGHTS) else str(name)
