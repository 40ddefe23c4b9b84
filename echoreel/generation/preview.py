"""A look at a video while it is made: what the latents show after the latest step."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import update_wrapper
from types import MethodType
from typing import Any

from torch import Tensor

from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video
from echoreel.common.threads import is_small
from echoreel.generation.progress import Look, nothing_to_see
from echoreel.media.images import Frames


@contextmanager
def watched(base: Base) -> Iterator[Look]:
    """Within, the pipeline's steps are remembered, so that one can look at the video between two of them.

    Only small bases show something: to decode the latents of a large one takes longer than a step.
    """
    pipe = base.pipe
    if not is_small(pipe.components.values()):
        yield nothing_to_see
        return
    pipe.scheduler.step = steps = _Steps(pipe.scheduler)

    def look() -> Frames | None:
        latents = steps.latest
        if latents is None or latents.ndim != 5 or latents.shape[1] != base.latent_channels:
            return None
        shown: Frames = decode_video(base, latents[:1])[0]
        return shown

    try:
        yield look
    finally:
        del pipe.scheduler.step  # the class's own is behind it


class _Steps:
    """A scheduler's `step` that remembers what came of the last one."""

    def __init__(self, scheduler: Any) -> None:
        self.latest: Tensor | None = None
        self._scheduler, self._step = scheduler, scheduler.step
        update_wrapper(self, scheduler.step)  # pipelines look at its signature

    def __call__(self, *values: Any, **named: Any) -> Any:
        told = self._step(*values, **named)
        self.latest = _shown(told)
        return told

    def __deepcopy__(self, memo: dict[int, Any]) -> MethodType:
        """Of a copied scheduler its own: LTX-2 makes a copy for the sound."""
        return MethodType(type(self._scheduler).step, memo[id(self._scheduler)])


def _shown(told: Any) -> Tensor:
    """Its guess of the video without noise where a scheduler tells one, else the next latents."""
    values = told if isinstance(told, tuple) else told.to_tuple()
    following: Tensor = values[0]
    guess = values[1] if len(values) > 1 else None
    return guess if isinstance(guess, Tensor) and guess.shape == following.shape else following
