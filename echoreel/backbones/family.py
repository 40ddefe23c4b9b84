"""What a family of bases has to say about itself: one table entry, no subclass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """A family of bases: where its sites are, how their tokens lie, how it encodes videos and captions.

    In the functions, `pipe` is a pipeline of the family and `denoiser` its network.
    """

    name: str
    denoiser: type[Any]
    component: str  # the denoiser's name in a pipeline
    pipelines: tuple[str, ...]  # class names known to work
    sites: str  # regular expression of the whole path of a site in the denoiser
    width: str  # path of a linear layer in a site whose input has the site's width
    layout: str  # of a site's hidden states: einops pattern of b, t, h, w, c with b outermost
    output: int | None  # index of the hidden states in a site's output; None: the output itself
    sample: str  # the denoiser's argument with the noisy latents, the first one
    timestep: str  # the denoiser's argument with the timestep, the second one
    sample_layout: str  # of the noisy latents: einops pattern of b, c, t, h, w
    latent_channels: Callable[[nn.Module], int]
    caption_width: Callable[[nn.Module], int]
    latent_size: Callable[[nn.Module], tuple[int, int] | None]  # native places (height, width), if it says so
    pixels_per_place: Callable[[Any], int]  # pipe -> pixels to a side of one latent place
    guided: Callable[
        [Any], bool
    ]  # pipe -> does it now call the denoiser with [negative, positive] in one batch
    encode_video: Callable[[Any, Tensor], Tensor]  # pipe, (B, 3, T, H, W) in [-1, 1] -> (B, C, T, h, w)
    decode_video: Callable[[Any, Tensor], Tensor]  # the way back
    encode_captions: Callable[[Any, Sequence[str]], Tensor]  # pipe, B texts -> (B, L, D)
    predict: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
    """denoiser, noisy latents (B, C, T, h, w), timesteps (B,), captions (B, L, D) -> prediction"""
