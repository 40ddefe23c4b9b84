"""Action Integration: every layout is a view, rows share out the token sets, near frames are preferred."""

import math
from dataclasses import replace

import pytest
import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.testing import assert_close

from echoreel.common.attention import centres, query_places
from echoreel.method.integration import ActionIntegration, ActionTokens, Grid, IntegrationSettings

SETTINGS = IntegrationSettings(inner_width=32, heads=2)


def layer(
    width: int = 24, token_width: int = 6, settings: IntegrationSettings = SETTINGS
) -> ActionIntegration:
    torch.manual_seed(0)
    integration = ActionIntegration(width, token_width, settings)
    torch.nn.init.normal_(integration.attention.out.weight)
    with torch.no_grad():  # as sharp as float32 can be compared with
        integration.log_time_slopes.clamp_(max=math.log(256))
        integration.log_space_slopes.clamp_(max=math.log(16))
    return integration.eval()


def action(batch: int = 1, frames: int = 5, slots: int = 2) -> ActionTokens:
    torch.manual_seed(1)
    places = torch.rand(frames, slots, 3) - 0.5
    places[..., 0] = centres(frames)[:, None]
    tokens = torch.randn(batch, frames * slots, 6)
    numbers = torch.arange(frames).repeat_interleave(slots)
    return ActionTokens(tokens, places.flatten(0, 1), torch.zeros(frames * slots), 1.0, numbers)


@pytest.mark.parametrize("feed_forward", [None, 5])
def test_a_fresh_layer_adds_exactly_nothing(feed_forward: int | None) -> None:
    settings = SETTINGS.model_copy(update={"feed_forward": feed_forward})
    integration = ActionIntegration(24, 6, settings)
    found = integration(torch.randn(2, 12, 24), integration.memory(action()), Grid(3, 2, 2, "t h w"))
    assert torch.equal(found, torch.zeros(2, 12, 24))


def test_the_hidden_layer_sees_what_was_found_who_asks_and_where() -> None:
    settings = SETTINGS.model_copy(update={"feed_forward": 5})
    torch.manual_seed(0)
    integration, grid = ActionIntegration(24, 6, settings).eval(), Grid(3, 2, 2, "t h w")
    assert integration.feed is not None
    torch.nn.init.normal_(integration.feed.out.weight)
    hidden = torch.randn(2, 12, 24)
    added = integration(hidden, integration.memory(action()), grid)
    assert added.shape == hidden.shape
    for part in (
        integration.attention.out.weight,
        integration.feed.hidden.weight,
        integration.feed.place.row.weight,
    ):
        kept = part.detach().clone()
        with torch.no_grad():
            part.zero_()
        assert not torch.allclose(integration(hidden, integration.memory(action()), grid), added, atol=1e-3)
        with torch.no_grad():
            part.copy_(kept)


@pytest.mark.parametrize("layout", ["(b h w) t c", "(b t) (h w) c", "b (t h w) c"])
def test_every_layout_equals_the_one_where_tokens_are_repeated_for_every_place(layout: str) -> None:
    """As the paper does it: one attention per place, each with its own copy of the reference."""
    integration, reference = layer(), action(batch=2)
    video = torch.randn(2, 4, 3, 2, 24)  # b t h w c
    hidden = rearrange(video, f"b t h w c -> {layout}")
    order = " ".join(axis for axis in layout if axis in "thw")
    tokens = rearrange(hidden, f"{layout} -> b ({order}) c", b=2, t=4, h=3, w=2)
    assert tokens.data_ptr() == hidden.data_ptr()  # a view
    memory = integration.memory(reference)
    found = integration(tokens, memory, Grid(4, 3, 2, order))
    found = rearrange(found, f"b ({order}) c -> b t h w c", t=4, h=3, w=2)

    queries = explicit_queries(integration, video)
    keys, values = (repeat(x, "b k m d -> (b h w) k m d", h=3, w=2) for x in memory)
    explicit = integration.attention.read(rearrange(queries, "b k t h w d -> (b h w) k t d"), (keys, values))
    assert_close(found, rearrange(explicit, "(b h w) t c -> b t h w c", b=2, h=3, w=2))


def explicit_queries(integration: ActionIntegration, video: Tensor) -> Tensor:
    """Queries of every token: (B, heads, T, H, W, D)."""
    frames, height, width = video.shape[1:4]
    axes = torch.meshgrid(centres(frames), centres(height), centres(width), indexing="ij")
    embedding = integration.query_place(*axes).flatten(0, 2)
    places = query_places(
        torch.stack(axes, -1).flatten(0, 2), integration.slopes(), integration.attention.scale
    )
    tokens = integration.norm(video).flatten(1, 3)
    return integration.attention.queries(tokens, embedding, places).unflatten(2, video.shape[1:4])


def test_rows_read_their_own_set() -> None:
    integration, reference, grid = layer(), action(batch=2), Grid(3, 2, 2, "t h w")
    memory = integration.memory(reference)
    hidden = torch.randn(8, 12, 24)

    def alone(row: int, index: int) -> Tensor:
        only = tuple(part[index : index + 1] for part in memory)
        return integration(hidden[row : row + 1], only, grid)

    interleaved = integration(hidden[:4], memory, grid)
    assert_close(interleaved, torch.cat([alone(0, 0), alone(1, 0), alone(2, 1), alone(3, 1)]))
    both = integration(hidden, memory, grid, groups=2)
    assert_close(both, torch.cat([alone(row, index) for row, index in enumerate([0, 0, 1, 1, 0, 0, 1, 1])]))


def test_a_weaker_reference_is_read_less() -> None:
    integration, grid = layer(), Grid(3, 2, 2, "t h w")
    hidden, both = torch.randn(1, 12, 24), action(frames=6)
    alone = ActionTokens(both.tokens[:, :6], both.places[:6], both.bias[:6], 1.0, both.frames[:6])
    away = torch.cat([torch.zeros(6), torch.full((6,), -400.0)])
    weak = replace(both, bias=away)
    want = integration(hidden, integration.memory(alone), grid)
    assert_close(integration(hidden, integration.memory(weak), grid), want)


@pytest.mark.parametrize(("frames", "reference_frames"), [(8, 8), (8, 32), (12, 5)])
def test_a_sharp_head_reads_the_same_moment_though_lengths_differ(frames: int, reference_frames: int) -> None:
    """Contents alike, values that tell the time: each frame finds its own time."""
    integration = layer(width=16, token_width=6, settings=IntegrationSettings(inner_width=8, heads=1))
    attention = integration.attention
    with torch.no_grad():
        for weight in (attention.query.weight, attention.key.weight):
            weight.zero_()
        for embedding in (integration.query_place, integration.token_place):
            for weight in embedding.parameters():
                weight.zero_()
        integration.log_time_slopes.fill_(8.0)
    times = centres(reference_frames)
    places = torch.stack([times, torch.zeros_like(times), torch.zeros_like(times)], dim=-1)
    plain = ActionTokens(
        torch.zeros(1, reference_frames, 6),
        places,
        torch.zeros(reference_frames),
        1.0,
        torch.arange(reference_frames),
    )
    keys, _ = integration.memory(plain)
    values = repeat(times, "m -> 1 1 m d", d=8)
    attention.out = torch.nn.Identity()
    found = integration(torch.randn(1, frames * 4, 16), (keys, values), Grid(frames, 2, 2, "h w t"))
    found = rearrange(found, "1 (h w t) c -> h w c t", h=2, w=2)
    assert_close(found, centres(frames).expand_as(found), atol=0.5 / min(frames, reference_frames), rtol=0)
