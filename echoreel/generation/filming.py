"""Shots -> videos: the one way in which a base films, alone or with an adapter.

Nothing of the base's call is replaced: scheduler, guidance and options are its own. Each video has a
generator of its own, seeded on the CPU: a seed names a video, alone or among others.
"""

import builtins
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from echoreel.bases.base import Base
from echoreel.common.errors import EchoReelError
from echoreel.common.exclusive import used_alone
from echoreel.generation.preview import Watch, watched
from echoreel.generation.progress import Look
from echoreel.generation.settings import CALL_ARGUMENTS, GenerationSettings
from echoreel.media.images import Frames, fitted
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.adapter import ActionAdapter

LOG = logging.getLogger(__name__)
QUIET = 30.0  # seconds between lines of progress where there is no terminal
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


@contextmanager
def acting(
    adapter: ActionAdapter, base: Base, shots: Sequence[Shot], settings: GenerationSettings
) -> Iterator[None]:
    """Within, `film` of shots with these prompts, in this order, acts as in their references.

    Afterwards the adapter is as it was before. settings: without gaps, as `resolved` returns them. Raises
    AdapterMismatch and what else `ActionAdapter.reading` raises.
    """
    each_branch = settings.guidance == "both" and (settings.guidance_scale or 0) > 1
    negative = (settings.negative_prompt or "") if each_branch else None
    with adapter.reading(base):
        adapter.set_scale(settings.scale)
        adapter.set_guidance(settings.guidance)
        adapter.set_window(*settings.window)
        shown, prompts = [shot.references for shot in shots], [shot.prompt for shot in shots]
        made = adapter.reference_set(shown, prompts, settings.size, negative)
        with adapter.reading(references=made):
            yield


def film(
    base: Base,
    shots: Sequence[Shot],
    settings: GenerationSettings,
    label: str | None = None,
    told: Told | None = None,
) -> Frames:
    """Videos (B, T, H, W, 3) uint8 of B shots, in one call of the pipeline; see `batches`.

    settings: without gaps, as `resolved` returns them. label: of the progress bar; None: no bar. Raises
    EchoReelError for what the pipeline refuses, InUse while another thread films with it, and what `told`
    raises.
    """
    pipe, given, began = base.pipe, base.call_arguments(_arguments(shots, settings)), time.perf_counter()
    with used_alone(pipe, *base.denoisers), _progress(base, label, told) as watch, torch.random.fork_rng():
        torch.manual_seed(shots[0].seed)  # some pipelines draw an image's latents without the generator
        try:
            video = np.asarray(pipe(output_type="np", **given).frames)
        except torch.OutOfMemoryError as error:
            raise EchoReelError(
                "out of GPU memory; ask for fewer or smaller frames, or a smaller base"
            ) from error
        except EchoReelError:
            raise
        except ValueError as error:
            raise EchoReelError(f"{type(pipe).__name__} refuses: {error}") from error
    if not np.isfinite(video).all():
        raise EchoReelError(f"the base produced NaN or infinite values in {pipe.dtype}; load it in float32")
    frames: Frames = np.round(video * 255).astype(np.uint8)
    if watch is not None:
        watch.finished(frames[0])
    LOG.info(
        "%s: %d videos of %d frames, %.1f s", label or "made", *frames.shape[:2], time.perf_counter() - began
    )
    return frames


def batches(base: Base, shots: Sequence[Shot], most: int) -> list[Sequence[Shot]]:
    """At most so many shots at once, where a batch makes the same videos; else one at a time."""
    size = 1 if base.one_at_a_time else most
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
        if told is None:
            yield None
        else:
            with watched(base) as watch, _counting(pipe, told, watch.look):
                yield watch
    finally:
        pipe.set_progress_bar_config(**before)


@contextmanager
def _counting(pipe: Any, told: Told, look: Look) -> Iterator[None]:
    """Within, `told` is called for each step that the pipeline's bar counts."""
    pipe.progress_bar = _telling(pipe.progress_bar, told, look)
    try:
        yield
    finally:
        del pipe.progress_bar  # the class's own is behind it


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
