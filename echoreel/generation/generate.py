"""Prompt and references -> videos, one per seed: what a user calls."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from diffusers import DiffusionPipeline

from echoreel.bases.base import Base
from echoreel.bases.loading import load_base, model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.common.threads import is_small, one_thread
from echoreel.generation.filming import Shot, acting, film
from echoreel.generation.from_library import FromLibrary
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings, checked_request, resolved
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import read_image
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter

AS_RECOMMENDED = GenerationSettings()


def generate(
    prompt: str,
    references: Sequence[ReferenceVideo] = (),
    *,
    base: DiffusionPipeline | Base | str | Path | None = None,
    adapter: ActionAdapter | str | Path | None = None,
    seed: int | Sequence[int] = 0,
    settings: GenerationSettings = AS_RECOMMENDED,
    image: Path | str | Frames | None = None,
    library: str | Path | ReferenceLibrary | FromLibrary | None = None,
    references_wanted: int = 1,
    action: str | None = None,
) -> GenerationResult:
    """Make the base film `prompt` with the action of the references: one video per seed.

    base: a pipeline, a folder, a hub id, or None for the embedded one; adapter: likewise. image: the first
    frame (H, W, 3) uint8 or its file, for image-to-video bases; cropped and resized to the video's size.
    library: take so many more references from it (its folder, say), by the prompt's action or by `action`;
    none where nothing fits. It may also be what was taken of one already. Over six arguments: each is one
    thing that users ask for. Afterwards a pipeline and an adapter that were given are as before. Raises
    EchoReelError's family for what cannot work, InUse while another thread generates with one of them.
    """
    checked_request(prompt, len(references) + (library is not None), seed, settings)
    if library is not None and not isinstance(library, FromLibrary):
        library = FromLibrary.take(library, prompt, references_wanted, action)
    given = [*references, *(library.references if library else ())]
    seeds = checked_request(prompt, len(given), seed, settings)
    found = base_of(load_base(base) if base is None or isinstance(base, str | Path) else base).whole()
    if given and (adapter is None or isinstance(adapter, str | Path)):
        adapter = load_adapter(adapter)
    settings = resolved(found, settings)
    stored, stale = library.encoded(found, settings) if library else ([], 0)
    given = [*references, *stored]
    shots = [Shot(prompt, each, tuple(given), _first_frame(found, image)) for each in seeds]
    began = time.perf_counter()
    base_videos: list[Frames] = []
    with one_thread(is_small([*found.pipe.components.values(), adapter])) as threads:
        if given:
            assert isinstance(adapter, ActionAdapter)
            if settings.compare:
                with adapter.reading(found):
                    base_videos = _filmed(found, shots, settings, "base")
            with acting(adapter, found, shots[:1], settings):  # all have its prompt
                videos = _filmed(found, shots, settings, "ours")
        else:
            videos = _filmed(found, shots, settings, "base")
    return GenerationResult(
        prompt=prompt,
        references=tuple(given),
        seeds=seeds,
        settings=settings,
        fps=settings.fps or found.fps,
        base=model_name(found.pipe),
        adapter=model_name(adapter) if given else None,
        videos=tuple(videos),
        base_videos=tuple(base_videos),
        seconds=time.perf_counter() - began,
        peak_memory=peak_memory(),
        threads=threads,
        image=str(image) if isinstance(image, str | Path) else None,
        library=library,
        stale=stale,
    )


def peak_memory() -> int:
    """Most bytes of main memory that this process has held so far; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _filmed(base: Base, shots: Sequence[Shot], settings: GenerationSettings, label: str) -> list[Frames]:
    """A video (T, H, W, 3) of each shot, one after the other."""
    return [film(base, [shot], settings, f"{label}, seed {shot.seed}")[0] for shot in shots]


def _first_frame(base: Base, image: Path | str | Frames | None) -> Frames | None:
    """The picture to start from, where the base needs one. Raises EchoReelError, VideoError."""
    if base.needs_image != (image is not None):
        name = type(base.pipe).__name__
        raise EchoReelError(
            f"{name} makes a video from its first frame, need it: image=FILE, or --image FILE"
            if image is None
            else f"{name} makes videos from text alone; leave the image out"
        )
    return read_image(image) if isinstance(image, str | Path) else image
