"""A base's own training problem, read from its scheduler: how noise is mixed in and what is predicted.

A noise level is a number from 0 (the clip) to 1 (noise alone) along the base's training schedule.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from echoreel.common.errors import BaseUnsupported, CheckpointError

Predicts = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True)
class Mixed:
    """Clips with noise: what the denoiser sees, and what it should say."""

    noisy: Tensor  # (B, C, T, h, w)
    timesteps: Tensor  # (B,): int64 steps of a diffusion schedule, float32 of a flow
    target: Tensor  # (B, C, T, h, w)


class NoiseSchedule:
    """The training schedule of a diffusers scheduler."""

    def __init__(self, scheduler: Any) -> None:
        """Raises BaseUnsupported for a scheduler that says neither diffusion nor flow matching."""
        config = scheduler.config
        self.steps = int(config.num_train_timesteps)
        self.sigmas: tuple[float, float] | None = (
            None  # least and most, where timesteps tell the noise itself
        )
        if config.get("timestep_type") == "continuous":
            self.sigmas = config.sigma_min, config.sigma_max
        kind = config.get("prediction_type", "epsilon")
        self.predicts: Predicts
        if kind.startswith("flow") or "FlowMatch" in type(scheduler).__name__:
            self.predicts = "flow"
            self.shift = float(config.get("shift") or config.get("flow_shift") or 1.0)
        elif kind in ("epsilon", "v_prediction", "sample") and hasattr(scheduler, "alphas_cumprod"):
            self.predicts = kind
            self.alphas_cumprod: Tensor = scheduler.alphas_cumprod.float().cpu()
            self.scales: Tensor | None = getattr(scheduler, "scales", None)  # VideoCrafter's weaker signal
        else:
            raise BaseUnsupported(
                f"cannot train with a {type(scheduler).__name__} that predicts {kind!r}; need one that "
                "predicts epsilon, v_prediction, sample or flow"
            )

    def mix(self, clips: Tensor, noise: Tensor, levels: Tensor) -> Mixed:
        """Clips (B, C, T, h, w) and noise of that shape, mixed at noise levels (B,) in [0, 1)."""
        timesteps, signal, sigma = (x.to(clips.device) for x in self._coefficients(levels.cpu()))
        a, s = (rearrange(x, "b -> b 1 1 1 1") for x in (signal, sigma))
        targets = {
            "epsilon": lambda: noise,
            "v_prediction": lambda: a * noise - s * clips,  # Salimans & Ho 2022, section 4
            "sample": lambda: clips,
            "flow": lambda: noise - clips,  # Lipman et al. 2023, optimal-transport path
        }
        return Mixed(a * clips + s * noise, timesteps, targets[self.predicts]())

    def parts(self, noisy: Tensor, prediction: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Clips and noise (B, C, T, h, w) that a prediction says were mixed at noise levels (B,) above 0."""
        _, signal, sigma = self._coefficients(levels.cpu())
        a, s = (rearrange(x.to(noisy), "b -> b 1 1 1 1") for x in (signal, sigma))
        if self.predicts == "flow":
            return noisy - s * prediction, noisy + (1 - s) * prediction
        if self.predicts == "v_prediction":
            return a * noisy - s * prediction, s * noisy + a * prediction
        if self.predicts == "sample":
            return prediction, (noisy - a * prediction) / s
        return (noisy - s * prediction) / a, prediction

    def level(self, timestep: float) -> float:
        """The noise level of a timestep of a flow."""
        sigma = timestep / self.steps
        level: float = sigma / (self.shift - (self.shift - 1) * sigma)
        return level

    def _coefficients(self, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Timesteps, and the shares of clip and noise (DDPM, Eq. 4; a flow's share of noise is shifted)."""
        if self.predicts == "flow":
            sigma = (self.shift * levels / (1 + (self.shift - 1) * levels)).float()
            return sigma * self.steps, 1 - sigma, sigma
        if self.sigmas is not None:  # spread as Karras et al. 2022, Eq. 5; told as in their table 1, EDM
            least, most = (bound ** (1 / 7) for bound in self.sigmas)
            sigma = ((least + levels * (most - least)) ** 7).float()
            signal = (1 + sigma.square()).rsqrt()  # what the denoiser is shown is scaled to variance 1
            return sigma.log() / 4, signal, sigma * signal
        timesteps = (levels * self.steps).long().clamp(0, self.steps - 1)
        alpha_bar = self.alphas_cumprod[timesteps]
        signal = alpha_bar.sqrt() if self.scales is None else self.scales[timesteps] * alpha_bar.sqrt()
        return timesteps, signal, (1 - alpha_bar).sqrt()


def check_noise(scheduler: Any) -> None:
    """Raises CheckpointError for tables that are no schedule: too short, not of numbers, or out of range.

    diffusers makes a scheduler of any betas, and a video of NaN with it.
    """
    steps = scheduler.config.get("num_train_timesteps")
    tables = {name: getattr(scheduler, name, None) for name in ("betas", "alphas_cumprod", "sigmas")}
    for name, table in tables.items():
        if not isinstance(table, Tensor):
            continue
        if table.isnan().any():
            raise CheckpointError(f"its scheduler's {name} hold NaN; get the files again")
        if name != "sigmas" and len(table) < (steps or 0):
            raise CheckpointError(
                f"its scheduler has {len(table)} betas for {steps} steps, need one for each; "
                "get the files again"
            )
        is_share = name != "sigmas" or "FlowMatch" in type(scheduler).__name__
        if is_share and not (table.min() >= 0 and table.max() <= 1):
            raise CheckpointError(
                f"its scheduler's {name} are {table.min():g} to {table.max():g}, need 0 to 1; "
                "get the files again"
            )


def sample_levels(
    count: int, high_noise: float, generator: torch.Generator, span: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Noise levels (B,) in a span of [0, 1), of density proportional to level ** high_noise: 0 is uniform."""
    low, high = (bound ** (1 + high_noise) for bound in span)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    levels: Tensor = (low + (high - low) * uniform) ** (1 / (1 + high_noise))
    return levels
