"""The dense Prism, the paper's (EchoReel, section 3.2, appendix B): one token a frame, as large as it."""

import math
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from echoreel.common.attention import (
    Attention,
    GatedFeedForward,
    RelativeAttention,
    joined,
    over_caption,
    over_places,
    over_time,
)
from echoreel.common.errors import AdapterMismatch
from echoreel.common.settings import Layers, Settings, Width


class DensePrismSettings(Settings):
    """Sizes of the dense Prism; the defaults are EchoReel's."""

    kind: Literal["dense"] = "dense"
    width: Width = 640
    depth: Layers = 18  # layers
    heads: Width = 8
    head_width: Width | None = None  # None: heads fill the width
    caption_width: Width = 768  # that captions are projected to
    feed_forward: Width = 4  # its hidden width, in widths
    head: Width = 4  # hidden width of the last three layers, in widths
    reach: Width = 16  # frames, beyond which relative positions are all alike
    latent_size: tuple[Width, Width] = (32, 32)  # places (height, width), fixed


class DenseLayer(nn.Module):
    """Spatial, temporal, caption, temporal attention, with feed-forwards: each pre-norm with a residual."""

    def __init__(self, settings: DensePrismSettings) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        head_width = settings.head_width or width // heads
        self.space = Attention(width, heads, head_width)
        self.time = RelativeAttention(width, heads, head_width, settings.reach)
        self.caption = Attention(width, heads, head_width, settings.caption_width)
        self.time_again = RelativeAttention(width, heads, head_width, settings.reach)
        self.feeds = nn.ModuleList(GatedFeedForward(width, settings.feed_forward) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(8))

    def forward(self, x_BTSD: Tensor, captions_BLD: Tensor | None) -> Tensor:
        """Tokens (B, T, S, D) and caption tokens (B, L, D') or None: tokens (B, T, S, D)."""
        norms, feeds = self.norms, self.feeds
        x_BTSD = x_BTSD + over_places(self.space, norms[0](x_BTSD))
        x_BTSD = x_BTSD + feeds[0](norms[1](x_BTSD))
        x_BTSD = x_BTSD + over_time(self.time, norms[2](x_BTSD))
        x_BTSD = x_BTSD + feeds[1](norms[3](x_BTSD))
        if captions_BLD is not None:
            x_BTSD = x_BTSD + over_caption(self.caption, norms[4](x_BTSD), captions_BLD)
        x_BTSD = x_BTSD + feeds[2](norms[5](x_BTSD))
        x_BTSD = x_BTSD + over_time(self.time_again, norms[6](x_BTSD))
        out: Tensor = x_BTSD + feeds[3](norms[7](x_BTSD))
        return out


class DensePrism(nn.Module):
    """Latents -> one token per frame, of all places and channels: any length, one fixed resolution."""

    slots_per_frame = 1

    def __init__(self, settings: DensePrismSettings, latent_channels: int, caption_width: int) -> None:
        super().__init__()
        width, hidden = settings.width, settings.head * settings.width
        self.latent_size = settings.latent_size
        self.token_width = latent_channels * math.prod(settings.latent_size)
        self.captions_in = nn.Linear(caption_width, settings.caption_width)
        self.latents_in = nn.Linear(latent_channels, width)
        self.layers = nn.ModuleList(DenseLayer(settings) for _ in range(settings.depth))
        self.out = nn.Sequential(  # linear throughout, as released
            nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, latent_channels)
        )

    @property
    def slot_centres(self) -> Tensor:
        """A frame's only token comes from the middle of the picture: (1, 2)."""
        return self.latents_in.weight.new_zeros(1, 2)

    def forward(
        self, latents_BCTHW: Tensor, captions_BLD: Tensor | None = None, prompts_BLD: Tensor | None = None
    ) -> Tensor:
        """As `CompactPrism.forward`, with action tokens (B, T, H * W * C).

        Raises AdapterMismatch for another resolution than the one it was made for.
        """
        size = (int(latents_BCTHW.shape[-2]), int(latents_BCTHW.shape[-1]))
        if size != tuple(self.latent_size):
            raise AdapterMismatch(
                f"got reference latents of {size[0]} x {size[1]} places, need {self.latent_size[0]} x "
                f"{self.latent_size[1]}: a dense Prism has one resolution; resize the reference"
            )
        x_BTSD = self.latents_in(rearrange(latents_BCTHW, "b c t h w -> b t (h w) c"))
        texts_BLD = joined(captions_BLD, prompts_BLD)
        texts_BLD = None if texts_BLD is None else self.captions_in(texts_BLD)
        for layer in self.layers:
            x_BTSD = layer(x_BTSD, texts_BLD)
        tokens: Tensor = rearrange(self.out(x_BTSD), "b t s c -> b t (s c)")
        return tokens
