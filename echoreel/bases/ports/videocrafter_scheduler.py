"""VideoCrafter's noise schedule: DDIM with a signal that is made weaker, as in its released code."""

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler, DDIMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin  # noqa: F401  # by this it is loaded
from einops import rearrange
from torch import Tensor

from echoreel.common.errors import SettingsError

WEAKEST, RAMP = 0.7, 400  # factor of the signal, reached after so many of the training's steps


class ScaledDDIMScheduler(DDIMScheduler):
    """DDIM (Song et al. 2021, Eq. 12) with a weakened signal. It predicts epsilon. Noisy clips are:

        z_t = scale_t sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) epsilon.

    scale_t falls from 1 to `WEAKEST` in equal steps over `RAMP` timesteps, then stays.
    """

    @property
    def scales(self) -> Tensor:
        """The signal's factor at each timestep of the training: (steps,) float32. Raises SettingsError."""
        config: Any = self.config
        if config.prediction_type != "epsilon" or config.clip_sample or config.thresholding:
            raise SettingsError(
                "got a scaled DDIM schedule with other settings than VideoCrafter's; need "
                "prediction_type='epsilon', clip_sample=False and thresholding=False"
            )
        weakest = torch.full((max(0, config.num_train_timesteps - RAMP),), WEAKEST)
        return torch.cat([torch.linspace(1.0, WEAKEST, RAMP), weakest])[: config.num_train_timesteps]

    def step(  # type: ignore[override]
        self, model_output: Tensor, timestep: int, sample: Tensor, return_dict: bool = True, **options: Any
    ) -> Any:
        """As `DDIMScheduler.step`, whose prediction of z_0 is scale_t z_0 here."""
        plain = super().step(model_output, timestep, sample, **options)
        assert isinstance(plain, DDIMSchedulerOutput)
        assert self.num_inference_steps is not None
        before = int(timestep) - len(self.scales) // self.num_inference_steps
        alpha_bar = self.alphas_cumprod[before] if before >= 0 else self.final_alpha_cumprod
        scales = self.scales
        scale, scale_before = float(scales[int(timestep)]), float(scales[max(before, 0)])
        scaled = plain.pred_original_sample
        assert scaled is not None
        sample_before = plain.prev_sample + float(alpha_bar) ** 0.5 * (scale_before / scale - 1) * scaled
        if not return_dict:
            return sample_before, scaled / scale
        return DDIMSchedulerOutput(prev_sample=sample_before, pred_original_sample=scaled / scale)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Any) -> Tensor:
        """Clips (B, C, T, h, w) with noise of that shape at timesteps (B,)."""
        scales = self.scales.to(original_samples)[timesteps]
        ones = " ".join("1" for _ in original_samples.shape[1:])
        scaled = original_samples * rearrange(scales, f"b -> b {ones}")
        noisy: Tensor = super().add_noise(scaled, noise, timesteps)
        return noisy
