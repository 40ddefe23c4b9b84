"""Action Integration: every token of a frozen layer's output reads the action tokens.

One new cross-attention with a residual per site (EchoReel, section 3.3), zero-initialised, so that a fresh
adapter returns the base's own video. With the batch outermost, the layouts of all bases are views of
(B, tokens, C), so keys and values are never repeated over places.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from pydantic import PositiveInt
from torch import Tensor, nn

from echoreel.config import Settings
from echoreel.layers import Attention, KeysValues, PlaceEmbedding, centres, cycle, key_places, query_places

# Initial sharpness of the heads, as slopes of the squared distance where the clip and the picture are 1 long.
# 1024 makes the neighbouring frame of 16 e^4 times less likely, 64 the next slot of a 4 x 4 grid as well.
TIME_SLOPES = [1024.0, 1024.0, 1024.0, 64.0]
SPACE_SLOPES = [64.0, 64.0, 16.0, 4.0]
LEAST_HEAD = 8  # channels, 5 of which tell places


class IntegrationSettings(Settings):
    """Sizes of the new cross-attentions."""

    inner_width: PositiveInt | None = 64  # of the attention; None: the site's own width
    heads: PositiveInt = 4  # fewer at sites where a head would have under `LEAST_HEAD` channels
    feed_forward: PositiveInt | None = None  # width of a hidden layer behind the attention; None: the paper's


@dataclass(frozen=True)
class ActionTokens:
    """Action tokens of all references, as Integration reads them."""

    tokens: Tensor  # (B, M, A)
    places: Tensor  # (M, 3): time, row, column, each from -0.5 to 0.5
    bias: Tensor  # (M,): logarithm of the reference's strength over the largest strength
    strength: float  # the largest strength: what is added is multiplied by it

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


class FoundFeedForward(nn.Module):
    """What a hidden token makes of what it found: one hidden layer that also sees the token and its place.

    Not in the paper, whose attention is followed by the block's own feed-forward; see
    docs/decisions/0007-where-the-adapter-joins.md.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.place = PlaceEmbedding(hidden)
        self.hidden = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width)

    def forward(self, found_BNF: Tensor, hidden_BNC: Tensor, place_NF: Tensor) -> Tensor:
        """What was found (B, N, F), normalised hidden tokens (B, N, C), embedded places (N, F): (B, N, C)."""
        added: Tensor = self.out(F.gelu(found_BNF + self.hidden(hidden_BNC) + place_NF))
        return added


class ActionIntegration(nn.Module):
    """The new layer of one site."""

    def __init__(self, width: int, token_width: int, settings: IntegrationSettings) -> None:
        super().__init__()
        inner = settings.inner_width or width
        heads = max(1, min(settings.heads, inner // LEAST_HEAD))
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(token_width)
        self.attention = Attention(
            width, heads, inner // heads, token_width, places=3, out_width=settings.feed_forward
        )
        self.feed = None if settings.feed_forward is None else FoundFeedForward(width, settings.feed_forward)
        self.query_place = PlaceEmbedding(heads * self.attention.content)
        self.token_place = PlaceEmbedding(token_width)
        self.log_time_slopes = nn.Parameter(cycle(TIME_SLOPES, heads).log())
        self.log_space_slopes = nn.Parameter(cycle(SPACE_SLOPES, heads).log())
        last = self.attention.out if self.feed is None else self.feed.out
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def memory(self, action: ActionTokens) -> KeysValues:
        """Keys and values of the action tokens: needed once per generation."""
        times, rows, columns = action.places.unbind(-1)
        tokens = self.norm_tokens(action.tokens) + self.token_place(times, rows, columns)
        places = key_places(action.places, self.slopes(), action.bias)
        return self.attention.keys_values(tokens, places)

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
        found = rearrange(found, "b (g r n) c -> (g b r) n c", g=groups, n=hidden_BNC.shape[1])
        if self.feed is not None:
            found = self.feed(found, normed, rearrange(self.feed.place(*axes), flat))
        return found.to(hidden_BNC.dtype)

    def slopes(self) -> Tensor:
        """How fast a head's interest falls with the squared distance in time, row and column: (heads, 3)."""
        space = self.log_space_slopes.float().exp()
        return torch.stack([self.log_time_slopes.float().exp(), space, space], dim=-1)
