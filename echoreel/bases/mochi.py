"""Mochi 1: text and video in one attention; its time runs from noise, 0, to the clip, 1000."""

from collections.abc import Sequence

from diffusers import MochiTransformer3DModel
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import STEPS, TransformerBase, mean_and_deviation, whole_steps


class Mochi(TransformerBase):
    name = "Mochi"
    denoiser_type = MochiTransformer3DModel
    output = 0
    channels_field = "in_channels"
    caption_field = "text_embed_dim"
    pixels_field = "vae_spatial_scale_factor"
    frames_field = "vae_temporal_scale_factor"
    latent_size = (60, 106)  # its pipeline knows them as pixels
    fps = 30.0

    def progress(self, timestep: Tensor) -> Tensor:
        """As others count: later steps have lower numbers."""
        return STEPS - super().progress(timestep)

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        mean, std = mean_and_deviation(self.pipe.vae, pixels_BCTHW)
        found = self.pipe.vae.encode(whole_steps(pixels_BCTHW, self.frames_per_place)).latent_dist.mode()
        latents: Tensor = (found - mean) / std * self.pipe.vae.config.scaling_factor
        return latents

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        mean, std = mean_and_deviation(self.pipe.vae, latents_BCTHW)
        pixels: Tensor = self.pipe.vae.decode(
            latents_BCTHW * std / self.pipe.vae.config.scaling_factor + mean
        ).sample
        return pixels

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        tokens, mask, *_ = self.pipe.encode_prompt([*captions], do_classifier_free_guidance=False)
        found: Tensor = tokens * mask[..., None]
        return found

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """The flow towards noise at timesteps that count noise, as of every other flow."""
        prediction: Tensor = denoiser(
            hidden_states=noisy,
            encoder_hidden_states=captions,
            timestep=STEPS - timesteps.to(noisy.dtype),
            encoder_attention_mask=(captions != 0).any(-1),
        ).sample
        return -prediction
