"""Attention, feed-forward and positions: the parts that Action Prism and Action Integration share.

Places (a time, a row, a column) are numbers between -0.5 and 0.5 over the clip and the picture, so that
lengths and resolutions may differ between a reference and the video that reads it.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from echoreel.common.errors import SettingsError

KeysValues = tuple[Tensor, Tensor]  # both (B, heads, M, head_width)

CACHED_ROWS = 1024  # whose wide hidden layer stays in a CPU's cache: a quarter faster than all at once
FREQUENCIES = 8  # of the sinusoids, geometric from 0.5 to 16 periods over the clip or the picture


def centres(count: int, device: torch.device | None = None) -> Tensor:
    """Middles of `count` equal parts of [-0.5, 0.5]: (count,) float32."""
    return (torch.arange(count, device=device, dtype=torch.float32) + 0.5) / count - 0.5


def sinusoids(places: Tensor) -> Tensor:
    """Sines and cosines of places (...): (..., 2 * FREQUENCIES)."""
    octaves = torch.linspace(-1.0, 4.0, FREQUENCIES, device=places.device, dtype=torch.float32)
    angles = places.float().unsqueeze(-1) * (2 * math.pi * 2.0**octaves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def cycle(values: list[float], count: int) -> Tensor:
    """The first `count` of the values repeated without end: (count,)."""
    return torch.tensor([values[i % len(values)] for i in range(count)])


class PlaceEmbedding(nn.Module):
    """Learned embedding of (time, row, column): a linear map of the sinusoids of each, summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.row = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.column = nn.Linear(2 * FREQUENCIES, width, bias=False)

    def forward(self, times: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Places of shapes that broadcast to one shape (...): embedding (..., width).

        Each axis is projected before broadcasting, so that a whole grid costs one addition per element.
        """
        dtype = self.time.weight.dtype
        time: Tensor = self.time(sinusoids(times).to(dtype))
        row: Tensor = self.row(sinusoids(rows).to(dtype))
        column: Tensor = self.column(sinusoids(columns).to(dtype))
        return time + row + column


def query_places(places_NP: Tensor, slopes_HP: Tensor, scale: float) -> Tensor:
    """Query features of the locality prior, see `key_places`: (N, heads, P + 2)."""
    near_NHP = places_NP.unsqueeze(1) * slopes_HP
    ones = near_NHP.new_ones(*near_NHP.shape[:2], 2)
    return torch.cat([ones, near_NHP], dim=-1) / scale


def key_places(places_MP: Tensor, slopes_HP: Tensor, bias_M: Tensor | None = None) -> Tensor:
    """Key features (M, heads, P + 2). Times `query_places` and `scale` they are the locality prior:

        bias_m - sum_p slope_p (place_np - place_mp)^2 + (a term of the query alone, which softmax drops).

    So the prior costs P + 2 channels of a head and needs no mask. Fused attention kernels go on working.
    In bfloat16 only places are rounded, and they are rounded first. The part of the prior that depends on the
    key alone is computed from the rounded places and kept as a sum of two numbers.
    """
    places_MP = places_MP + (places_MP.bfloat16().to(places_MP.dtype) - places_MP).detach()
    alone_MH = -torch.einsum("mp,hp->mh", places_MP.square(), slopes_HP)
    if bias_M is not None:
        alone_MH = alone_MH + bias_M.unsqueeze(1)
    coarse_MH = alone_MH.detach().bfloat16().to(alone_MH.dtype)
    twice_MHP = repeat(2 * places_MP, "m p -> m h p", h=slopes_HP.shape[0])
    return torch.cat([coarse_MH.unsqueeze(-1), (alone_MH - coarse_MH).unsqueeze(-1), twice_MHP], dim=-1)


class Attention(nn.Module):
    """Multi-head attention, split so that keys and values can be computed once and read many times.

    With `places` coordinates, each head gives `places + 2` of its channels to the locality prior
    (`query_places`, `key_places`); the others compare contents.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        context_width: int | None = None,
        places: int = 0,
        out_width: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.content = head_width - (places + 2 if places else 0)
        if self.content < 1:
            raise SettingsError(
                f"attention heads of {head_width} channels, of which {places + 2} are for places: "
                f"need at least {places + 3}; take fewer heads or a larger width"
            )
        self.scale = self.content**-0.5
        self.query = nn.Linear(width, heads * self.content, bias=False)
        self.key = nn.Linear(context_width or width, heads * self.content, bias=False)
        self.value = nn.Linear(context_width or width, heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, out_width or width)

    def forward(self, x_BND: Tensor, context_BMC: Tensor | None = None) -> Tensor:
        """x (B, N, D) reads the context (B, M, C), or itself: (B, N, D)."""
        context_BMC = x_BND if context_BMC is None else context_BMC
        return self.read(self.queries(x_BND), self.keys_values(context_BMC))

    def queries(
        self, x_BND: Tensor, embedding: Tensor | None = None, places_NHP: Tensor | None = None
    ) -> Tensor:
        """Queries (B, heads, N, head_width) of x, with an embedding (N, heads * content) added to them."""
        queries = self.query(x_BND)
        if embedding is not None:
            queries = queries + embedding
        return self._with_places(queries, places_NHP)

    def keys_values(self, context_BMC: Tensor, places_MHP: Tensor | None = None) -> KeysValues:
        """Keys and values of the context, both (B, heads, M, head_width)."""
        keys = self._with_places(self.key(context_BMC), places_MHP)
        return keys, rearrange(self.value(context_BMC), "b m (h d) -> b h m d", h=self.heads)

    def read(self, queries_BHND: Tensor, keys_values: KeysValues) -> Tensor:
        """What the queries find, projected: (B, N, D), or as wide as `out_width`."""
        keys_BHMD, values_BHMD = keys_values
        found = F.scaled_dot_product_attention(queries_BHND, keys_BHMD, values_BHMD, scale=self.scale)
        out: Tensor = self.out(rearrange(found, "b h n d -> b n (h d)"))
        return out

    def _with_places(self, contents: Tensor, places: Tensor | None) -> Tensor:
        contents = rearrange(contents, "b n (h d) -> b h n d", h=self.heads)
        if places is None:
            return contents
        places = repeat(places.to(contents.dtype), "n h p -> b h n p", b=contents.shape[0])
        return torch.cat([contents, places], dim=-1)


class RelativeAttention(Attention):
    """Attention with learned relative positions on keys and values (Shaw et al. 2018, Eq. 3 and 4).

    Positions further apart than `reach` count as `reach`.
    """

    def __init__(
        self, width: int, heads: int, head_width: int, reach: int, context_width: int | None = None
    ) -> None:
        super().__init__(width, heads, head_width, context_width)
        self.reach = reach
        self.relative_keys = nn.Parameter(torch.randn(2 * reach + 1, head_width) * 0.02)
        self.relative_values = nn.Parameter(torch.randn(2 * reach + 1, head_width) * 0.02)

    def forward(self, x_BTSD: Tensor, context_BMC: Tensor | None = None) -> Tensor:
        """Self-attention among the frames at each place: (B, T, S, D) -> (B, T, S, D); there is no context.

        Not fused: values differ from query to query, and fused kernels do not give their weights. Products
        go over views of the projections as they lie (N is places times heads), since moving them takes longer
        than multiplying them.
        """
        assert context_BMC is None
        positions = torch.arange(x_BTSD.shape[1], device=x_BTSD.device)
        near_keys, near_values = self.relative(positions[None] - positions[:, None])
        parts = (
            rearrange(layer(x_BTSD), "b t s (h d) -> b t (s h) d", h=self.heads)
            for layer in (self.query, self.key, self.value)
        )
        found = torch.stack(
            [self._read(q, k, v, near_keys, near_values) for q, k, v in zip(*parts, strict=True)]
        )
        out: Tensor = self.out(rearrange(found, "b t (s h) d -> b t s (h d)", h=self.heads))
        return out

    def _read(
        self, queries: Tensor, keys: Tensor, values: Tensor, near_keys: Tensor, near_values: Tensor
    ) -> Tensor:
        """Queries, keys and values (T, N, D) of a clip, and what they gain (T, S, D): found (T, N, D)."""
        by_content = queries.transpose(0, 1) @ rearrange(keys, "s n d -> n d s")
        by_distance = queries @ near_keys.transpose(1, 2)
        weights = ((by_content + by_distance.transpose(0, 1)) * self.scale).softmax(dim=-1)
        found: Tensor = weights.transpose(0, 1) @ near_values
        found = found + (weights @ values.transpose(0, 1)).transpose(0, 1)
        return found

    def relative(self, distances_TS: Tensor) -> KeysValues:
        """What keys and values gain at these distances in positions, key minus query: both (T, S, D)."""
        rows = distances_TS.clamp(-self.reach, self.reach) + self.reach
        return self.relative_keys[rows], self.relative_values[rows]


class FeedForward(nn.Sequential):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, multiple: int) -> None:
        super().__init__(nn.Linear(width, multiple * width), nn.GELU(), nn.Linear(multiple * width, width))


class GatedFeedForward(nn.Module):
    """Two linear layers, the first one gated by a GELU (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int, multiple: int) -> None:
        super().__init__()
        self.gated = nn.Linear(width, 2 * multiple * width)
        self.out = nn.Linear(multiple * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Channels last: (..., D) -> (..., D)."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self._feed(x)
        pieces = torch.split(x.flatten(0, -2), CACHED_ROWS)
        return torch.cat([self._feed(piece) for piece in pieces]).view(x.shape)

    def _feed(self, x: Tensor) -> Tensor:
        value, gate = self.gated(x).chunk(2, dim=-1)
        out: Tensor = self.out(value * F.gelu(gate))
        return out


def over_places(attention: nn.Module, x_BTSD: Tensor) -> Tensor:
    """Self-attention among the places of each frame."""
    x: Tensor = attention(rearrange(x_BTSD, "b t s d -> (b t) s d"))
    return rearrange(x, "(b t) s d -> b t s d", t=x_BTSD.shape[1])


def over_time(attention: nn.Module, x_BTSD: Tensor) -> Tensor:
    """Self-attention among the frames at each place."""
    if isinstance(attention, RelativeAttention):
        found: Tensor = attention(x_BTSD)  # called as a module, whose hooks may bring its weights
        return found
    x: Tensor = attention(rearrange(x_BTSD, "b t s d -> (b s) t d"))
    return rearrange(x, "(b s) t d -> b t s d", s=x_BTSD.shape[2])


def over_caption(attention: nn.Module, x_BTSD: Tensor, captions_BLD: Tensor) -> Tensor:
    """Every token reads the captions."""
    x: Tensor = attention(rearrange(x_BTSD, "b t s d -> b (t s) d"), captions_BLD)
    return rearrange(x, "b (t s) d -> b t s d", t=x_BTSD.shape[1])


def joined(captions_BLD: Tensor | None, prompts_BLD: Tensor | None) -> Tensor | None:
    """The tokens of both texts, or of the one that is there."""
    given = [text for text in (captions_BLD, prompts_BLD) if text is not None]
    return torch.cat(given, dim=1) if given else None
