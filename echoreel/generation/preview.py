"""A look at a video while it is made: what the latents show after the latest step."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import update_wrapper
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video
from echoreel.bases.finite import check_made
from echoreel.common.threads import is_small
from echoreel.media.images import Frames, fitted

_COLOURS: "WeakKeyDictionary[nn.Module, Tensor]" = WeakKeyDictionary()
"""denoiser -> what its latents look like: (C + 1, 3), from channels and a constant to red, green and blue"""


class Watch:
    """What a pipeline's latents show between two steps.

    Those of a small base are decoded. To decode those of a large one takes longer than a step: its
    colours are guessed by the linear map that fits its last video best. Before that it shows nothing.
    """

    def __init__(self, base: Base, steps: "_Steps") -> None:
        self._base, self._steps = base, steps
        self._is_small = is_small(base.pipe.components.values())

    def look(self) -> Frames | None:
        """The video as it is now, as `Look` tells."""
        latents = self._latents()
        if latents is None:
            return None
        if self._is_small:
            shown: Frames = decode_video(self._base, latents[None])[0]
            return shown
        colours = _COLOURS.get(self._base.denoiser)
        if colours is None:
            return None
        return coloured(latents, colours)

    def finished(self, frames: Frames) -> None:
        """Learn what the latents look like from the video (T, H, W, 3) that they became."""
        latents = self._latents()
        if latents is not None and not self._is_small:
            _COLOURS[self._base.denoiser] = fitted_colours(latents, frames)

    def _latents(self) -> Tensor | None:
        """Of the first video (C, T, h, w); None before the first step, and where they are in another form."""
        latents, channels = self._steps.latest, self._base.latent_channels
        if latents is not None and latents.ndim == 5 and latents.shape[1] == channels:
            return latents[0]
        if latents is not None and latents.ndim == 5 and latents.shape[2] == channels:
            return rearrange(latents[0], "t c h w -> c t h w")
        return None


def fitted_colours(latents: Tensor, frames: Frames) -> Tensor:
    """The linear map (C + 1, 3) from latents (C, T, h, w) to the frames (T', H, W, 3) made of them."""
    size = latents.shape[2], latents.shape[3]
    chosen = np.linspace(0, len(frames) - 1, latents.shape[1]).round().astype(int)
    small = torch.from_numpy(np.stack([fitted(frames[index], size) for index in chosen]))
    solution: Tensor = torch.linalg.lstsq(
        _rows(latents), rearrange(small.float(), "t h w c -> (t h w) c")
    ).solution
    return solution


def coloured(latents: Tensor, colours: Tensor) -> Frames:
    """Latents (C, T, h, w) as frames (T, h, w, 3), a pixel for each place."""
    pixels = (_rows(latents) @ colours).round().clamp(0, 255).to(torch.uint8)
    _, t, h, w = latents.shape
    frames: Frames = rearrange(pixels, "(t h w) c -> t h w c", t=t, h=h, w=w).numpy()
    return frames


def _rows(latents: Tensor) -> Tensor:
    """A row for each place: its channels, and 1."""
    rows = rearrange(latents.detach().float().cpu(), "c t h w -> (t h w) c")
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)


@contextmanager
def watched(base: Base) -> Iterator[Watch]:
    """Within, the pipeline's steps are remembered, so that one can look at the video between two of them.

    A step of NaN is the last one: raises EchoReelError.
    """
    scheduler = base.pipe.scheduler
    scheduler.step = steps = _Steps(scheduler, base)
    try:
        yield Watch(base, steps)
    finally:
        del scheduler.step  # the class's own is behind it


class _Steps:
    """A scheduler's `step` that remembers what came of the last one."""

    def __init__(self, scheduler: Any, base: Base) -> None:
        self.latest: Tensor | None = None
        self._base = base
        self._scheduler, self._step = scheduler, scheduler.step
        update_wrapper(self, scheduler.step)  # pipelines look at its signature

    def __call__(self, *values: Any, **named: Any) -> Any:
        told = self._step(*values, **named)
        self.latest = _shown(told)
        check_made(self._base, self.latest, "denoiser")
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
