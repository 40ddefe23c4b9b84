"""Kandinsky 5: channels last, and two calls for guidance of which its pipeline does not say which is which.

Its denoiser knows no mask for text, so that captions are read without padding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import Kandinsky5Transformer3DModel
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import TransformerBase, known_first_frame, with_first_frame
from echoreel.common.errors import BaseUnsupported

TEXT = 512  # tokens of a prompt that its pipelines keep
ROPE = (1.0, 2.0, 2.0)  # how its pipelines stretch positions (frames, height, width) at 480 to 854 pixels
EVENED = 4  # latent frames that its image-to-video pipeline evens out


class Kandinsky5(TransformerBase):
    name = "Kandinsky 5"
    denoiser_type = Kandinsky5Transformer3DModel
    sites = r"visual_transformer_blocks\.\d+"
    width = "self_attention.to_query"
    channels_field = "out_visual_dim"
    caption_field = "in_text_dim"
    negative = ("uncond",)
    handed_over = ("text_rope_pos", "negative_text_rope_pos")
    one_at_a_time = True  # it pads prompts of different lengths, and the denoiser reads the padding
    fps = 24.0

    @property
    def needs_image(self) -> bool:
        return "I2V" in type(self.pipe).__name__

    @property
    def least_frames(self) -> int:
        """From a first frame, its pipeline evens out some frames by those behind, and makes NaN of none."""
        return 1 + self.frames_per_place * EVENED if self.needs_image else 1

    def find_sites(self) -> dict[str, int]:
        """Raises BaseUnsupported for sparse attention too: it lays tokens out in blocks of 8 x 8 places."""
        kind = self.denoiser.config.attention_type
        if kind != "regular":
            raise BaseUnsupported(
                f"got a {self.name} with {kind} attention, whose tokens are in blocks, need regular: "
                "take a model for 5 seconds at 512 pixels"
            )
        return super().find_sites()

    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        frames, height, width = arguments[self.sample].shape[1:4]
        return frames, height, width

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Qwen's tokens of each caption by itself, filled up with zeros; as the last one CLIP's summary."""
        return torch.cat([self._encode(caption) for caption in captions])

    def _encode(self, caption: str) -> Tensor:
        tokens, summary, _ = self.pipe.encode_prompt([caption], max_sequence_length=TEXT)
        tokens = F.pad(tokens, (0, 0, 0, TEXT - tokens.shape[1]))
        summary = F.pad(summary, (0, tokens.shape[-1] - summary.shape[-1]))
        return torch.cat([tokens, summary[:, None]], dim=1)

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """How its pipeline stretches positions, and for image to video the first frame."""
        height, width = (side * self.pixels_per_place for side in latents_BCTHW.shape[3:])
        told = {"rope": torch.tensor(self.pipe._get_scale_factor(height, width))}
        return told | ({"first": latents_BCTHW[:, :, :1]} if self.needs_image else {})

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        config, first = self.denoiser.config, condition.get("first")
        sample = with_first_frame(noisy, first)
        if config.visual_cond:
            given = torch.zeros_like(sample[:, :1])
            given[:, :, :1] = 0 if first is None else 1
            sample = torch.cat([sample, torch.zeros_like(sample), given], dim=1)
        frames, height, width = noisy.shape[2:]
        sides = frames, height // config.patch_size[1], width // config.patch_size[2]
        tokens, places = without_padding(captions[:, :-1])
        made = denoiser(
            hidden_states=rearrange(sample, "b c t h w -> b t h w c"),
            encoder_hidden_states=tokens,
            timestep=timesteps.to(noisy.dtype),
            pooled_projections=captions[:, -1, : config.in_text_dim2],
            visual_rope_pos=[torch.arange(side, device=noisy.device) for side in sides],
            text_rope_pos=places,
            scale_factor=tuple(condition["rope"].tolist()) if "rope" in condition else ROPE,
        ).sample
        prediction = rearrange(made, "b t h w c -> b c t h w")
        return known_first_frame(prediction, noisy, timesteps, first)


def without_padding(tokens_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B, M, D) and their positions, (M,) or (B, M), of captions that zeros fill up.

    M is the length of the longest. A shorter one has each token once or several times, all about as often:
    attention to tokens that are all there twice is attention to them once.
    """
    if tokens_BLD.is_meta:  # sizes are all that is asked for
        return tokens_BLD, torch.arange(tokens_BLD.shape[1], device=tokens_BLD.device)
    lengths = (tokens_BLD != 0).any(-1).sum(-1).clamp(min=1)
    longest = lengths.max()
    places = torch.arange(int(longest), device=lengths.device) * lengths[:, None] // longest
    tokens = tokens_BLD.gather(1, places[..., None].expand(-1, -1, tokens_BLD.shape[-1]))
    return tokens, places[0] if bool((lengths == longest).all()) else places
