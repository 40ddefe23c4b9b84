"""Action Integration: every token of a frozen layer's output reads the action tokens.

One new cross-attention with a residual per site (EchoReel, section 3.3), zero-initialised, so that a fresh
adapter returns the base's own video. With the batch outermost, the layouts of all bases are views of
(B, tokens, C), so keys and values are never repeated over places.

Over 300 lines since both forms share their tokens and their grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from echoreel.common.attention import (
    Attention,
    KeysValues,
    PlaceEmbedding,
    RelativeAttention,
    centres,
    cycle,
    key_places,
    query_places,
)
from echoreel.common.settings import Settings, Width, validated
from echoreel.method.compact_prism import sharpened

# Initial sharpness of the heads, as slopes of the squared distance where the clip and the picture are 1 long.
# 1024 makes the neighbouring frame of 16 e^4 times less likely, 64 the next slot of a 4 x 4 grid as well.
TIME_SLOPES = [1024.0, 1024.0, 1024.0, 64.0]
SPACE_SLOPES = [64.0, 64.0, 16.0, 4.0]
LEAST_HEAD = 8  # channels, 5 of which tell places
SOFT_EDGE = 1 / 8  # of the video: over so much, a reference of one part of it fades in and out

Part: TypeAlias = tuple[float, float]  # of the video made, from 0 to 1
WHOLE: Part = (0.0, 1.0)


class IntegrationSettings(Settings):
    """Sizes of the new cross-attentions."""

    kind: Literal["places"] = "places"
    inner_width: Width | None = 64  # of the attention; None: the site's own width
    heads: Width = 4  # fewer at sites where a head would have under `LEAST_HEAD` channels
    slot_rows: Width | None = None  # of the Prism's slots, for how sharply heads look at first; None: 4
    feed_forward: Width | None = None  # width of a hidden layer behind the attention; None: the paper's


class FrameIntegrationSettings(Settings):
    """Sizes of the new cross-attentions in the paper's form."""

    kind: Literal["frames"] = "frames"
    heads: Width = 8
    reach: Width = 16  # frames, beyond which relative positions are all alike


Places: TypeAlias = tuple[Tensor, Tensor, Tensor | None]  # (N, heads * content), (N, heads, 5), (N, F)


class TokenWindow(NamedTuple):
    """Frames of a video that read tokens of their own; where such windows overlap they are blended."""

    frames: tuple[int, int]  # the first, and the one behind the last
    tokens: tuple[int, int]  # likewise; none where no reference acts
    during: tuple[Part, ...] = ()  # as of `ActionTokens`, parts of the window
    share: float = 1.0  # of its largest strength in that of all windows

    @property
    def weights(self) -> list[float]:
        """Of its frames where windows are blended: as FreeNoise weighs them, most in the middle."""
        count = self.frames[1] - self.frames[0]
        return [float(min(number + 1, count - number)) for number in range(count)]


@dataclass(frozen=True)
class ActionTokens:
    """Action tokens of all references, as Integration reads them."""

    tokens: Tensor  # (B, M, A)
    places: Tensor  # (M, 3): time, row, column, each from -0.5 to 0.5
    bias: Tensor  # (M,): logarithm of the reference's strength over the largest strength
    strength: float  # the largest strength: what is added is multiplied by it
    frames: Tensor  # (M,): number of the frame in its reference
    during: tuple[Part, ...] = ()  # the parts of the video that have a reference; none: the whole
    windows: tuple[TokenWindow, ...] = ()  # of a video that is made in windows in one call; none: one, of all

    @classmethod
    def of_references(
        cls,
        parts: list[Tensor],
        strengths: list[float],
        slot_centres: Tensor,
        during: Sequence[Part] | None = None,
    ) -> Self:
        """Tokens (B, T * K, A) of each reference, their strengths above 0, and the slots' centres (K, 2).

        during: the part of the video that each reference acts in; its own time fills that part.
        """
        slots, places, numbers = slot_centres.float().to(parts[0].device), [], []
        during = during or [WHOLE] * len(parts)
        for part, (first, last) in zip(parts, during, strict=True):
            count = part.shape[1] // len(slots)
            numbers.append(torch.arange(count, device=part.device).repeat_interleave(len(slots)))
            times = centres(count, part.device)
            if (first, last) != WHOLE:
                times = (times + 0.5) * (last - first) + first - 0.5
            when = repeat(times, "t -> (t k) 1", k=len(slots))
            places.append(torch.cat([when, repeat(slots, "k p -> (t k) p", t=len(times))], dim=-1))
        logs = torch.tensor([math.log(strength / max(strengths)) for strength in strengths])
        bias = logs.repeat_interleave(torch.tensor([part.shape[1] for part in parts]))
        return cls(
            tokens=torch.cat(parts, dim=1),
            places=torch.cat(places),
            bias=bias.to(parts[0].device),
            strength=max(strengths),
            frames=torch.cat(numbers),
            during=() if WHOLE in during else tuple(during),
        )

    @classmethod
    def of_windows(cls, windows: Sequence[tuple[tuple[int, int], Self | None]]) -> Self | None:
        """One of all windows' frames and tokens, which are of one batch; None where no window has any."""
        known = [action for _, action in windows if action is not None]
        if not known:
            return None
        strength, end, parts = max(action.strength for action in known), 0, []
        for frames, action in windows:
            begin, end = end, end + (0 if action is None else len(action.places))
            share = 0.0 if action is None else action.strength / strength
            parts.append(TokenWindow(frames, (begin, end), () if action is None else action.during, share))
        return cls(
            tokens=torch.cat([action.tokens for action in known], dim=1),
            places=torch.cat([action.places for action in known]),
            bias=torch.cat([action.bias for action in known]),
            strength=strength,
            frames=torch.cat([action.frames for action in known]),
            windows=tuple(parts),
        )

    def to(self, like: Tensor) -> Self:
        """The same on the device, and the tokens in the precision, of `like`."""
        if self.tokens.device == like.device and self.tokens.dtype == like.dtype:
            return self
        places, bias, frames = (part.to(like.device) for part in (self.places, self.bias, self.frames))
        return replace(self, tokens=self.tokens.to(like), places=places, bias=bias, frames=frames)


def presence(during: Sequence[Part], times: Tensor) -> Tensor:
    """How much of references acting in these parts there is at times (T,) from -0.5 to 0.5: 1 within a part,
    fading at its edges within the video, 0 outside; 1 everywhere for no parts."""
    if not during:
        return torch.ones_like(times)
    here, found = times + 0.5, torch.zeros_like(times)
    for first, last in during:
        begun = 1.0 if first == 0 else ((here - first) / SOFT_EDGE + 0.5).clamp(0, 1)
        going = 1.0 if last == 1 else ((last - here) / SOFT_EDGE + 0.5).clamp(0, 1)
        found = found + torch.as_tensor(begun * going)
    return found.clamp(max=1)


@dataclass(frozen=True)
class Grid:
    """How many frames, rows and columns a site's tokens have, and in which order they lie, as "h w t".

    shown, of: where the frames are a window of a longer video, their numbers and how many that video has.
    """

    frames: int
    height: int
    width: int
    order: str
    shown: tuple[int, ...] | None = field(default=None, kw_only=True)
    of: int = field(default=0, kw_only=True)

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width

    def axes(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Times (T, 1, 1), rows (H, 1) and columns (W,) of the tokens."""
        rows, columns = (centres(count, device) for count in (self.height, self.width))
        times = centres(self.frames if self.shown is None else self.of, device)
        return times[self.numbers(device), None, None], rows[:, None], columns

    def numbers(self, device: torch.device) -> Tensor:
        """Of the frames, in the whole video: (T,)."""
        if self.shown is None:
            return torch.arange(self.frames, device=device)
        return torch.tensor(self.shown, device=device)


class FoundFeedForward(nn.Module):
    """What a hidden token makes of what it found: one hidden layer that also sees the token and its place.

    Not in the paper, whose attention is followed by the block's own feed-forward; see
    docs/research/decisions/0007-where-the-adapter-joins.md.
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
        self.log_space_slopes = nn.Parameter(cycle(sharpened(SPACE_SLOPES, settings.slot_rows), heads).log())
        last = self.attention.out if self.feed is None else self.feed.out
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def memory(self, action: ActionTokens) -> KeysValues:
        """Keys and values of the action tokens: needed once per generation."""
        times, rows, columns = action.places.unbind(-1)
        tokens = self.norm_tokens(action.tokens) + self.token_place(times, rows, columns)
        places = key_places(action.places, self.slopes(), action.bias)
        return self.attention.keys_values(tokens, places)

    def places(self, grid: Grid, device: torch.device) -> Places:
        """What queries and the layer behind the attention gain by their place: needed once per grid."""
        axes = grid.axes(device)
        flat = f"t h w d -> ({grid.order}) d"
        where = rearrange(torch.stack(torch.broadcast_tensors(*axes), dim=-1), flat)
        return (
            rearrange(self.query_place(*axes), flat),
            query_places(where, self.slopes(), self.attention.scale),
            None if self.feed is None else rearrange(self.feed.place(*axes), flat),
        )

    def forward(
        self,
        hidden_BNC: Tensor,
        memory: KeysValues,
        grid: Grid,
        groups: int = 1,
        places: Places | None = None,
    ) -> Tensor:
        """What hidden tokens (B, N, C) find in the memory: an addition (B, N, C).

        With fewer token sets than rows, neighbouring rows share one; with `groups`, rows are that many times
        all sets in order. Rows of one set lie side by side as its queries, so no key or value is repeated.
        places: those of the grid, where they are known.
        """
        embedding, where, behind = places or self.places(grid, hidden_BNC.device)
        normed = self.norm(hidden_BNC.to(self.norm.weight.dtype))
        queries = self.attention.queries(normed, embedding, where)
        queries = rearrange(queries, "(g b r) h n d -> b h (g r n) d", g=groups, b=memory[0].shape[0])
        found = self.attention.read(queries, memory)
        found = rearrange(found, "b (g r n) c -> (g b r) n c", g=groups, n=hidden_BNC.shape[1])
        if self.feed is not None:
            found = self.feed(found, normed, behind)
        return found.to(hidden_BNC.dtype)

    def slopes(self) -> Tensor:
        """How fast a head's interest falls with the squared distance in time, row and column: (heads, 3)."""
        space = self.log_space_slopes.float().exp()
        return torch.stack([self.log_time_slopes.float().exp(), space, space], dim=-1)


class FrameMemory(NamedTuple):
    """What `FrameIntegration` reads."""

    keys: Tensor  # (B, heads, M, head width)
    values: Tensor  # the same
    frames: Tensor  # (M,): number of the frame in its reference
    bias: Tensor  # (M,): added to the logits


class FrameIntegration(nn.Module):
    """The new layer of one site as released: each frame reads whole frames of the reference.

    Keys and values have learned relative positions in time (Shaw et al. 2018, Eq. 3 and 4). The reference is
    the same for all places, so they fold into one set of keys and values per frame that reads.
    """

    def __init__(self, width: int, token_width: int, settings: FrameIntegrationSettings) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.attention = RelativeAttention(
            width, settings.heads, width // settings.heads, settings.reach, token_width
        )
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.attention.out.bias)

    def memory(self, action: ActionTokens) -> FrameMemory:
        """Keys and values of the action tokens: needed once per generation."""
        keys, values = self.attention.keys_values(action.tokens)
        return FrameMemory(keys, values, action.frames, action.bias.to(keys.dtype))

    def places(self, grid: Grid, device: torch.device) -> None:
        """Nothing: here places are in the keys."""

    def forward(
        self, hidden_BNC: Tensor, memory: FrameMemory, grid: Grid, groups: int = 1, places: None = None
    ) -> Tensor:
        """As `ActionIntegration.forward`."""
        attention, sets = self.attention, memory.keys.shape[0]
        numbers = grid.numbers(hidden_BNC.device)
        relative_keys, relative_values = attention.relative(memory.frames[None] - numbers[:, None])
        keys = rearrange(memory.keys, "b n m d -> b 1 n m d") + rearrange(relative_keys, "t m d -> t 1 m d")
        values = rearrange(memory.values, "b n m d -> b 1 n m d") + rearrange(
            relative_values, "t m d -> t 1 m d"
        )
        queries = attention.queries(self.norm(hidden_BNC.to(self.norm.weight.dtype)))
        sizes = {"t": grid.frames, "h": grid.height, "w": grid.width}
        by_frame = f"(g b r) n ({grid.order}) d -> b t n (g r h w) d"
        queries = rearrange(queries, by_frame, g=groups, b=sets, **sizes)
        found = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=memory.bias, scale=attention.scale
        )
        flat = f"b t n (g r h w) d -> (g b r) ({grid.order}) (n d)"
        found = rearrange(found, flat, g=groups, h=grid.height, w=grid.width)
        out: Tensor = attention.out(found)
        return out.to(hidden_BNC.dtype)


Integration: TypeAlias = ActionIntegration | FrameIntegration
Memory: TypeAlias = KeysValues | FrameMemory


def narrowed(memory: Memory, first: int, count: int) -> Memory:
    """The memory of so many sets of action tokens from one on."""
    keys, values = (part.narrow(0, first, count) for part in memory[:2])
    return FrameMemory(keys, values, *memory[2:]) if isinstance(memory, FrameMemory) else (keys, values)


def of_window(memory: Memory, window: TokenWindow) -> Memory:
    """The memory of a window's tokens, of which there are some."""
    first, last = window.tokens
    keys, values = (part[:, :, first:last] for part in memory[:2])
    if isinstance(memory, FrameMemory):
        return FrameMemory(keys, values, memory.frames[first:last], memory.bias[first:last])
    return keys, values


def integration_settings(config: dict[str, Any]) -> IntegrationSettings | FrameIntegrationSettings:
    """Settings from their plain dict, of the first form where it names no kind. Raises SettingsError."""
    if isinstance(config, dict) and config.get("kind") == "frames":
        return validated(FrameIntegrationSettings, config, "integration_config")
    return validated(IntegrationSettings, config, "integration_config")


def make_integration(
    width: int, token_width: int, settings: IntegrationSettings | FrameIntegrationSettings
) -> Integration:
    """The layer of one site that the settings describe, adding exactly nothing at first."""
    if isinstance(settings, FrameIntegrationSettings):
        return FrameIntegration(width, token_width, settings)
    return ActionIntegration(width, token_width, settings)
