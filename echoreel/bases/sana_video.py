"""Sana-Video: linear attention, and a first frame that has a timestep of its own."""

import inspect
from collections.abc import Sequence
from typing import Any

from diffusers import AutoencoderKLWan, SanaVideoTransformer3DModel
from einops import repeat
from torch import Tensor, nn

from echoreel.bases.base import Base, Condition
from echoreel.bases.transformer_base import (
    TransformerBase,
    decode_normalised,
    encode_normalised,
    known_first_frame,
    whole_steps,
    with_first_frame,
)
from echoreel.common.errors import BaseUnsupported


class SanaVideo(TransformerBase):
    name = "Sana-Video"
    denoiser_type = SanaVideoTransformer3DModel
    channels_field = "in_channels"
    caption_field = "caption_channels"
    translated = {"num_frames": "frames"}  # noqa: RUF012 - declared a ClassVar above
    fps = 16.0

    def whole(self) -> Base:
        """Raises BaseUnsupported for other autoencoders than Wan's too, of which that of 720p is one."""
        vae = None if self.pipe is None else self.pipe.vae  # None too where captions alone are encoded
        if not isinstance(vae, AutoencoderKLWan | None):
            raise BaseUnsupported(
                f"got a {self.name} with {type(vae).__name__}, need AutoencoderKLWan: take a model of 480p"
            )
        return super().whole()

    def call_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The size is the one asked for: its pipeline would make a near one of its list and stretch that."""
        return {"use_resolution_binning": False} | super().call_arguments(arguments)

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        return encode_normalised(self.pipe.vae, whole_steps(pixels_BCTHW, self.frames_per_place))

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        return decode_normalised(self.pipe.vae, latents_BCTHW)

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """After the instructions that its pipeline puts before a prompt."""
        call = inspect.signature(type(self.pipe).__call__).parameters
        tokens, mask, *_ = self.pipe.encode_prompt(
            [*captions],
            do_classifier_free_guidance=False,
            complex_human_instruction=call["complex_human_instruction"].default,
        )
        found: Tensor = tokens * mask[..., None]
        return found

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        return {"first": latents_BCTHW[:, :, :1]} if self.needs_image else {}

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """Its pipeline tells tokens of a first frame that they are clean. A second half of its output is a
        variance."""
        first, told = condition.get("first"), timesteps
        if first is not None:
            (frames, height, width), side = noisy.shape[2:], self.denoiser.config.patch_size[-1]
            told = repeat(timesteps, "b -> b 1 t h w", t=frames, h=height // side, w=width // side).clone()
            told[:, :, 0] = 0
        made: Tensor = denoiser(
            with_first_frame(noisy, first),
            encoder_hidden_states=captions,
            encoder_attention_mask=(captions != 0).any(-1).long(),
            timestep=told,
        ).sample
        return known_first_frame(made[:, : noisy.shape[1]], noisy, timesteps, first)
