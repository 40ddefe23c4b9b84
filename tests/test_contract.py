"""The contract of an attached adapter (DESIGN, section 3), for every backbone, on real classes."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, UNetMotionModel
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.testing import assert_close
from toys import (
    FRAMES,
    toiest_unet,
    toy_adapter,
    toy_inputs,
    toy_lvdm_pipeline,
    toy_pipeline,
    toy_tokens,
)

from echoreel.adapter import ActionAdapter
from echoreel.backbones import base_of
from echoreel.errors import AdapterMismatch
from echoreel.integration import ActionIntegration

BASES: dict[str, Callable[[], Any]] = {"AnimateDiff": toy_pipeline, "LVDM": toy_lvdm_pipeline}
PROMPT = "a man doing a cartwheel"


@pytest.fixture(params=BASES)
def pipe(request: pytest.FixtureRequest) -> Any:
    return BASES[request.param]()


only_animatediff = pytest.mark.parametrize("pipe", ["AnimateDiff"], indirect=True)
"""For what other bases do not offer: LoRA, FreeNoise, its names of modules."""


@pytest.fixture
def adapter(pipe: Any) -> Iterator[ActionAdapter]:
    adapter = toy_adapter(pipe)
    yield adapter
    adapter.detach()


def predict(pipe: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One call of the bare denoiser."""
    base = base_of(pipe)
    return base.family.predict(base.denoiser, *inputs)


@torch.no_grad()
def film(
    pipe: Any, seeds: tuple[int, ...] = (0,), prompt: str | list[str] = PROMPT, **options: Any
) -> Tensor:
    """Latents of videos, one generator each, by the pipeline's own call."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    generator = generators[0] if len(generators) == 1 else generators
    arguments = {"num_frames": FRAMES, "num_inference_steps": 3, "generator": generator} | options
    return pipe(prompt, output_type="latent", **arguments).frames


def rows(inputs: tuple[Tensor, Tensor, Tensor], index: int) -> tuple[Tensor, ...]:
    return tuple(x[index : index + 1] for x in inputs)


# 1. Fresh, scale 0, no references, or detached: bit-identical to the base.


def test_what_should_do_nothing_does_nothing(pipe: Any, adapter: ActionAdapter) -> None:
    inputs = toy_inputs(2)
    want, film_wanted = predict(pipe, inputs), film(pipe)
    fresh = ActionAdapter.for_base(pipe).attach(pipe)
    fresh.set_tokens(fresh.encode(torch.randn(1, 4, 3, 8, 8)).detach())
    assert torch.equal(predict(pipe, inputs), want)
    assert torch.equal(film(pipe), film_wanted)
    fresh.detach()

    adapter.attach(pipe)
    assert torch.equal(predict(pipe, inputs), want)
    adapter.set_tokens(toy_tokens(adapter))
    assert not torch.allclose(predict(pipe, inputs), want)
    assert not torch.allclose(film(pipe), film_wanted)
    for quiet in (
        lambda: adapter.set_tokens(toy_tokens(adapter), strengths=[0.0]),
        lambda: adapter.set_tokens([]),
        adapter.clear_references,
        lambda: (adapter.set_tokens(toy_tokens(adapter)), adapter.set_scale(0)),
        adapter.detach,
    ):
        quiet()
        assert torch.equal(predict(pipe, inputs), want)
        assert torch.equal(film(pipe), film_wanted)


def test_detached_and_attached_again_is_attached(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    adapter.detach()
    assert torch.equal(film(adapter.attach(pipe) and pipe), want)
    adapter.detach()
    other = copy.deepcopy(pipe)
    adapter.attach(other)
    assert torch.equal(film(other), want)
    adapter.detach()
    assert torch.equal(film(other), film(pipe))


# 2. A batch of two is two batches of one; guidance in one call or two gives the same video.


def test_a_batch_of_two_is_two_batches_of_one(pipe: Any, adapter: ActionAdapter) -> None:
    inputs, tokens = toy_inputs(2), toy_tokens(adapter, batch=2)
    adapter.attach(pipe).set_tokens(tokens)
    together = predict(pipe, inputs)
    for index in range(2):
        adapter.set_tokens(tokens[index : index + 1])
        assert_close(together[index : index + 1], predict(pipe, rows(inputs, index)))


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_prompts_and_videos_per_prompt_share_out_the_tokens(
    pipe: Any, adapter: ActionAdapter, guidance_scale: float
) -> None:
    """AnimateDiff takes no num_videos_per_prompt; prompts repeated are what others make of it."""
    prompts, tokens = [PROMPT, PROMPT, "a woman dancing", "a woman dancing"], toy_tokens(adapter, batch=2)
    adapter.attach(pipe).set_tokens(tokens)
    many = film(pipe, (0, 1, 2, 3), prompts, guidance_scale=guidance_scale)
    for index in range(4):
        adapter.set_tokens(tokens[index // 2 : index // 2 + 1])
        alone = film(pipe, (index,), prompts[index], guidance_scale=guidance_scale)
        assert_close(many[index : index + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("guidance", ["positive", "both"])
def test_guidance_in_one_call_is_guidance_in_two(pipe: Any, adapter: ActionAdapter, guidance: str) -> None:
    film(pipe, guidance_scale=5.0)  # the pipeline now guides
    noisy, timesteps, captions = toy_inputs(2)
    doubled = torch.cat([noisy[:1]] * 2), timesteps[:1].expand(2), captions
    negative, positive = rows(doubled, 0), rows(doubled, 1)
    bare = predict(pipe, negative)
    adapter.attach(pipe).set_guidance(guidance)
    adapter.set_tokens(toy_tokens(adapter))
    in_one = predict(pipe, doubled)
    film(pipe, guidance_scale=1.0)  # and now it does not
    in_two = torch.cat([bare if guidance == "positive" else predict(pipe, negative), predict(pipe, positive)])
    assert_close(in_one, in_two)


def test_negative_rows_are_untouched(pipe: Any, adapter: ActionAdapter) -> None:
    film(pipe, guidance_scale=5.0)
    noisy, timesteps, captions = toy_inputs(2)
    doubled = torch.cat([noisy[:1]] * 2), timesteps, captions
    want = predict(pipe, doubled)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    got = predict(pipe, doubled)
    assert torch.equal(got[:1], want[:1])
    assert not torch.allclose(got[1:], want[1:])


def test_a_set_per_row_works_whatever_the_pipeline_did_last(pipe: Any, adapter: ActionAdapter) -> None:
    inputs, tokens = toy_inputs(2), toy_tokens(adapter, batch=2)
    adapter.attach(base_of(pipe).denoiser).set_tokens(tokens)
    want = predict(pipe, inputs)
    adapter.attach(pipe)
    for guidance_scale in (5.0, 1.0):
        adapter.set_tokens(tokens[:1])
        film(pipe, guidance_scale=guidance_scale)
        adapter.set_tokens(tokens)
        assert torch.equal(predict(pipe, inputs), want)


def test_rows_that_cannot_be_shared_out_are_refused(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter, batch=2))
    for guidance_scale in (1.0, 5.0):
        with pytest.raises(AdapterMismatch, match="for 2 sets of action tokens, need"):
            film(pipe, guidance_scale=guidance_scale)
    adapter.attach(base_of(pipe).denoiser)
    with pytest.raises(AdapterMismatch, match=r"got 4 rows for 2 sets .* attach to the pipeline"):
        predict(pipe, toy_inputs(4))


# 3. Only adapter parameters get gradients; with and without gradient checkpointing they are equal.


def test_gradients(pipe: Any, adapter: ActionAdapter) -> None:
    denoiser = base_of(pipe).denoiser.requires_grad_(False)
    adapter.attach(pipe)

    def gradients() -> dict[str, Tensor]:
        adapter.zero_grad()
        latents, captions = (
            torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(5)),
            toy_inputs(2)[2],
        )
        adapter.set_tokens(adapter.encode(latents, captions, captions))
        predict(pipe, toy_inputs(2)).square().mean().backward()
        assert all(p.grad is None for p in denoiser.parameters())
        return {name: p.grad.clone() for name, p in adapter.named_parameters()}

    plain = gradients()
    assert all(gradient.abs().max() > 0 for gradient in plain.values())
    denoiser.enable_gradient_checkpointing()
    denoiser.train()
    checkpointed = gradients()
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


# 4. State dict, saving, LoRA, cache hooks, offloading and torch.compile behave as without the adapter.


def test_the_base_keeps_its_keys_and_saves_itself(pipe: Any, adapter: ActionAdapter, tmp_path: Path) -> None:
    denoiser = base_of(pipe).denoiser
    keys, want = [*denoiser.state_dict()], film(pipe)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    assert [*denoiser.state_dict()] == keys
    assert not any(isinstance(module, ActionIntegration) for module in denoiser.modules())
    pipe.save_pretrained(tmp_path)
    again = type(pipe).from_pretrained(tmp_path)
    assert torch.equal(film(again), want)


@only_animatediff
def test_lora_before_or_after(pipe: AnimateDiffPipeline, adapter: ActionAdapter, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    pipe.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(pipe.unet))

    def loaded(lora_first: bool) -> Tensor:
        base, mine = toy_pipeline(), copy.deepcopy(adapter)
        if lora_first:
            base.load_lora_weights(tmp_path)
        mine.attach(base).set_tokens(toy_tokens(mine))
        if not lora_first:
            base.load_lora_weights(tmp_path)
        acting = film(base)
        assert not any("lora" in name for name in mine.state_dict())
        mine.detach()
        assert not torch.allclose(film(base), acting)
        return acting

    assert torch.equal(loaded(True), loaded(False))


class BlockCache(ModelHook):
    """Repeats a block's output at every second call, as diffusers' caches skip blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.kept: Any = None

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self.calls % 2 == 0:
            self.kept = self.fn_ref.original_forward(*args, **kwargs)
        self.calls += 1
        return self.kept


def cached(unet: UNetMotionModel, on: bool) -> None:
    for name, module in unet.named_modules():
        if name.rpartition(".")[0].endswith("motion_modules"):
            registry = HookRegistry.check_if_exists_or_initialize(module)
            registry.register_hook(BlockCache(), "cache") if on else registry.remove_hook("cache")


@only_animatediff
def test_cache_hooks_before_or_after(adapter: ActionAdapter, pipe: AnimateDiffPipeline) -> None:
    plain = film(pipe)
    cached(pipe.unet, True)
    cached_base = film(pipe, num_inference_steps=4)
    cached(pipe.unet, False)
    videos = []
    for cache_first in (True, False):
        adapter.detach()
        if cache_first:
            cached(pipe.unet, True)
        adapter.attach(pipe).set_tokens(toy_tokens(adapter))
        if not cache_first:
            cached(pipe.unet, True)
        videos.append(film(pipe, num_inference_steps=4))
        adapter.detach()
        cached(pipe.unet, False)
        cached(pipe.unet, True)
        assert torch.equal(film(pipe, num_inference_steps=4), cached_base)
        cached(pipe.unet, False)
        assert torch.equal(film(pipe), plain)
    assert torch.equal(videos[0], videos[1])
    assert not torch.allclose(videos[0], cached_base)


@pytest.mark.parametrize("kind", ["group", "cpu"])
@pytest.mark.parametrize("offload_first", [True, False])
def test_offloading(pipe: Any, adapter: ActionAdapter, kind: str, offload_first: bool) -> None:
    denoiser, tokens = base_of(pipe).denoiser, toy_tokens(adapter)
    adapter.attach(pipe).set_tokens(tokens)
    want = film(pipe)
    adapter.detach()

    def offload() -> None:
        if kind == "group":
            cpu = torch.device("cpu")
            apply_group_offloading(denoiser, onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
        else:
            accelerate.cpu_offload(denoiser, torch.device("cpu"))

    if offload_first:
        offload()
    adapter.attach(pipe)
    if not offload_first:
        offload()
    assert torch.equal(film(pipe), want)
    adapter.detach()
    assert not torch.allclose(film(pipe), want)


def test_a_compiled_denoiser_is_one_graph_and_stays_it() -> None:
    torch._dynamo.reset()
    pipe = toy_pipeline(unet=toiest_unet())
    adapter = toy_adapter(pipe).attach(pipe)
    denoiser, inputs = pipe.unet, toy_inputs(2)
    text = inputs[2].repeat_interleave(FRAMES, dim=0)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(denoiser, backend=backend, fullgraph=True)
    with torch.no_grad():
        for step in range(4):
            adapter.set_tokens(toy_tokens(adapter, seed=step % 2))
            adapter.set_scale(1 - 0.1 * step)
            want = denoiser(*inputs[:2], text).sample
            assert_close(compiled(*inputs[:2], text).sample, want)
    assert len(graphs) == 1


@only_animatediff
def test_a_compiled_block_is_one_graph(pipe: AnimateDiffPipeline, adapter: ActionAdapter) -> None:
    torch._dynamo.reset()
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    pipe.unet.mid_block.motion_modules[0].compile(backend="eager", fullgraph=True)
    assert_close(film(pipe), want)


@only_animatediff
def test_free_noise_swaps_blocks_and_the_adapter_follows(
    pipe: AnimateDiffPipeline, adapter: ActionAdapter
) -> None:
    pipe.motion_adapter = MotionAdapter((8, 16), 1, motion_norm_num_groups=4, motion_num_attention_heads=2)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    pipe.enable_free_noise(context_length=FRAMES, context_stride=2)
    acting = film(pipe, num_frames=2 * FRAMES)
    adapter.clear_references()
    assert not torch.allclose(film(pipe, num_frames=2 * FRAMES), acting)
    adapter.set_tokens(toy_tokens(adapter))
    pipe.disable_free_noise()
    acting = film(pipe)
    adapter.detach()
    assert not torch.allclose(film(pipe), acting)


def test_a_copy_of_the_denoiser_acts_by_itself(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    base, inputs = base_of(pipe), toy_inputs(1)
    want = predict(pipe, inputs)
    twin = copy.deepcopy(base.denoiser)
    adapter.clear_references()
    assert torch.equal(base.family.predict(twin, *inputs), want)
    assert not torch.allclose(predict(pipe, inputs), want)


# 5. Save, load: bit-identical output. Seeds: one generator per video, the same alone or in a batch.


def test_saved_and_loaded_acts_the_same(pipe: Any, adapter: ActionAdapter, tmp_path: Path) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    adapter.save_pretrained(tmp_path)
    loaded = ActionAdapter.from_pretrained(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    adapter.detach()
    loaded.attach(pipe).set_tokens(toy_tokens(loaded))
    assert torch.equal(film(pipe), want)


def test_a_seed_names_a_video_alone_or_in_a_batch(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    together = film(pipe, (3, 4), [PROMPT, PROMPT])
    for index, seed in enumerate((3, 4)):
        assert_close(together[index : index + 1], film(pipe, (seed,)), atol=1e-4, rtol=1e-4)


# 6. The Prism runs once per reference and generation; keys and values are computed once per generation.


def test_what_is_computed_once(pipe: Any, adapter: ActionAdapter) -> None:
    counts = {"prism": 0, "keys": 0, "queries": 0}

    def count(name: str) -> Callable[..., None]:
        return lambda *_: counts.update({name: counts[name] + 1})

    adapter.prism.register_forward_hook(count("prism"))
    for integration in adapter.integrations.values():
        integration.attention.key.register_forward_hook(count("keys"))
        integration.attention.query.register_forward_hook(count("queries"))
    sites = len(adapter.integrations)
    adapter.attach(pipe).set_tokens([toy_tokens(adapter), toy_tokens(adapter, seed=1)])
    film(pipe, num_inference_steps=5)
    assert counts == {"prism": 2, "keys": sites, "queries": 5 * sites}
    film(pipe, num_inference_steps=2)
    assert counts == {"prism": 2, "keys": sites, "queries": 7 * sites}


def test_what_is_kept_follows_the_parameters(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    before = film(pipe)
    with torch.no_grad():
        for integration in adapter.integrations.values():
            integration.attention.value.weight.mul_(2)
    assert not torch.allclose(film(pipe), before)
