"""What U-Nets with temporal transformer blocks share; their autoencoder sees frame by frame."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import parse_shape, rearrange
from torch import Tensor, nn

from echoreel.bases.base import Base, Condition
from echoreel.bases.frame_autoencoder import decode_frames, encode_frames


class UNetBase(Base):
    """A U-Net of diffusers or of `ports`, in a pipeline of the Stable Diffusion kind."""

    component = "unet"
    sites = r"transformer_in|((down|up)_blocks\.\d+|mid_block)\.temp_attentions\.\d+"
    width = "proj_in"
    layout = "(b t) c h w"
    caption_field = "cross_attention_dim"
    pixels_field = "vae_scale_factor"
    sample = "sample"
    checkpoints: ClassVar[str | None] = (
        r".*\.(resnets|attentions|temp_attentions|temp_convs|motion_modules)\.\d+"
    )
    axes: ClassVar[str] = "b c t h w"  # of the noisy latents, as the denoiser takes them

    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        found = parse_shape(arguments[self.sample], self.axes)
        return found["t"], found["h"], found["w"]

    @property
    def latent_size(self) -> tuple[int, int] | None:
        size: int | tuple[int, int] | None = self.denoiser.config.sample_size
        return (size, size) if isinstance(size, int) else size

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        return encode_frames(self.pipe.vae, pixels_BCTHW)

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        return decode_frames(self.pipe.vae, latents_BCTHW)

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        tokens: Tensor = self.pipe.encode_prompt(
            [*captions], self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
        return tokens

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        prediction: Tensor = denoiser(noisy, timesteps, encoder_hidden_states=captions, **condition).sample
        return prediction

    def image_embeddings(self, latents_BCTHW: Tensor) -> Tensor:
        """CLIP's view of the first frames: (B, 1, D)."""
        pipe = self.pipe
        frames = rearrange(self.decode_video(latents_BCTHW[:, :, :1]), "b c 1 h w -> b c h w")
        side = pipe.image_encoder.config.image_size
        frames = F.interpolate(frames.float(), (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        mean, std = (
            rearrange(torch.tensor(x, device=frames.device), "c -> c 1 1")
            for x in (pipe.feature_extractor.image_mean, pipe.feature_extractor.image_std)
        )
        pixels = ((frames + 1) / 2 - mean) / std
        embeddings: Tensor = pipe.image_encoder(pixels.to(pipe.image_encoder.dtype)).image_embeds
        return embeddings[:, None]
