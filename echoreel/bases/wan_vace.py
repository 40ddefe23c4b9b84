"""Wan VACE: Wan 2.1's blocks, joined by further ones that read a control video.

Its own blocks are Wan's, and are the sites: an adapter for one fits the other, of the same width.
"""

import torch
from diffusers import WanVACETransformer3DModel
from torch import Tensor

from echoreel.bases.wan import Wan


class WanVACE(Wan):
    denoiser_type = WanVACETransformer3DModel
    one_at_a_time = True  # its pipeline refuses a batch

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """What its pipeline makes of no control video: a grey one, twice, and a mask that says to paint all
        of it."""
        batch, _, frames, height, width = latents_BCTHW.shape
        vae, side = self.pipe.vae, self.pixels_per_place
        pixels = 1 + self.pipe.vae_scale_factor_temporal * (frames - 1), height * side, width * side
        grey = self.encode_video(torch.zeros(1, 3, *pixels, device=self.device, dtype=vae.dtype))
        mask = grey.new_ones(1, side**2, *grey.shape[2:])
        control = torch.cat([grey, grey, mask], dim=1).to(latents_BCTHW)
        return {"control_hidden_states": control.expand(batch, -1, -1, -1, -1)}
