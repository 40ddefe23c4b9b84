"""Action Integration: every token of a frozen layer's output reads the action tokens.

One new cross-attention with a residual per site (EchoReel, section 3.3), zero-initialised, so that a fresh
adapter returns the base's own video. With the batch outermost, the layouts of all bases are views of
(B, tokens, C), so keys and values are never repeated over places.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from einops import rearrange, repeat
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from echoreel.config import Settings
from echoreel.layers import Attention, KeysValues, PlaceEmbedding, centres, cycle, key_places, query_places

# Initial sharpness of the heads, as slopes of the squared distance where the clip and the picture are 1 long.
# 1024 makes the neighbouring frame of 16 e^4 times less likely, 32 the neighbouring slot of a 4 x 4 grid e^2.
TIME_SLOPES = [1024.0, 1024.0, 64.0, 0.25]
SPACE_SLOPES = [32.0, 8.0, 4.0, 0.25]
LEAST_HEAD = 8  # channels, 5 of which tell places


class IntegrationSettings(Settings):
    """Sizes of the new cross-attentions."""

    inner_width: PositiveInt | None = 64  # of the attention; None: the site's own width
    heads: PositiveInt = 4  # fewer at sites where a head would have under `LEAST_HEAD` channels
    gain: PositiveFloat = 1.0  # on what is added: how fast the zero-initialised projection takes effect


@dataclass(frozen=True)
class ActionTokens:
    """Action tokens of all references, as Integration reads them."""

    tokens: Tensor  # (B, M, A)
    places: Tensor  # (M, 3): time, row, column, each from -0.5 to 0.5
    bias: Tensor  # (M,): logarithm of the reference's strength over the largest strength
    strength: float  # the largest strength

    @classmethod
    def of_references(cls, parts: list[Tensor], strengths: list[float], slot_centres: Tensor) -> Self:
        """Tokens (B, T * K, A) of each reference, their strengths above 0, and the slots' centres (K, 2)."""
        slots, places = slot_centres.float(), []
        for part in parts:
            times = centres(part.shape[1] // len(slots), part.device)
            when = repeat(times, "t -> (t k) 1", k=len(slots))
            places.append(torch.cat([when, repeat(slots, "k p -> (t k) p", t=len(times))], dim=-1))
        logs = torch.tensor([math.log(strength / max(strengths)) for strength in strengths])
        bias = logs.repeat_interleave(torch.tensor([part.shape[1] for part in parts]))
        return cls(torch.cat(parts, dim=1), torch.cat(places), bias.to(parts[0].device), max(strengths))


@dataclass(frozen=True)
class Grid:
    """How many frames, rows and columns a site's tokens have, and in which order they lie, as "h w t"."""

    frames: int
    height: int
    width: int
    order: str

    def axes(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Times (T, 1, 1), rows (H, 1) and columns (W,) of the tokens."""
        times, rows, columns = (centres(count, device) for count in (self.frames, self.height, self.width))
        return times[:, None, None], rows[:, None], columns


class ActionIntegration(nn.Module):
    """The new layer of one site."""

    def __init__(self, width: int, token_width: int, settings: IntegrationSettings) -> None:
        super().__init__()
        inner = settings.inner_width or width
        heads = max(1, min(settings.heads, inner // LEAST_HEAD))
        self.width = width
        self.gain = settings.gain
        self.norm = nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(token_width)
        self.attention = Attention(width, heads, inner // heads, token_width, places=3)
        self.query_place = PlaceEmbedding(heads * self.attention.content)
        self.token_place = PlaceEmbedding(token_width)
        self.log_time_slopes = nn.Parameter(cycle(TIME_SLOPES, heads).log())
        self.log_space_slopes = nn.Parameter(cycle(SPACE_SLOPES, heads).log())
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.attention.out.bias)

    def memory(self, action: ActionTokens) -> KeysValues:
        """Keys and values of the action tokens: needed once per generation."""
        times, rows, columns = action.places.unbind(-1)
        tokens = self.norm_tokens(action.tokens) + self.token_place(times, rows, columns)
        places = key_places(action.places, self.slopes(), action.bias)
        keys, values = self.attention.keys_values(tokens, places)
        return keys, values * (action.strength * self.gain)

    def forward(self, hidden_BNC: Tensor, memory: KeysValues, grid: Grid, groups: int = 1) -> Tensor:
        """What hidden tokens (B, N, C) find in the memory: an addition (B, N, C).

        With fewer token sets than rows, neighbouring rows share one; with `groups`, rows are that many times
        all sets in order. Rows of one set lie side by side as its queries, so no key or value is repeated.
        """
        axes = grid.axes(hidden_BNC.device)
        flat = f"t h w d -> ({grid.order}) d"
        embedding = rearrange(self.query_place(*axes), flat)
        places = rearrange(torch.stack(torch.broadcast_tensors(*axes), dim=-1), flat)  # type: ignore[no-untyped-call]
        places = query_places(places, self.slopes(), self.attention.scale)
        normed = self.norm(hidden_BNC.to(self.norm.weight.dtype))
        queries = self.attention.queries(normed, embedding, places)
        queries = rearrange(queries, "(g b r) h n d -> b h (g r n) d", g=groups, b=memory[0].shape[0])
        found = self.attention.read(queries, memory)
        return rearrange(found, "b (g r n) c -> (g b r) n c", g=groups, n=hidden_BNC.shape[1]).to(
            hidden_BNC.dtype
        )

    def slopes(self) -> Tensor:
        """How fast a head's interest falls with the squared distance in time, row and column: (heads, 3)."""
        space = self.log_space_slopes.float().exp()
        return torch.stack([self.log_time_slopes.float().exp(), space, space], dim=-1)
