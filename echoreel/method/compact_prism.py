"""The compact Prism, the default: patchified latents, then a few learned slots per frame.

Slots are a bottleneck that keeps motion and drops look, and costs a fraction of the paper's form.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from echoreel.common.attention import (
    Attention,
    FeedForward,
    PlaceEmbedding,
    centres,
    cycle,
    joined,
    key_places,
    over_caption,
    over_places,
    over_time,
    query_places,
)
from echoreel.common.settings import Layers, Settings, Width

FRAMES_UNIT = 16  # frames over which the Prism's time axis runs from -0.5 to 0.5
ROWS = 4  # of slots, for which slopes are written down
MOTION_GAIN = 4.0  # latents differ about so much less from their mean over time than clips do from each other


class CompactPrismSettings(Settings):
    """Sizes of the compact Prism."""

    kind: Literal["compact"] = "compact"
    width: Width = 128
    depth: Layers = 2  # layers
    heads: Width = 4
    patch: Width = 2  # latent places to a side of one token
    feed_forward: Width = 2  # its hidden width, in widths
    slots: Width = 16  # action tokens per frame (K)
    rows: Width | None = None  # in which slots lie; None: as many as columns
    token_width: Width = 64  # channels of an action token (A)


class CompactLayer(nn.Module):
    """Spatial, temporal and caption attention, then a feed-forward: each pre-norm with a residual."""

    def __init__(self, settings: CompactPrismSettings, caption_width: int) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        self.norm_space = nn.LayerNorm(width)
        self.space = Attention(width, heads, width // heads)
        self.norm_time = nn.LayerNorm(width)
        self.time = Attention(width, heads, width // heads)
        self.norm_caption = nn.LayerNorm(width)
        self.caption = Attention(width, heads, width // heads, caption_width)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = FeedForward(width, settings.feed_forward)

    def forward(self, x_BTSD: Tensor, captions_BLD: Tensor | None) -> Tensor:
        """Tokens (B, T, S, D) and caption tokens (B, L, D') or None: tokens (B, T, S, D)."""
        x_BTSD = x_BTSD + over_places(self.space, self.norm_space(x_BTSD))
        x_BTSD = x_BTSD + over_time(self.time, self.norm_time(x_BTSD))
        if captions_BLD is not None:
            x_BTSD = x_BTSD + over_caption(self.caption, self.norm_caption(x_BTSD), captions_BLD)
        out: Tensor = x_BTSD + self.feed(self.norm_feed(x_BTSD))
        return out


class CompactPrism(nn.Module):
    """Latents -> K tokens per frame: any length, any resolution, one pass per reference.

    What changes over time is a twentieth of what tells one clip from another, so it is put forward twice:
    latents come with their difference from their mean over time, and three quarters of a token's channels are
    such differences (docs/research/decisions/0008-motion-put-forward.md).

    Each slot has a learned centre in the picture, around which it prefers to look; Action Integration uses
    the same centres to know where a token comes from.
    """

    def __init__(self, settings: CompactPrismSettings, latent_channels: int, caption_width: int) -> None:
        super().__init__()
        width, heads, patch = settings.width, settings.heads, settings.patch
        self.patch = patch
        self.slots_per_frame = settings.slots
        self.token_width = settings.token_width
        self.patchify = nn.Linear(2 * latent_channels * patch * patch, width)
        self.place = PlaceEmbedding(width)
        self.norm_captions = nn.LayerNorm(caption_width)
        self.is_prompt = nn.Parameter(
            torch.randn(caption_width) * 0.5
        )  # tells the prompt's tokens from others
        self.layers = nn.ModuleList(CompactLayer(settings, caption_width) for _ in range(settings.depth))
        self.slots = nn.Parameter(torch.randn(settings.slots, width) * 0.02)
        self.slot_centres = nn.Parameter(slot_grid(settings.slots, settings.rows))
        self.log_slopes = nn.Parameter(cycle(sharpened([64.0, 64.0, 16.0, 1.0], settings.rows), heads).log())
        self.norm_slots = nn.LayerNorm(width)
        self.norm_places = nn.LayerNorm(width)
        self.gather = Attention(width, heads, width // heads, places=2)
        self.norm_time = nn.LayerNorm(width)
        self.time = Attention(width, heads, width // heads)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = FeedForward(width, settings.feed_forward)
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, settings.token_width)
        self.norm_tokens = nn.BatchNorm1d(settings.slots * settings.token_width, momentum=0.05)

    def forward(
        self, latents_BCTHW: Tensor, captions_BLD: Tensor | None = None, prompts_BLD: Tensor | None = None
    ) -> Tensor:
        """Latents (B, C, T, H, W) -> action tokens (B, T * K, A).

        captions, prompts: text tokens (B, L, D), or None, of what latents show, and of what is asked."""
        moving = latents_BCTHW - latents_BCTHW.mean(2, keepdim=True)
        x_BTHWD = self._patches(torch.cat([latents_BCTHW, MOTION_GAIN * moving], dim=1))
        frames, height, width = x_BTHWD.shape[1:4]
        times, rows, columns = (centres(count, x_BTHWD.device) for count in (frames, height, width))
        times = times * (frames / FRAMES_UNIT)
        x_BTHWD = x_BTHWD + self.place(times[:, None, None], rows[:, None], columns)
        x_BTSD = rearrange(x_BTHWD, "b t h w d -> b t (h w) d")
        shown = None if captions_BLD is None else self.norm_captions(captions_BLD)
        asked = None if prompts_BLD is None else self.norm_captions(prompts_BLD) + self.is_prompt
        texts_BLD = joined(shown, asked)
        for layer in self.layers:
            x_BTSD = layer(x_BTSD, texts_BLD)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
        slots_BTKD = self._gather(x_BTSD, places)
        slots_BTKD = slots_BTKD + over_time(self.time, self.norm_time(slots_BTKD))
        slots_BTKD = slots_BTKD + self.feed(self.norm_feed(slots_BTKD))
        tokens_BTKA = self.out(self.norm_out(slots_BTKD))
        lasting, moving = tokens_BTKA.tensor_split([self.token_width // 4], dim=-1)
        tokens_BTKA = torch.cat([lasting, moving - moving.mean(1, keepdim=True)], dim=-1)
        # Over references and frames: what is the same in all of them is taken out. Otherwise that part is
        # learned first, as a bias of the base, and tokens end up alike for all references
        # (docs/research/log.md).
        tokens: Tensor = self.norm_tokens(rearrange(tokens_BTKA, "b t k a -> (b t) (k a)"))
        return rearrange(tokens, "(b t) (k a) -> b (t k) a", t=frames, k=self.slots_per_frame)

    def _patches(self, latents_BCTHW: Tensor) -> Tensor:
        patch = self.patch
        height, width = latents_BCTHW.shape[-2:]
        if height % patch or width % patch:
            latents_BCTHW = F.pad(latents_BCTHW, (0, -width % patch, 0, -height % patch))
        x = rearrange(latents_BCTHW, "b c t (h p) (w q) -> b t h w (c p q)", p=patch, q=patch)
        out: Tensor = self.patchify(x)
        return out

    def _gather(self, x_BTSD: Tensor, places_S2: Tensor) -> Tensor:
        batch, frames = x_BTSD.shape[:2]
        slopes = repeat(self.log_slopes.float().exp(), "h -> h p", p=2)
        queries = query_places(self.slot_centres.float(), slopes, self.gather.scale)
        memory = self.gather.keys_values(
            rearrange(self.norm_places(x_BTSD), "b t s d -> (b t) s d"), key_places(places_S2, slopes)
        )
        slots = self.norm_slots(self.slots).unsqueeze(0)
        queries = repeat(self.gather.queries(slots, None, queries), "1 h k d -> n h k d", n=batch * frames)
        slots_NKD = self.slots + self.gather.read(queries, memory)
        return rearrange(slots_NKD, "(b t) k d -> b t k d", t=frames)


def sharpened(slopes: list[float], rows: int | None) -> list[float]:
    """Slopes of the squared distance for 4 rows of slots -> those that part slots of `rows` rows as much."""
    return [slope * ((rows or ROWS) / ROWS) ** 2 for slope in slopes]


def slot_grid(count: int, rows: int | None = None) -> Tensor:
    """Centres (row, column) of `count` slots over the picture, in rows, or near-square: (count, 2)."""
    rows = rows or max(1, round(math.sqrt(count)))
    sizes = [count // rows + (row < count % rows) for row in range(rows)]
    grid = [
        ((row + 0.5) / rows - 0.5, (column + 0.5) / size - 0.5)
        for row, size in enumerate(sizes)
        for column in range(size)
    ]
    return torch.tensor(grid)
