"""Shots -> videos: the one way in which a base films, alone or with an adapter.

Nothing of the base's call is replaced: scheduler, guidance and options are its own. Each video has a
generator of its own, seeded on the CPU: a seed names a video, alone or among others. A video longer than the
base makes at once is made in windows (`windows.plan_of`), each of which reads its part of the references.

Over 300 lines since short and long videos are filmed in the same words.
"""

import builtins
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from echoreel.bases.base import Base
from echoreel.bases.finite import not_finite
from echoreel.common.errors import EchoReelError
from echoreel.common.exclusive import used_alone
from echoreel.common.loading_errors import blamed
from echoreel.common.progress import QUIET
from echoreel.generation.continuing import WindowFolder, continued, seed_of_window
from echoreel.generation.free_noise import free_noise
from echoreel.generation.preview import Watch, watched
from echoreel.generation.progress import Look
from echoreel.generation.settings import CALL_ARGUMENTS, GenerationSettings
from echoreel.generation.windows import Plan, plan_of
from echoreel.media.images import Frames, fitted
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.reference_windows import TimedReference, is_timed
from echoreel.method.adapter import ActionAdapter

LOG = logging.getLogger(__name__)
ADDED_NOISE = 20  # thousandths, in the frames that SkyReels goes on from: as its authors recommend
LINE = "{desc}: {n_fmt} of {total_fmt} steps, {remaining} left\n"


@dataclass(frozen=True, eq=False)
class Shot:
    """One video to be made. image: the first frame (H, W, 3) uint8, for image-to-video bases alone."""

    prompt: str
    seed: int
    references: tuple[ReferenceVideo, ...] = ()
    image: Frames | None = None


Told: TypeAlias = Callable[[int, int, Look], None]
"""Called after each denoising step: how many are done, of how many, a look. What it raises ends the video."""


Show: TypeAlias = Callable[[int], None]
"""Has the base read what the window of this number reads, from 0."""


def nothing_to_read(_: int) -> None:
    """Of a base that films alone."""


@contextmanager
def acting(
    adapter: ActionAdapter, base: Base, shots: Sequence[Shot], settings: GenerationSettings
) -> Iterator[Show]:
    """Within, `film` of shots with these prompts, in this order, acts as in their references.

    Yields what `film` then takes as `show`. Afterwards the adapter is as it was before. settings: without
    gaps, as `resolved` returns them. Raises AdapterMismatch and what else `ActionAdapter.reading` raises.
    """
    each_branch = settings.guidance == "both" and (settings.guidance_scale or 0) > 1
    negative = (settings.negative_prompt or "") if each_branch else None
    plan = plan_of(base, settings)
    with adapter.reading(base):
        adapter.set_scale(settings.scale)
        adapter.set_guidance(settings.guidance)
        adapter.set_window(*settings.window)
        if plan.way == "at once":
            shown = [as_read(shot.references, plan) for shot in shots]
            prompts = [shot.prompt for shot in shots]
            made = adapter.reference_set(shown, prompts, settings.size, negative)
            with adapter.reading(references=made):
                yield nothing_to_read
            return
        prompt = shots[0].prompt
        timed = [TimedReference.read(each, plan.video) for each in shots[0].references]
        parts = [_in_window(timed, window) for window in plan.windows]
        if plan.way == "free noise":
            made = adapter.window_set(plan.windows, parts, prompt, settings.size, negative)
            with adapter.reading(references=made):
                yield nothing_to_read
        else:
            yield lambda number: adapter.set_references(parts[number], prompt, settings.size, negative)


def as_read(references: Sequence[ReferenceVideo], plan: Plan) -> list[ReferenceVideo]:
    """References as a video that is made at once reads them, without those that have nothing for it.

    Raises VideoError's family.
    """
    read = [
        TimedReference.read(each, plan.video).window(0, plan.video.frames) if is_timed(each) else each
        for each in references
    ]
    return [each for each in read if each is not None]


def _in_window(timed: Sequence[TimedReference], window: tuple[int, int]) -> list[ReferenceVideo]:
    found = [each.window(*window) for each in timed]
    return [each for each in found if each is not None]


def film(
    base: Base,
    shots: Sequence[Shot],
    settings: GenerationSettings,
    label: str | None = None,
    told: Told | None = None,
    show: Show = nothing_to_read,
    keep: WindowFolder | None = None,
) -> Frames:
    """Videos (B, T, H, W, 3) uint8 of B shots, in one call of the pipeline; see `batches`. Of a longer video
    than the base makes at once, one shot.

    settings: without gaps, as `resolved` returns them. label: of the progress bar; None: no bar. show: what
    `acting` gave. keep: a folder for finished windows, with which the same call goes on. Raises
    EchoReelError for what the pipeline refuses, InUse while another thread films with it, and what `told`
    raises.
    """
    plan = plan_of(base, settings)
    if plan.way == "at once":
        return _called(base, shots, settings, label, told)
    (shot,) = shots
    if plan.way == "continued":
        film_window = partial(_window, base, shot, settings, label, told, show, plan)
        frames = continued(plan, film_window, shot.image, keep)
        return frames[None, : plan.video.frames]
    if plan.way == "free noise":
        whole = settings.model_copy(update={"num_frames": plan.video.frames})
        with free_noise(base.pipe, plan.length, plan.step):
            return _called(base, shots, whole, label, told)
    whole = settings.model_copy(update={"num_frames": plan.windows[-1][1]})
    more = {"base_num_frames": plan.length, "overlap_history": plan.shared, "addnoise_condition": ADDED_NOISE}
    with _at_each_bar(base.pipe, show):
        told = told and _over_windows(told, len(plan.windows))
        made = _called(base, shots, whole, label, told, more)
    return made[:, : plan.video.frames]


def _window(
    base: Base,
    shot: Shot,
    settings: GenerationSettings,
    label: str | None,
    told: Told | None,
    show: Show,
    plan: Plan,
    number: int,
    image: Frames | None,
) -> Frames:
    """Window `number` of a video that is continued from this first frame. Nine arguments: `film`'s own."""
    show(number)
    count = len(plan.windows)
    shot = replace(shot, seed=seed_of_window(shot.seed, number), image=image)
    settings = settings.model_copy(update={"num_frames": plan.length})
    named = label and f"{label}, window {number + 1} of {count}"
    told = told and _over_windows(told, count, number)
    (made,) = _called(base, [shot], settings, named, told)
    frames: Frames = made
    return frames


def _over_windows(told: Told, count: int, number: int = -1) -> Told:
    """Counts steps over all windows; `number`: of the window, -1: the next one at each first step."""
    window, last = max(number, 0), 0

    def counted(step: int, steps: int, look: Look) -> None:
        nonlocal window, last
        if number < 0 and step <= last:
            window += 1
        last = step
        told(window * steps + step, count * steps, look)

    return counted


@contextmanager
def _at_each_bar(pipe: Any, show: Show) -> Iterator[None]:
    """Within, the pipeline shows a window as it begins it: it has a progress bar for each."""
    bar_of, windows = pipe.progress_bar, count()

    def progress_bar(iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        show(next(windows))
        return bar_of(iterable, total)

    pipe.progress_bar = progress_bar
    try:
        yield
    finally:
        del pipe.progress_bar  # the class's own is behind it


def _called(
    base: Base,
    shots: Sequence[Shot],
    settings: GenerationSettings,
    label: str | None,
    told: Told | None,
    more: Mapping[str, Any] | None = None,
) -> Frames:
    """Videos (B, T, H, W, 3) of one call of the pipeline; `more`: further arguments of it."""
    pipe, began = base.pipe, time.perf_counter()
    given = base.call_arguments(_arguments(shots, settings)) | dict(more or {})
    with used_alone(pipe, *base.denoisers), _progress(base, label, told) as watch, torch.random.fork_rng():
        torch.manual_seed(shots[0].seed)  # some pipelines draw an image's latents without the generator
        try:
            with blamed("the base's", "ask for other steps, frames or sizes, or get its files again"):
                video = np.asarray(pipe(output_type="np", **given).frames)
        except torch.OutOfMemoryError as error:
            raise EchoReelError(
                "out of GPU memory; ask for fewer or smaller frames, or a smaller base"
            ) from error
    if not np.isfinite(video).all():
        raise not_finite(base, "autoencoder")
    frames: Frames = np.round(video * 255).astype(np.uint8)
    if watch is not None:
        watch.finished(frames[0])
    LOG.info(
        "%s: %d videos of %d frames, %.1f s", label or "made", *frames.shape[:2], time.perf_counter() - began
    )
    return frames


def batches(
    base: Base, shots: Sequence[Shot], most: int, settings: GenerationSettings | None = None
) -> list[Sequence[Shot]]:
    """At most so many shots at once, where a batch makes the same videos; else one at a time, as long videos
    are made."""
    long = settings is not None and plan_of(base, settings).way != "at once"
    size = 1 if base.one_at_a_time or long else most
    return [shots[first : first + size] for first in range(0, len(shots), size)]


def _arguments(shots: Sequence[Shot], settings: GenerationSettings) -> dict[str, Any]:
    """Of a pipeline's call, in the usual words: a shot alone as itself, several as lists."""
    wanted = {argument: getattr(settings, name) for argument, name in CALL_ARGUMENTS.items()}
    prompts: list[str] = [shot.prompt for shot in shots]
    generators = [torch.Generator().manual_seed(shot.seed) for shot in shots]
    if len(shots) == 1:
        image = _first_frame(shots[0], settings)
        wanted |= {"image": image, "prompt": prompts[0], "generator": generators[0]}
    else:
        assert all(shot.image is None for shot in shots)
        wanted |= {"prompt": prompts, "generator": generators}
        if settings.negative_prompt is not None:
            wanted["negative_prompt"] = [settings.negative_prompt] * len(shots)
    return {argument: value for argument, value in wanted.items() if value is not None}


def _first_frame(shot: Shot, settings: GenerationSettings) -> Image.Image | None:
    """In the video's size where that is known."""
    if shot.image is None:
        return None
    return Image.fromarray(fitted(shot.image, settings.size) if settings.size else shot.image)


@contextmanager
def _progress(base: Base, description: str | None, told: Told | None) -> Iterator[Watch | None]:
    """The pipeline's own bar, named; or none. Its owner's wishes come first.

    Where nobody sees a bar, as under nohup, a line every half minute says how long it still takes.
    """
    pipe = base.pipe
    before = getattr(pipe, "_progress_bar_config", {})
    named: dict[str, Any] = {"desc": description}
    if not (sys.stderr.isatty() or hasattr(builtins, "__IPYTHON__")):
        named |= {"delay": QUIET, "mininterval": QUIET, "miniters": 1, "bar_format": LINE}
    named |= before
    pipe.set_progress_bar_config(**(before | {"disable": True} if description is None else named))
    try:
        with watched(base) as watch:
            if told is None:
                yield None
            else:
                with _counting(pipe, told, watch.look):
                    yield watch
    finally:
        pipe.set_progress_bar_config(**before)


@contextmanager
def _counting(pipe: Any, told: Told, look: Look) -> Iterator[None]:
    """Within, `told` is called for each step that the pipeline's bar counts."""
    before = pipe.__dict__.get("progress_bar")
    pipe.progress_bar = _telling(pipe.progress_bar, told, look)
    try:
        yield
    finally:
        del pipe.progress_bar  # the class's own is behind it
        if before is not None:
            pipe.progress_bar = before


def _telling(bar_of: Callable[..., Any], told: Told, look: Look) -> Callable[..., Any]:
    """A pipeline's `progress_bar` whose bars tell of their steps, which every pipeline counts on them."""

    def progress_bar(iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        bar = bar_of(iterable, total)
        update, done = bar.update, 0

        def counted(steps: int = 1) -> None:
            nonlocal done
            update(steps)
            done += steps
            told(done, bar.total, look)

        bar.update = counted
        return bar if iterable is None else _counted(bar)

    return progress_bar


def _counted(bar: Any) -> Iterator[Any]:
    with bar:
        for each in bar.iterable:
            yield each
            bar.update()
