"""I2VGen-XL: ModelScope's blocks, told of a first frame."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import I2VGenXLUNet
from einops import parse_shape, repeat
from torch import Tensor

from echoreel.bases.unet_base import UNetBase


class I2VGenXL(UNetBase):
    name = "I2VGen-XL"
    denoiser_type = I2VGenXLUNet
    output = 0
    needs_image = True
    fps = 16.0

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """As its pipeline encodes prompts with `clip_skip=None`; its own method wants to know of guidance."""
        tokenizer = self.pipe.tokenizer
        ids = tokenizer(
            [*captions],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        tokens: Tensor = self.pipe.text_encoder(ids.to(self.device))[0]
        return tokens

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """Its first frame's latents, then each frame's place in time in their stead; CLIP's view; 16 fps."""
        batch, _, frames = latents_BCTHW.shape[:3]
        places = torch.arange(frames).to(latents_BCTHW) / max(frames - 1, 1)
        image = repeat(places, "t -> b c t h w", **parse_shape(latents_BCTHW[:, :, 0], "b c h w")).clone()
        image[:, :, 0] = latents_BCTHW[:, :, 0]
        return {
            "fps": torch.full((batch,), 16, device=latents_BCTHW.device),
            "image_latents": image,
            "image_embeddings": self.image_embeddings(latents_BCTHW),
        }

    def call_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Its own default of `clip_skip` fails with transformers 5, whose CLIP has another shape."""
        return {"clip_skip": None} | arguments
