"""Prompt and references -> videos, one per seed: what a user calls.

Over 300 lines since one function is what users call, and its overloads and docstring tell its arguments.
"""

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
from echoreel.bases.encoding import encoded_elsewhere, weights_of
from echoreel.bases.loading import load_base, model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, EchoReelError
from echoreel.common.settings import checked
from echoreel.common.threads import is_small, one_thread
from echoreel.generation.continuing import WindowFolder, key_of
from echoreel.generation.filming import Shot, Show, acting, film, nothing_to_read
from echoreel.generation.from_library import FromLibrary
from echoreel.generation.progress import Look, Progress
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings, checked_request, recommended_size, resolved
from echoreel.generation.windows import Plan, plan_of
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.images import Frames
from echoreel.media.reference_video import Reference, ReferenceVideo, as_references
from echoreel.media.reference_windows import TimedReference, is_timed
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
    windows_folder: Path | str | None = None,
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
    windows_folder: Path | str | None = None,
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
    windows_folder: Path | str | None = None,
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
        windows_folder: where finished windows of a longer video are kept until the result is saved, on bases
            that go on from a last frame; after a stop the same call goes on with them.
        **changes: single settings, such as `steps=20` or `seconds=20`, put over `settings`.

    Returns:
        Videos (T, H, W, 3) uint8, one per seed, and how they were made; a list for a list of prompts.

    Raises:
        SettingsError: a setting is unknown or out of range.
        VideoError: a reference or the image cannot be used.
        AdapterMismatch: the adapter does not fit the base, or none was given for it.
        BaseUnsupported: the base cannot be loaded, or is not of a supported family.
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
    folder = None if windows_folder is None else Path(windows_folder)
    results = [
        _generated(found, adapter, each, shown, seeds, wanted, image, some, progress, folder)
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
    windows_folder: Path | None,
) -> GenerationResult:
    """The videos of one prompt; everything was checked and loaded. Ten arguments: `generate`'s own."""
    stored, stale = library.encoded(base, settings) if library else ([], 0)
    given = [*shown, *stored]
    shots = [Shot(prompt, each, tuple(given), _first_frame(base, image)) for each in seeds]
    plan = plan_of(base, settings)
    size = settings.size or (recommended_size(base) if given else (0, 0))
    reencoded = encoded_elsewhere(base, given, size)
    began = time.perf_counter()
    base_videos: list[Frames] = []
    folders = _window_folders(windows_folder, plan, base, adapter, shots, settings)
    film_all = _Filming(base, shots, settings, progress, folders)
    with one_thread(is_small([*base.pipe.components.values(), adapter])) as threads:
        if given:
            assert isinstance(adapter, ActionAdapter)
            if settings.compare:
                with adapter.reading(base):
                    base_videos = film_all("base")
            with acting(adapter, base, shots[:1], settings) as show:  # all have its prompt
                videos = film_all("ours", len(base_videos), show)
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
        windows=plan.windows if len(plan.windows) > 1 else (),
        kept=tuple(folders.values()),
        read=tuple(_beside(each, plan) for each in given),
    )


def _beside(reference: ReferenceVideo, plan: Plan) -> Frames:
    """What the video reads of it, as long as the video; all of it where a short video stretches it."""
    if plan.way == "at once" and not is_timed(reference):
        return reference.frames
    return TimedReference.read(reference, plan.video).beside()


def _window_folders(
    folder: Path | None,
    plan: Plan,
    base: Base,
    adapter: ActionAdapter | str | Path | None,
    shots: Sequence[Shot],
    settings: GenerationSettings,
) -> dict[tuple[str, int], WindowFolder]:
    """Where windows of each seed are kept, for "ours" and "base": named by all that they are made from."""
    if folder is None or plan.way != "continued":
        return {}
    acting_ones = [adapter] if isinstance(adapter, ActionAdapter) and shots[0].references else []
    weights = weights_of(*base.denoisers, *acting_ones)
    asked = settings.model_dump(exclude={"compare"})
    found = {}
    for shot in shots:
        for label in ("base", "ours") if acting_ones else ("base",):
            told: list[object] = [weights, asked, shot.prompt, shot.seed, shot.image]
            if label == "ours":
                told += [part for each in shot.references for part in _told_of(each)]
            found[label, shot.seed] = WindowFolder(folder / key_of(label, *told), len(plan.windows))
    return found


def _told_of(reference: ReferenceVideo) -> tuple[object, ...]:
    """What a video made with it depends on."""
    return (
        reference.frames,
        reference.caption,
        reference.strength,
        reference.during,
        (reference.align, reference.speed, reference.seconds),
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
    folders: Mapping[tuple[str, int], WindowFolder]

    def __call__(self, label: str, done: int = 0, show: Show = nothing_to_read) -> list[Frames]:
        """A video (T, H, W, 3) of each shot; `done` videos of this work are there already."""
        videos = len(self.shots) * (2 if self.settings.compare else 1)
        made = []
        for number, shot in enumerate(self.shots, done + 1):
            told = None if self.progress is None else partial(_tell, self.progress, number, videos)
            keep = self.folders.get((label, shot.seed))
            named = f"{label}, seed {shot.seed}"
            made.append(film(self.base, [shot], self.settings, named, told, show, keep)[0])
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
