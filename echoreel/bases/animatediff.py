"""AnimateDiff: motion modules in Stable Diffusion's U-Net."""

from diffusers import UNetMotionModel
from torch import Tensor, nn

from echoreel.bases.base import Condition, Longer
from echoreel.bases.unet_base import UNetBase


class AnimateDiff(UNetBase):
    name = "AnimateDiff"
    denoiser_type = UNetMotionModel
    sites = r"((down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+"

    @property
    def most_frames(self) -> int | None:
        """Motion modules know so many places in time, and go in windows with FreeNoise."""
        if getattr(self.pipe, "free_noise_enabled", False):
            return None
        return int(self.denoiser.config.motion_max_seq_length)

    @property
    def longer(self) -> Longer | None:
        return "free noise" if hasattr(self.pipe, "enable_free_noise") else None

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """UNetMotionModel wants the captions of every frame."""
        captions = captions.repeat_interleave(noisy.shape[2], dim=0)
        return super().predict(denoiser, noisy, timesteps, captions, condition)
