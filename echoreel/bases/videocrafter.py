"""VideoCrafter 2 (text to video) and VideoCrafter 1 (image to video) as bases: one U-Net, one family."""

import torch
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.ports.videocrafter_pipelines import VideoCrafterImagePipeline
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.bases.unet_base import UNetBase


class VideoCrafter(UNetBase):
    name = "VideoCrafter"
    denoiser_type = VideoCrafterUNet
    output = 0
    image_is_first = False

    @property
    def needs_image(self) -> bool:
        return isinstance(self.pipe, VideoCrafterImagePipeline)

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """For image to video, the first frame's context tokens."""
        if not self.needs_image:
            return {}
        frames = rearrange(self.decode_video(latents_BCTHW[:, :, :1]), "b c 1 h w -> b c h w")
        return {"image_tokens": self.pipe.encode_image(frames.clamp(-1, 1))}

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        context = captions
        if "image_tokens" in condition:
            context = torch.cat([context, condition["image_tokens"].to(context)], dim=1)
        return super().predict(denoiser, noisy, timesteps, context, {})
