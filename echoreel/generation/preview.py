"""A look at a video while it is made: what the latents show after the latest step."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
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
    latest: list[Tensor] = []
    step = pipe.scheduler.step

    @wraps(step)  # pipelines look at its signature
    def remembered(*values: Any, **named: Any) -> Any:
        told = step(*values, **named)
        latest[:] = [_shown(told)]
        return told

    def look() -> Frames | None:
        if not latest or latest[0].ndim != 5 or latest[0].shape[1] != base.latent_channels:
            return None
        shown: Frames = decode_video(base, latest[0][:1])[0]
        return shown

    pipe.scheduler.step = remembered
    try:
        yield look
    finally:
        del pipe.scheduler.step  # the class's own is behind it


def _shown(told: Any) -> Tensor:
    """Its guess of the video without noise where a scheduler tells one, else the next latents."""
    values = told if isinstance(told, tuple) else told.to_tuple()
    following: Tensor = values[0]
    guess = values[1] if len(values) > 1 else None
    return guess if isinstance(guess, Tensor) and guess.shape == following.shape else following
