"""Places as extra channels of queries and keys are exactly the locality prior."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from echoreel.common.attention import (
    Attention,
    PlaceEmbedding,
    RelativeAttention,
    centres,
    key_places,
    query_places,
)
from echoreel.common.errors import SettingsError

SLOPES = torch.tensor([[256.0, 16.0], [0.0, 4.0]])  # of two heads


def prior(places_NP: Tensor, places_MP: Tensor, bias_M: Tensor) -> Tensor:
    """The locality prior written out: (heads, N, M)."""
    squared = (places_NP[:, None] - places_MP[None]).square()
    return bias_M - torch.einsum("nmp,hp->hnm", squared, SLOPES)


def test_places_give_the_prior_up_to_what_softmax_drops() -> None:
    torch.manual_seed(0)
    asking, asked, bias = torch.rand(5, 2) - 0.5, (torch.rand(7, 2) - 0.5).bfloat16().float(), torch.randn(7)
    queries, keys = query_places(asking, SLOPES, scale=0.25), key_places(asked, SLOPES, bias)
    logits = torch.einsum("nhp,mhp->hnm", queries, keys) * 0.25
    assert_close(logits.softmax(-1), prior(asking, asked, bias).softmax(-1), atol=1e-5, rtol=1e-4)


def test_bfloat16_keeps_the_prior() -> None:
    asking, asked = centres(16)[:, None].expand(16, 2), centres(24)[:, None].expand(24, 2)
    queries = query_places(asking, SLOPES, scale=1.0).bfloat16()
    keys = key_places(asked, SLOPES).bfloat16()
    logits = torch.einsum("nhp,mhp->hnm", queries.float(), keys.float())
    exact = prior(asking, asked, torch.zeros(24))
    assert_close(logits.softmax(-1), exact.softmax(-1), atol=0.03, rtol=0)


def test_gradients_pass_the_rounding_of_places() -> None:
    asked = (torch.rand(3, 2) - 0.5).bfloat16().float().requires_grad_()
    slopes = SLOPES.clone().requires_grad_()
    key_places(asked, slopes)[..., :2].sum().backward()
    assert_close(asked.grad, -2 * asked.detach() * SLOPES.sum(0))
    assert_close(slopes.grad, -asked.detach().square().sum(0).expand(2, 2))


def test_attention_with_places_is_attention_with_a_mask() -> None:
    torch.manual_seed(0)
    attention = Attention(width=12, heads=2, head_width=8, context_width=10, places=2)
    x, context = torch.randn(3, 5, 12), torch.randn(3, 7, 10)
    asking, asked, bias = torch.rand(5, 2) - 0.5, (torch.rand(7, 2) - 0.5).bfloat16().float(), torch.randn(7)
    memory = attention.keys_values(context, key_places(asked, SLOPES, bias))
    found = attention.read(attention.queries(x, None, query_places(asking, SLOPES, attention.scale)), memory)
    queries = attention.query(x).unflatten(-1, (2, 4)).transpose(1, 2)
    keys = attention.key(context).unflatten(-1, (2, 4)).transpose(1, 2)
    mask = prior(asking, asked, bias)
    explicit = F.scaled_dot_product_attention(queries, keys, memory[1], mask[None], scale=4**-0.5)
    assert_close(found, attention.out(explicit.transpose(1, 2).flatten(2)), atol=1e-5, rtol=1e-4)


def test_relative_attention_without_relations_is_attention() -> None:
    relative = RelativeAttention(width=8, heads=2, head_width=4, reach=3)
    plain = Attention(width=8, heads=2, head_width=4)
    plain.load_state_dict(relative.state_dict(), strict=False)
    x = torch.randn(2, 9, 8)
    with torch.no_grad():
        relative.relative_keys.zero_()
        relative.relative_values.zero_()
        assert_close(relative(x[:, :, None]), plain(x)[:, :, None])


def test_an_embedding_of_a_grid_is_the_embedding_of_its_places() -> None:
    embed = PlaceEmbedding(6)
    times, rows, columns = centres(3), centres(2), centres(4)
    grid = embed(times[:, None, None], rows[:, None], columns)
    assert_close(grid[2, 1, 3], embed(times[2], rows[1], columns[3]))


def test_heads_too_narrow_for_places_are_refused() -> None:
    with pytest.raises(SettingsError, match="heads of 5 channels"):
        Attention(width=10, heads=2, head_width=5, places=3)
