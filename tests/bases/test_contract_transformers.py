"""The contract: caches, LoRA, casts and compiling, of which transformers have more than U-Nets."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import FasterCacheConfig, FirstBlockCacheConfig, MagCacheConfig
from helpers.contract_calls import film, predict, stays_one_graph
from helpers.toy_models import toy_adapter, toy_inputs, toy_tokens
from helpers.toy_transformers import toy_wan
from helpers.toy_wan_kin import toy_vace
from peft import LoraConfig
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.lookup import base_of
from echoreel.method.adapter import ActionAdapter

CACHED = [
    "Wan 2.1",
    "Wan 2.1 I2V",
    "Wan 2.2",
    "LTX",
    "CogVideoX",
    "CogVideoX I2V",
    "HunyuanVideo 1.0",
    "Mochi",
]
WITH_LORA = [
    *("Wan 2.1", "Wan VACE", "SkyReels V2", "LTX", "CogVideoX", "HunyuanVideo 1.0", "HunyuanVideo 1.5"),
    *("Kandinsky 5", "Mochi", "Sana-Video"),
]
COMPILED = ["Wan 2.1", "LTX", "CogVideoX"]
"""Tracing is slow. HunyuanVideo 1.5 branches on data in its forward: its blocks are compiled instead."""


LAYERS = r".*blocks.*\.(to_q|to_v|to_query|to_value)"


class Scheme:
    """A cache of diffusers, turned on for every denoiser of a pipeline."""

    def __init__(self, pipe: Any, config: Any) -> None:
        self.denoisers, self.config = base_of(pipe).denoisers, config

    def on(self) -> None:
        for denoiser in self.denoisers:
            denoiser.enable_cache(copy.deepcopy(self.config))

    def off(self) -> None:
        for denoiser in self.denoisers:
            denoiser.disable_cache()


FIRST_BLOCK = FirstBlockCacheConfig(threshold=1e3)  # skips the other blocks whenever it can
MAGNITUDE = MagCacheConfig(
    threshold=10.0, retention_ratio=0.2, num_inference_steps=4, mag_ratios=torch.ones(4), max_skip_steps=2
)


@pytest.mark.parametrize("config", [FIRST_BLOCK, MAGNITUDE], ids=["first block", "magnitude"])
@pytest.mark.parametrize("pipe", CACHED, indirect=True)
def test_caches_before_or_after(pipe: Any, adapter: ActionAdapter, config: Any) -> None:
    steps = {"num_inference_steps": 4}
    cache, plain = Scheme(pipe, config), film(pipe, **steps)
    cache.on()
    cached_base = film(pipe, **steps)
    cache.off()
    assert not torch.equal(cached_base, plain)
    videos = []
    for cache_first in (True, False):
        if cache_first:
            cache.on()
        adapter.attach(pipe).set_tokens(toy_tokens(adapter))
        if not cache_first:
            cache.on()
        videos.append(film(pipe, **steps))
        adapter.detach()
        cache.off()
        cache.on()
        assert torch.equal(film(pipe, **steps), cached_base)
        cache.off()
        assert torch.equal(film(pipe, **steps), plain)
    assert torch.equal(videos[0], videos[1])
    assert not torch.allclose(videos[0], cached_base)


@pytest.mark.parametrize("branches", ["positive", "both", "each"])
@pytest.mark.parametrize("pipe", ["CogVideoX", "Latte"], indirect=True)
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_a_cache_that_leaves_out_the_negative_rows(pipe: Any, adapter: ActionAdapter, branches: str) -> None:
    """FasterCache computes them at every other step; the positive ones read as without it."""
    cache = Scheme(
        pipe,
        FasterCacheConfig(
            spatial_attention_block_skip_range=None,
            temporal_attention_block_skip_range=None,
            unconditional_batch_skip_range=2,
            unconditional_batch_timestep_skip_range=(-1, 1000),
            current_timestep_callback=lambda: pipe._current_timestep,
        ),
    )
    adapter.attach(pipe).set_guidance("both" if branches == "both" else "positive")
    adapter.set_tokens(toy_tokens(adapter, batch=2 if branches == "each" else 1))
    if branches == "each":
        held = adapter._held.state.references
        adapter._held.change(references=replace(held, each_branch=True))
    adapter.set_window(0.0, 0.9)
    calls: list[Tensor] = []
    pipe.transformer.register_forward_hook(lambda _, __, made: calls.append(made[0]))
    film(pipe, num_inference_steps=6, guidance_scale=5.0)
    plain, calls[:] = [*calls], []
    cache.on()
    film(pipe, num_inference_steps=6, guidance_scale=5.0)
    step = next(
        i for i, (one, other) in enumerate(zip(plain, calls, strict=True)) if not torch.equal(one, other)
    )
    assert not torch.allclose(plain[step][:1], calls[step][:1])  # made up by the cache
    assert_close(calls[step][1:], plain[step][1:])
    adapter.clear_references()
    film(pipe, num_inference_steps=6, guidance_scale=5.0)
    assert not torch.allclose(calls[6 + step][1:], calls[step][1:])


@pytest.mark.parametrize("pipe", WITH_LORA, indirect=True)
def test_lora_before_or_after(pipe: Any, adapter: ActionAdapter) -> None:
    denoiser, inputs = base_of(pipe).denoiser, toy_inputs(2)
    config = LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False)
    torch.manual_seed(1)
    denoiser.add_adapter(config)
    plain = predict(pipe, inputs)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    lora_first = predict(pipe, inputs)
    denoiser.delete_adapters("default")
    torch.manual_seed(1)
    denoiser.add_adapter(config)
    assert torch.equal(predict(pipe, inputs), lora_first)
    assert not any("lora" in name for name in adapter.state_dict())
    adapter.detach()
    assert torch.equal(predict(pipe, inputs), plain)
    assert not torch.allclose(lora_first, plain)


def test_both_transformers_of_wan_22_act() -> None:
    pipe = toy_wan(transformer_2=toy_wan(1).transformer, boundary_ratio=0.875)
    adapter = toy_adapter(pipe)
    read = {"transformer": 0, "transformer_2": 0}

    def count(name: str) -> Callable[..., None]:
        return lambda *_: read.update({name: read[name] + (base_of(pipe).pipe is not None)})

    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    for attachment, name in zip(adapter._attachments, read, strict=True):
        assert attachment.denoiser is getattr(pipe, name)
        getattr(pipe, name).register_forward_hook(count(name))
    acting = film(pipe)
    assert all(read.values())
    adapter._attachments[1].remove()
    assert not torch.allclose(film(pipe), acting)


@pytest.mark.parametrize("first", ["cast", "attach"])
def test_layerwise_casting(pipe: Any, adapter: ActionAdapter, first: str) -> None:
    denoiser, inputs = base_of(pipe).denoiser, toy_inputs(1)
    tokens = toy_tokens(adapter)
    if first == "attach":
        adapter.attach(pipe).set_tokens(tokens)
    denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    with torch.no_grad():
        if first == "attach":
            acting = predict(pipe, inputs)
            adapter.detach()
            plain = predict(pipe, inputs)
        else:
            plain = predict(pipe, inputs)
            adapter.attach(pipe).set_tokens(tokens)
            acting = predict(pipe, inputs)
            adapter.detach()
            assert torch.equal(predict(pipe, inputs), plain)
    assert torch.isfinite(acting).all()
    assert not torch.allclose(acting, plain)
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}


@pytest.mark.parametrize("pipe", ["Wan 2.1", "CogVideoX", "ModelScope"], indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_a_base_in_8_bits(pipe: Any, adapter: ActionAdapter) -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="needs torchao")
    denoiser, inputs = base_of(pipe).denoiser, toy_inputs(2)
    adapter.attach(pipe)
    quantization.quantize_(denoiser, quantization.Int8WeightOnlyConfig())
    plain = predict(pipe, inputs)
    adapter.set_tokens(adapter.encode(torch.randn(2, 4, 3, 8, 8)))
    acting = predict(pipe, inputs)
    assert not torch.allclose(acting, plain)
    acting.square().mean().backward()
    assert all(type(p.data) is Tensor for p in adapter.parameters())
    assert all(p.grad is not None and p.grad.any() for p in adapter.integrations.parameters())


@pytest.fixture
def shallow(pipe: Any) -> Any:
    """With two blocks, one that is joined and one not: compiling takes long."""
    base = base_of(pipe)
    blocks = next(iter(base.find_sites())).rpartition(".")[0]
    del base.denoiser.get_submodule(blocks)[2:]
    return pipe


@pytest.mark.parametrize("pipe", COMPILED, indirect=True)
def test_a_compiled_denoiser_is_one_graph_and_stays_it(shallow: Any) -> None:
    stays_one_graph(shallow)


@pytest.mark.parametrize("pipe", ["Wan 2.1", "HunyuanVideo 1.5"], indirect=True)
def test_compiled_blocks_are_one_graph_each_branch(shallow: Any) -> None:
    torch._dynamo.reset()
    adapter = toy_adapter(shallow).attach(shallow)
    adapter.set_tokens(toy_tokens(adapter))
    want = film(shallow, guidance_scale=5.0)
    for path in adapter.config["sites"]:
        base_of(shallow).denoiser.get_submodule(path).compile(backend="eager", fullgraph=True)
    assert_close(film(shallow, guidance_scale=5.0), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pipe", ["SkyReels V2 DF"], indirect=True)
def test_a_window_of_steps_is_each_frames_own(pipe: Any, adapter: ActionAdapter) -> None:
    """Diffusion forcing has frames at noise levels of their own."""
    pipe.scheduler.set_timesteps(10)
    noisy, _, captions = toy_inputs(1)
    steps = pipe.scheduler.timesteps[[2, 4, 5, 9]][None]
    adapter.attach(pipe).set_window(0.0, 0.5)
    seen: list[Tensor] = []
    pipe.transformer.blocks[0].register_forward_hook(
        lambda _, __, made: seen.append(made.unflatten(1, (4, -1)))
    )
    for tokens in ([], toy_tokens(adapter)):
        adapter.set_tokens(tokens)
        with torch.no_grad():
            pipe.transformer(noisy, steps, captions, enable_diffusion_forcing=True, fps=[1])
    plain, acting = seen
    for frame, inside in enumerate([True, True, False, False]):
        assert torch.equal(plain[:, frame], acting[:, frame]) != inside


def test_an_adapter_of_wan_acts_in_vace() -> None:
    wan, vace = toy_wan(), toy_vace()
    adapter = toy_adapter(wan)
    plain = film(vace)
    adapter.attach(vace).set_tokens(toy_tokens(adapter))
    assert not torch.allclose(film(vace), plain)


@pytest.mark.parametrize("branches", ["positive", "each"])
@pytest.mark.parametrize("pipe", ["LTX-2"], indirect=True)
def test_further_calls_for_the_prompt_alone_read(pipe: Any, adapter: ActionAdapter, branches: str) -> None:
    """LTX-2 guides by what blocks without attention and streams without each other say of the prompt."""
    more = {"stg_scale": 1.0, "modality_scale": 3.0, "spatio_temporal_guidance_blocks": [1]}
    inputs, tokens = toy_inputs(1), toy_tokens(adapter, batch=2 if branches == "each" else 1)
    adapter.attach(base_of(pipe).denoiser).set_tokens(tokens[-1:])
    want = predict(pipe, inputs)
    adapter.attach(pipe).set_tokens(tokens)
    if branches == "each":
        held = adapter._held.state.references
        adapter._held.change(references=replace(held, each_branch=True))
    acting = film(pipe, guidance_scale=5.0, **more)
    for context in base_of(pipe).positive:
        with base_of(pipe).denoiser.cache_context(context):
            assert_close(predict(pipe, inputs), want)
    adapter.detach()
    assert not torch.allclose(film(pipe, guidance_scale=5.0, **more), acting)
