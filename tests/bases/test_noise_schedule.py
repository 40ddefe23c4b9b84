"""The base's own training problem, against diffusers' schedulers."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from echoreel.bases.noise_schedule import NoiseSchedule, sample_levels
from echoreel.bases.ports.videocrafter_scheduler import ScaledDDIMScheduler
from echoreel.common.errors import BaseUnsupported
from echoreel.common.randomness import seeded
from echoreel.training.motion_loss import motion_weights


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(3, 4, 5, 2, 2, generator=seeded(1))


@pytest.fixture
def noise(clips: torch.Tensor) -> torch.Tensor:
    return torch.randn(clips.shape, generator=seeded(2))


LEVELS = torch.tensor([0.0, 0.5, 0.999])


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_mixing_is_the_schedulers(
    clips: torch.Tensor, noise: torch.Tensor, predicts: str, zero_snr: bool
) -> None:
    scheduler = DDIMScheduler(prediction_type=predicts, rescale_betas_zero_snr=zero_snr)
    mixed = NoiseSchedule(scheduler).mix(clips, noise, LEVELS)
    assert mixed.timesteps.tolist() == [0, 500, 999]
    torch.testing.assert_close(mixed.noisy, scheduler.add_noise(clips, noise, mixed.timesteps))
    velocity = DDPMScheduler(rescale_betas_zero_snr=zero_snr).get_velocity(clips, noise, mixed.timesteps)
    expected = {"epsilon": noise, "v_prediction": velocity, "sample": clips}[predicts]
    torch.testing.assert_close(mixed.target, expected)
    assert torch.equal(mixed.noisy[2], noise[2]) == zero_snr


def test_a_flow_is_a_straight_line_with_the_schedulers_shift(
    clips: torch.Tensor, noise: torch.Tensor
) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    rows = [1, 500, 999]  # of the scheduler's 1000 training steps, from noise to clip
    mixed = NoiseSchedule(scheduler).mix(clips, noise, torch.tensor([0.999, 0.5, 0.001]))
    torch.testing.assert_close(mixed.timesteps, scheduler.timesteps[rows])
    torch.testing.assert_close(mixed.noisy, scheduler.scale_noise(clips, scheduler.timesteps[rows], noise))
    torch.testing.assert_close(mixed.target, noise - clips)


@pytest.mark.parametrize(
    "scheduler",
    [
        *(DDIMScheduler(prediction_type=kind) for kind in ("epsilon", "v_prediction", "sample")),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        ScaledDDIMScheduler(clip_sample=False),
    ],
    ids=["epsilon", "v_prediction", "sample", "flow", "weaker signal"],
)
def test_a_right_prediction_tells_the_clips_and_the_noise(
    clips: torch.Tensor, noise: torch.Tensor, scheduler: Any
) -> None:
    schedule, levels = NoiseSchedule(scheduler), torch.tensor([0.02, 0.5, 0.9])
    mixed = schedule.mix(clips, noise, levels)
    parts = schedule.parts(mixed.noisy, mixed.target, levels)
    torch.testing.assert_close(parts, (clips, noise), atol=1e-4, rtol=1e-4)


def test_other_schedulers_are_refused_by_name() -> None:
    scheduler = EulerDiscreteScheduler()
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(BaseUnsupported, match="EulerDiscreteScheduler that predicts 'score'"):
        NoiseSchedule(scheduler)


def test_levels_lean_towards_high_noise() -> None:
    flat, steep = (sample_levels(4000, high, seeded(3)) for high in (0.0, 2.0))
    assert flat.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert steep.mean().item() == pytest.approx(3 / 4, abs=0.02)  # of density 3 u^2
    assert flat.min() >= 0
    assert steep.max() < 1


def test_what_moves_weighs_more(clips: torch.Tensor) -> None:
    clips = clips.clone()
    clips[..., 0] = clips[:, :, :1, :, 0]  # the left half stands still
    weights = motion_weights(clips, 0.5)
    assert weights.shape == (3, 1, 5, 2, 2)
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3, 4)), torch.ones(3))
    torch.testing.assert_close(weights[..., 0], torch.full((3, 1, 5, 2), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(motion_weights(torch.zeros_like(clips), 1.0), torch.ones(3, 1, 5, 2, 2))
    assert torch.equal(motion_weights(clips, 0), torch.ones(3, 1, 5, 2, 2))
