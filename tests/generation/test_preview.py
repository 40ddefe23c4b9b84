"""The look at a video in the making leaves the base as it was."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from helpers.toy_models import toy_pipeline

from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.generation import preview
from echoreel.generation.generate import generate
from echoreel.generation.preview import watched
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames, fitted


@pytest.fixture
def pipe() -> Any:
    pipe = toy_pipeline()
    pipe.scheduler = DDIMScheduler()
    pipe.scheduler.set_timesteps(10)
    return pipe


def step(scheduler: Any, latents: torch.Tensor) -> torch.Tensor:
    moved: torch.Tensor = scheduler.step(torch.ones_like(latents), scheduler.timesteps[0], latents)[0]
    return moved


def test_a_copied_scheduler_takes_its_own_steps(pipe: Any) -> None:
    latents = torch.zeros(1, 4, 3, 4, 4)
    plain = step(pipe.scheduler, latents)
    with watched(base_of(pipe)) as watch:
        assert watch.look() is None
        copy = deepcopy(pipe.scheduler)
        copy.alphas_cumprod = copy.alphas_cumprod / 2
        changed = step(copy, latents)
        assert watch.look() is None
        torch.testing.assert_close(step(pipe.scheduler, latents), plain, rtol=0, atol=0)
        frames = watch.look()
        assert frames is not None
        assert frames.shape[::3] == (3, 3)
    assert (changed != plain).any()
    assert "step" not in vars(pipe.scheduler)


def test_a_large_base_is_not_decoded_but_coloured_as_its_last_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at first; then a pixel for each latent place, far nearer to the video than one colour."""
    monkeypatch.setattr(preview, "is_small", lambda parts: False)
    monkeypatch.setattr(preview, "decode_video", lambda *_: pytest.fail("decoded"))
    pipe, looks = load_base(), list[Frames | None]()
    settings = GenerationSettings(steps=2)
    for _ in range(2):
        made = generate(
            "a man", base=pipe, settings=settings, progress=lambda told: looks.append(told.look())
        )
    first, last = looks[:2], looks[-1]
    assert first == [None, None]
    assert last is not None
    video = np.stack([fitted(frame, last.shape[1:3]) for frame in made.videos[0]]).astype(float)
    assert last.shape == video.shape
    constant = video.mean((0, 1, 2))
    assert ((last - video) ** 2).mean() < 0.2 * ((constant - video) ** 2).mean()
    base = base_of(pipe)
    assert preview._COLOURS[base.denoiser].shape == (base.latent_channels + 1, 3)


@pytest.mark.parametrize("shape", [(2, 4, 3, 5, 6), (2, 3, 4, 5, 6)])
def test_channels_may_be_before_or_behind_the_frames(pipe: Any, shape: tuple[int, ...]) -> None:
    latents = torch.randn(shape)
    with watched(base_of(pipe)) as watch:
        step(pipe.scheduler, latents)
        frames = watch.look()
    assert frames is not None
    assert frames.shape[::3] == (3, 3)
