"""The nodes' way into a model: fakes of ComfyUI over diffusers' blocks == the adapter attached."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.fake_comfyui import Model
from helpers.toy_hunyuan_video import toy_hunyuan_video
from helpers.toy_transformers import toy_hunyuan, toy_ltx, toy_wan
from helpers.toy_wan_kin import toy_skyreels
from torch import Tensor

from comfyui.action import Action
from comfyui.adapters import Adapter
from comfyui.families import DOUBLE, SINGLE, Network
from comfyui.joining import Way, join
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter

SIGMA = 0.7


def wan(network: Any, x: Tensor, sigma: float, text: Tensor) -> Tensor:
    found: Tensor = network(x, torch.full((len(x),), 1000 * sigma), text, return_dict=False)[0]
    return found


def ltx(network: Any, x: Tensor, sigma: float, text: Tensor) -> Tensor:
    frames, height, width = x.shape[2:]
    times, mask = torch.full((len(x),), 1000 * sigma), torch.ones(text.shape[:2])
    sizes = {"num_frames": frames, "height": height, "width": width}
    flat = x.flatten(2).transpose(1, 2)
    out = network(flat, text, times, mask, rope_interpolation_scale=(0.3, 8, 8), return_dict=False, **sizes)[
        0
    ]
    found: Tensor = out.transpose(1, 2).reshape(x.shape)
    return found


def hunyuan(network: Any, x: Tensor, sigma: float, text: Tensor) -> Tensor:
    config, rows = network.config, len(x)
    more = x.new_zeros(rows, config.in_channels - x.shape[1], *x.shape[2:])
    found: Tensor = network(
        torch.cat([x, more], 1),
        torch.full((rows,), 1000 * sigma),
        text,
        torch.ones(text.shape[:2], dtype=torch.bool),
        encoder_hidden_states_2=x.new_zeros(rows, 1, config.text_embed_2_dim),
        encoder_attention_mask_2=torch.zeros(rows, 1, dtype=torch.bool),
        image_embeds=x.new_zeros(rows, 1, config.image_embed_dim),
        return_dict=False,
    )[0]
    return found


def hunyuan_video(network: Any, x: Tensor, sigma: float, text: Tensor) -> Tensor:
    """The last token is the prompt's summary."""
    found: Tensor = network(
        x,
        torch.full((len(x),), 1000 * sigma),
        text[:, :-1],
        torch.ones(len(text), text.shape[1] - 1),
        text[:, -1],
        x.new_full((len(x),), 1000.0) if network.config.guidance_embeds else None,
        return_dict=False,
    )[0]
    return found


BLOCKS = {DOUBLE: "transformer_blocks"}
BASES: dict[str, tuple[Callable[[], Any], Callable[..., Tensor], dict[str, str], int]] = {
    "wan": (toy_wan, wan, {DOUBLE: "blocks"}, 2),
    "skyreels": (toy_skyreels, wan, {DOUBLE: "blocks"}, 2),
    "ltx": (toy_ltx, ltx, BLOCKS, 1),
    "hunyuan-video": (toy_hunyuan_video, hunyuan_video, BLOCKS | {SINGLE: "single_transformer_blocks"}, 2),
    "hunyuan": (toy_hunyuan, hunyuan, BLOCKS, 1),
}
WAYS: list[tuple[str, Way]] = [(name, "replace") for name in BASES]
WAYS.append(("wan", "list"))


class World:
    """A base, an adapter whose every layer adds, two references and a prompt; the same in both worlds."""

    def __init__(self, name: str, way: Way) -> None:
        pipe, self.call, blocks, side = BASES[name]
        self.network, self.way = pipe().transformer, way
        self.patch = (1, side, side)
        torch.manual_seed(3)
        self.adapter = ActionAdapter.for_base(self.network)
        with torch.no_grad():
            for p in self.adapter.integrations.parameters():
                p.add_(torch.randn_like(p) * 0.3)
        config = self.adapter.config
        self.channels, self.width = config["latent_channels"], config["caption_width"]
        latents = [torch.randn(1, self.channels, frames, 4, 4) for frames in (4, 6)]
        self.caption, self.prompt, self.negative = torch.randn(3, 1, 5, self.width)
        self.strengths = [1.0, 0.6]
        self.references = [
            (each, self.caption, strength) for each, strength in zip(latents, self.strengths, strict=True)
        ]
        self.model = Model(self.network, blocks, self.call)
        self.pack = Adapter(dict(config))
        self.pack.whole.load_state_dict(self.adapter.state_dict())
        self.x = torch.randn(1, self.channels, 3, 4, 6)
        self.cond, self.uncond = torch.randn(2, 1, 5, self.width)

    def joined(
        self, model: Any = None, *, scale: float = 1.0, both: bool = False, prompts: Any = None, **more: Any
    ) -> Any:
        tokens = self.pack.tokens(self.references, prompts or [self.prompt])
        assert tokens is not None
        network = Network.of(self.patch, [*self.pack.sites])
        action = Action(SimpleNamespace(model=self.pack.integrations), network, tokens, scale, both)
        return join(self.model if model is None else model, action, self.way, **more).begin()

    @torch.no_grad()
    def attached(self, x: Tensor, text: Tensor, scale: float = 1.0, prompt: Tensor | None = None) -> Tensor:
        asked = self.prompt if prompt is None else prompt
        tokens = [self.adapter.encode(latents, caption, asked) for latents, caption, _ in self.references]
        self.adapter.set_scale(scale)
        self.adapter.set_tokens(tokens, self.strengths)
        self.adapter.attach(self.network)
        try:
            return self.call(self.network, x, SIGMA, text)
        finally:
            self.adapter.detach()
            self.adapter.clear_references()

    @torch.no_grad()
    def plain(self, x: Tensor, text: Tensor) -> Tensor:
        return self.call(self.network, x, SIGMA, text)


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: "-".join(way))
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_one_call_is_that_of_the_adapter_attached(world: World) -> None:
    want = world.attached(world.x, world.cond)
    assert (want - world.plain(world.x, world.cond)).abs().max() > 0.05
    close(world.joined()(world.x, SIGMA, world.cond), want)
    close(world.joined(scale=0.4)(world.x, SIGMA, world.cond), world.attached(world.x, world.cond, 0.4))
    larger = torch.randn(1, world.channels, 4, 6, 8)
    close(world.joined()(larger, SIGMA, world.cond), world.attached(larger, world.cond))


def test_off_is_off(world: World) -> None:
    plain = world.model(world.x, SIGMA, world.cond)
    assert torch.equal(world.joined(scale=0.0)(world.x, SIGMA, world.cond), plain)
    assert torch.equal(world.joined()(world.x, SIGMA, world.cond, (1,)), plain)  # negative rows alone
    assert torch.equal(world.joined(window=(0.5, 1.0))(world.x, SIGMA, world.cond), plain)  # 0.7 is before it
    close(world.joined(window=(0.2, 0.5))(world.x, SIGMA, world.cond), world.attached(world.x, world.cond))


@pytest.mark.parametrize("order", [(1, 0), (0, 1), (0, 1, 0)])
@pytest.mark.parametrize("videos", [1, 2])
def test_rows_that_read(world: World, order: tuple[int, ...], videos: int) -> None:
    x = torch.randn(videos, *world.x.shape[1:])
    texts = [(world.cond if each == 0 else world.uncond).expand(videos, -1, -1) for each in order]
    batch, text = torch.cat([x] * len(order)), torch.cat(texts)
    positive = world.attached(x, texts[order.index(0)])
    negative = world.plain(x, texts[order.index(1)])
    close(world.joined()(batch, SIGMA, text, order), torch.cat([(positive, negative)[i] for i in order]))
    negative = world.attached(x, texts[order.index(1)])
    found = world.joined(both=True)(batch, SIGMA, text, order)
    close(found, torch.cat([(positive, negative)[i] for i in order]))
    negative = world.attached(x, texts[order.index(1)], prompt=world.negative)
    found = world.joined(both=True, prompts=[world.negative, world.prompt])(batch, SIGMA, text, order)
    close(found, torch.cat([(positive, negative)[i] for i in order]))


class Halved:
    """Another pack's patch: half of what a block adds."""

    def __call__(self, said: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        before = said["img"].clone()
        out = extra["original_block"](said)
        return {**out, "img": before + 0.5 * (out["img"] - before)}


def test_patches_of_others_are_kept_and_an_overwritten_one_is_told(world: World) -> None:
    site = [*Network.of(world.patch, [*world.pack.sites]).sites.values()][-1]
    other = world.model.clone()
    other.set_model_patch_replace(Halved(), "dit", *site)
    both = world.joined(other)(world.x, SIGMA, world.cond)
    assert (both - world.joined()(world.x, SIGMA, world.cond)).abs().max() > 1e-3
    assert (both - other(world.x, SIGMA, world.cond)).abs().max() > 1e-3
    late = world.joined()
    late.set_model_patch_replace(Halved(), "dit", *site)
    if world.way == "list":  # nobody can overwrite those
        close(late(world.x, SIGMA, world.cond), both)
    else:
        with pytest.raises(AdapterMismatch, match=rf"not read in blocks {site[1]}( .single.)?: another node"):
            late(world.x, SIGMA, world.cond)


def test_a_network_that_a_cache_skips_is_no_mistake(world: World) -> None:
    skipped = world.joined()
    skipped.wrappers.append(lambda executor, x, *args, **kwargs: torch.zeros_like(x))
    assert not skipped(world.x, SIGMA, world.cond).any()


def test_two_apply_nodes_in_a_row(world: World) -> None:
    second = copy.deepcopy(world.adapter)
    tokens = [
        world.adapter.encode(latents, caption, world.prompt) for latents, caption, _ in world.references
    ]
    with torch.no_grad():
        for adapter, scale in ((world.adapter, 0.5), (second, 0.4)):
            adapter.set_scale(scale)
            adapter.set_tokens(tokens, world.strengths)
            adapter.attach(world.network)
        want = world.call(world.network, world.x, SIGMA, world.cond)
        for adapter in (second, world.adapter):
            adapter.detach()
            adapter.clear_references()
    close(world.joined(world.joined(scale=0.5), scale=0.4)(world.x, SIGMA, world.cond), want)


def test_a_context_window_reads_its_own_part_of_the_action(world: World) -> None:
    whole = world.attached(world.x, world.cond)
    shown = SimpleNamespace(index_list=[0, 1, 2], total_frames=3)
    close(world.joined()(world.x, SIGMA, world.cond, context_window=shown), whole)
    parts = [
        world.joined()(
            world.x, SIGMA, world.cond, context_window=SimpleNamespace(index_list=part, total_frames=12)
        )
        for part in ([0, 1, 2], [9, 10, 11])
    ]
    assert (parts[0] - parts[1]).abs().max() > 1e-3
    assert (parts[0] - whole).abs().max() > 1e-3


def test_text_lies_behind_the_video_in_single_blocks_of_older_versions() -> None:
    world = World("hunyuan-video", "replace")
    assert {kind for kind, _ in Network.of(world.patch, [*world.pack.sites]).sites.values()} == {
        DOUBLE,
        SINGLE,
    }
    want = world.attached(world.x, world.cond)
    close(world.joined()(world.x, SIGMA, world.cond, text_first=False), want)
    assert (want - world.plain(world.x, world.cond)).abs().max() > 0.05
