"""Prompt and references -> the base's own pipeline -> video.

Nothing of the base's call is replaced: scheduler, guidance and options are its own. Each video is made in a
call of its own with a generator of its own, seeded on the CPU: a seed names a video, alone or among others.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from echoreel.bases.loading import load_base, model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import CALL_ARGUMENTS, GenerationSettings, checked_request, resolved
from echoreel.media.images import Frames, fitted
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import read_image
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter

AS_RECOMMENDED = GenerationSettings()


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
