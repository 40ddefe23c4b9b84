"""The look at a video in the making leaves the base as it was."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from helpers.toy_models import toy_pipeline

from echoreel.bases.lookup import base_of
from echoreel.generation import preview
from echoreel.generation.preview import watched


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
    with watched(base_of(pipe)) as look:
        assert look() is None
        copy = deepcopy(pipe.scheduler)
        copy.alphas_cumprod = copy.alphas_cumprod / 2
        changed = step(copy, latents)
        assert look() is None
        torch.testing.assert_close(step(pipe.scheduler, latents), plain, rtol=0, atol=0)
        frames = look()
        assert frames is not None
        assert frames.shape[::3] == (3, 3)
    assert (changed != plain).any()
    assert "step" not in vars(pipe.scheduler)


def test_a_large_base_shows_nothing_and_is_left_alone(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "is_small", lambda parts: False)
    with watched(base_of(pipe)) as look:
        assert "step" not in vars(pipe.scheduler)
        assert look() is None
