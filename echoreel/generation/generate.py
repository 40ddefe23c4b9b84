"""Prompt and references -> videos, one per seed: what a user calls."""

import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

from diffusers import DiffusionPipeline

from echoreel.bases.base import Base
from echoreel.bases.encoding import encoded_elsewhere
from echoreel.bases.loading import load_base, model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, EchoReelError
from echoreel.common.settings import checked
from echoreel.common.threads import is_small, one_thread
from echoreel.generation.filming import Shot, acting, film
from echoreel.generation.from_library import FromLibrary
from echoreel.generation.progress import Look, Progress
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings, checked_request, recommended_size, resolved
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.images import Frames
from echoreel.media.reference_video import Reference, ReferenceVideo, as_references
from echoreel.media.video_files import read_image
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter
from echoreel.method.published import how_to_get_one


@overload
def generate(
    prompt: str,
    references: Reference | Sequence[Reference] = (),
    *,
    base: DiffusionPipeline | Base | str | Path | None = None,
    adapter: ActionAdapter | str | Path | None = None,
    seed: int | Sequence[int] | None = 0,
    settings: GenerationSettings | Mapping[str, Any] | None = None,
    image: Path | str | Frames | None = None,
    library: str | Path | ReferenceLibrary | FromLibrary | None = None,
    references_wanted: int = 1,
    action: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> GenerationResult: ...
@overload
def generate(
    prompt: list[str] | tuple[str, ...],
    references: Reference | Sequence[Reference] = (),
    *,
    base: DiffusionPipeline | Base | str | Path | None = None,
    adapter: ActionAdapter | str | Path | None = None,
    seed: int | Sequence[int] | None = 0,
    settings: GenerationSettings | Mapping[str, Any] | None = None,
    image: Path | str | Frames | None = None,
    library: str | Path | ReferenceLibrary | None = None,
    references_wanted: int = 1,
    action: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> list[GenerationResult]: ...
def generate(
    prompt: str | list[str] | tuple[str, ...],
    references: Reference | Sequence[Reference] = (),
    *,
    base: DiffusionPipeline | Base | str | Path | None = None,
    adapter: ActionAdapter | str | Path | None = None,
    seed: int | Sequence[int] | None = 0,
    settings: GenerationSettings | Mapping[str, Any] | None = None,
    image: Path | str | Frames | None = None,
    library: str | Path | ReferenceLibrary | FromLibrary | None = None,
    references_wanted: int = 1,
    action: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> GenerationResult | list[GenerationResult]:
    """Make videos of `prompt` in which the action is that of the references.

    A pipeline and an adapter that you pass are afterwards as before. It has many arguments: each is one
    thing that users ask for.

    Args:
        prompt: what the videos should show; a list gives a result for each prompt.
        references: clips that show the action: files or `ReferenceVideo`s, one or several.
        base: a pipeline, a folder or a hub id. Default: the embedded base.
        adapter: an adapter for that base, a folder or a hub id. Default: the embedded one.
        seed: makes one video each; None draws one, which the result tells.
        settings: how to generate, also as a dict. Default: as the base recommends.
        image: the first frame, a file or (H, W, 3) uint8, for image-to-video bases; it is cropped and
            resized to the video's size.
        library: a reference library to take further references from, by the prompt's action. If nothing
            matches, none are taken.
        references_wanted: how many to take from the library.
        action: the action to look for in the library. Default: found in the prompt.
        progress: called after each denoising step; an exception that it raises ends the work. Its `look()`
            gives the frames as they are then; of large bases a rough picture, from the second video on.
        **changes: single settings, such as `steps=20` or `scale=1.2`, put over `settings`.

    Returns:
        Videos (T, H, W, 3) uint8, one per seed, and how they were made; a list for a list of prompts.

    Raises:
        SettingsError: a setting is unknown or out of range.
        VideoError: a reference or the image cannot be used.
        AdapterMismatch: the adapter does not fit the base, or none was given for it.
        BaseUnsupported: the base cannot be loaded or is of no supported family.
        InUse: another thread generates with the same pipeline or adapter.
        EchoReelError: anything else that you can mend; all of the above derive from it.
    """
    given = settings.model_dump() if isinstance(settings, GenerationSettings) else dict(settings or {})
    settings = checked(GenerationSettings, **(given | changes))
    seed = secrets.randbelow(2**31) if seed is None else seed
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    shown = as_references(references)
    for each in prompts:
        checked_request(each, len(shown) + (library is not None), seed, settings)
    if library is None or isinstance(library, FromLibrary):
        taken = [library] * len(prompts)
    else:
        taken = [FromLibrary.take(library, each, references_wanted, action) for each in prompts]
    counts = [len(shown) + (len(some.references) if some else 0) for some in taken]
    asked = [checked_request(*each, seed, settings) for each in zip(prompts, counts, strict=True)]
    found = base_of(load_base(base) if base is None or isinstance(base, str | Path) else base).whole()
    if any(counts) and (adapter is None or isinstance(adapter, str | Path)):
        adapter = adapter_for(found, adapter)
    wanted = resolved(found, settings)
    results = [
        _generated(found, adapter, each, shown, seeds, wanted, image, some, progress)
        for each, seeds, some in zip(prompts, asked, taken, strict=True)
    ]
    return results[0] if isinstance(prompt, str) else results


def adapter_for(base: Base, name: str | Path | None = None) -> ActionAdapter:
    """The adapter of this name, or without one the embedded one if it fits. Raises AdapterMismatch."""
    adapter = load_adapter(name)
    if name is None and model_name(base.pipe) != "embedded":
        try:
            adapter.check_fits(base)
        except AdapterMismatch as error:
            name_of_base = model_name(base.pipe)
            raise AdapterMismatch(
                f"no adapter given for {name_of_base}, and the embedded one does not fit it; "
                f"{how_to_get_one(name_of_base)}, or leave out the references"
            ) from error
    return adapter


def _generated(
    base: Base,
    adapter: ActionAdapter | str | Path | None,
    prompt: str,
    shown: Sequence[ReferenceVideo],
    seeds: tuple[int, ...],
    settings: GenerationSettings,
    image: Path | str | Frames | None,
    library: FromLibrary | None,
    progress: Callable[[Progress], None] | None,
) -> GenerationResult:
    """The videos of one prompt; everything was checked and loaded. Nine arguments: `generate`'s own."""
    stored, stale = library.encoded(base, settings) if library else ([], 0)
    given = [*shown, *stored]
    shots = [Shot(prompt, each, tuple(given), _first_frame(base, image)) for each in seeds]
    size = settings.size or (recommended_size(base) if given else (0, 0))
    reencoded = encoded_elsewhere(base, given, size)
    began = time.perf_counter()
    base_videos: list[Frames] = []
    film_all = _Filming(base, shots, settings, progress)
    with one_thread(is_small([*base.pipe.components.values(), adapter])) as threads:
        if given:
            assert isinstance(adapter, ActionAdapter)
            if settings.compare:
                with adapter.reading(base):
                    base_videos = film_all("base")
            with acting(adapter, base, shots[:1], settings):  # all have its prompt
                videos = film_all("ours", len(base_videos))
        else:
            videos = film_all("base")
    return GenerationResult(
        prompt=prompt,
        references=tuple(given),
        seeds=seeds,
        settings=settings,
        fps=settings.fps or base.fps,
        base=model_name(base.pipe),
        adapter=model_name(adapter) if given else None,
        videos=tuple(videos),
        base_videos=tuple(base_videos),
        seconds=time.perf_counter() - began,
        peak_memory=peak_memory(),
        threads=threads,
        image=str(image) if isinstance(image, str | Path) else None,
        library=library,
        stale=stale,
        reencoded=tuple(reference.name for reference in reencoded),
    )


def peak_memory() -> int:
    """Most bytes of main memory that this process has held so far; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class _Filming:
    """Films all shots, one after the other."""

    base: Base
    shots: Sequence[Shot]
    settings: GenerationSettings
    progress: Callable[[Progress], None] | None

    def __call__(self, label: str, done: int = 0) -> list[Frames]:
        """A video (T, H, W, 3) of each shot; `done` videos of this work are there already."""
        videos = len(self.shots) * (2 if self.settings.compare else 1)
        made = []
        for number, shot in enumerate(self.shots, done + 1):
            told = None if self.progress is None else partial(_tell, self.progress, number, videos)
            made.append(film(self.base, [shot], self.settings, f"{label}, seed {shot.seed}", told)[0])
        return made


def _tell(
    progress: Callable[[Progress], None], video: int, videos: int, step: int, steps: int, look: Look
) -> None:
    progress(Progress(step, steps, video, videos, look))


def _first_frame(base: Base, image: Path | str | Frames | None) -> Frames | None:
    """The picture to start from, where the base needs one. Raises EchoReelError, VideoError."""
    if base.needs_image != (image is not None):
        name = type(base.pipe).__name__
        raise EchoReelError(
            f"{name} needs a first frame; give --image FILE, in Python image=FILE"
            if image is None
            else f"{name} makes videos from text alone; leave the image out"
        )
    return read_image(image) if isinstance(image, str | Path) else image
