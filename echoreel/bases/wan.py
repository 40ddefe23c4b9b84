"""Wan 2.1 and 2.2: a call for each branch of guidance, and in 2.2 two transformers."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import TransformerBase, decode_normalised, encode_normalised, whole_steps

TEXT = 512  # tokens that its pipelines ask for when they are called


class Wan(TransformerBase):
    name = "Wan"
    denoiser_type: ClassVar[type[object]] = WanTransformer3DModel
    more = ("transformer_2",)
    sites = r"blocks\.\d+"
    caption_field = "text_dim"
    negative = ("uncond",)
    fps = 16.0

    @property
    def boundary(self) -> float | None:
        ratio = self.pipe.config.get("boundary_ratio")
        return None if ratio is None else float(ratio) * self.pipe.scheduler.config.num_train_timesteps

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        return encode_normalised(
            self.pipe.vae, whole_steps(pixels_BCTHW, self.pipe.vae.config.scale_factor_temporal)
        )

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        return decode_normalised(self.pipe.vae, latents_BCTHW)

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        tokens: Tensor = self.pipe.encode_prompt(
            [*captions], do_classifier_free_guidance=False, max_sequence_length=TEXT
        )[0]
        return tokens

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """What `WanImageToVideoPipeline` makes of a first frame: a mask, the latents of that frame followed
        by grey ones, and for Wan 2.1 CLIP's view of it. Wan 2.2's 5B model is trained as text to video."""
        config = self.denoiser.config
        if config.in_channels == config.out_channels:
            return {}
        first = self.decode_video(latents_BCTHW[:, :, :1].to(self.pipe.vae.dtype))
        step = self.pipe.vae.config.scale_factor_temporal
        grey = step * (latents_BCTHW.shape[2] - 1)
        image = self.encode_video(F.pad(first, (0, 0, 0, 0, 0, grey)))
        mask = torch.zeros_like(repeat(image[:, 0], "b t h w -> b s t h w", s=step))
        mask[:, :, 0] = 1
        told = {"image_latents": torch.cat([mask, image], dim=1)}
        if config.image_dim is not None:
            frames = ((first[:, :, 0].float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
            pictures = [Image.fromarray(rearrange(frame, "c h w -> h w c")) for frame in frames]
            told["encoder_hidden_states_image"] = self.pipe.encode_image(pictures).to(latents_BCTHW)
        return told

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        more = dict(condition)
        if "image_latents" in more:
            noisy = torch.cat([noisy, more.pop("image_latents").to(noisy)], dim=1)
        prediction: Tensor = denoiser(
            hidden_states=noisy,
            timestep=timesteps,
            encoder_hidden_states=captions,
            **more,
            **self.always(noisy.shape[0]),
        ).sample
        return prediction

    def always(self, rows: int) -> dict[str, Any]:
        """What the denoiser is told at every call of so many rows, whatever the clip."""
        return {}
