"""Item 4 of the contract of an attached adapter (DESIGN, section 3): state dict, saving, LoRA, cache hooks,
offloading, torch.compile, FreeNoise and copies behave as without the adapter."""

import copy
from itertools import product
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, UNetMotionModel
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading
from diffusers.models.embeddings import ImageProjection
from helpers.contract_calls import film, only_animatediff, predict, stays_one_graph
from helpers.quick_copies import Copies
from helpers.toy_models import FRAMES, toiest_unet, toy_inputs, toy_pipeline, toy_tokens
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.testing import assert_close

from echoreel.bases.lookup import base_of
from echoreel.method.adapter import ActionAdapter
from echoreel.method.integration import ActionIntegration


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_base_keeps_its_keys_and_saves_itself(pipe: Any, adapter: ActionAdapter, tmp_path: Path) -> None:
    denoiser = base_of(pipe).denoiser
    keys = [*denoiser.state_dict()]
    pipe.save_pretrained(tmp_path / "alone")
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    assert [*denoiser.state_dict()] == keys
    assert not any(isinstance(module, ActionIntegration) for module in denoiser.modules())
    pipe.save_pretrained(tmp_path / "attached")
    alone, again = (contents(tmp_path / name) for name in ("alone", "attached"))
    assert again == alone  # so that what is loaded is the same, too
    assert "model_index.json" in alone


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


def ip_adapter(unet: UNetMotionModel) -> dict[str, dict[str, Tensor]]:
    """A random IP-Adapter with its files' names: how pictures of 16 numbers are read, and who reads them."""
    torch.manual_seed(2)
    picture = ImageProjection(16, 16, num_image_text_embeds=4).state_dict()
    readers: dict[str, Tensor] = {}
    for name in unet.attn_processors:
        if "motion_modules" not in name and name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            number = len(readers) + 1
            readers |= {f"{number}.to_{part}_ip.weight": torch.randn(width, 16) for part in "kv"}
    renamed = {name.replace("image_embeds", "proj"): tensor for name, tensor in picture.items()}
    return {"image_proj": renamed, "ip_adapter": readers}


@only_animatediff
def test_an_ip_adapter_before_or_after(pipe: AnimateDiffPipeline, adapter: ActionAdapter) -> None:
    picture = {"ip_adapter_image_embeds": [torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(3))]}

    def filmed(picture_first: bool) -> list[Tensor]:
        base, mine = toy_pipeline(), copy.deepcopy(adapter)
        if not picture_first:
            mine.attach(base)
        base.load_ip_adapter(ip_adapter(base.unet), "", "", image_encoder_folder=None)
        seen = film(base, **picture)
        mine.attach(base).set_tokens(toy_tokens(mine))
        acting = film(base, **picture)
        mine.detach()
        assert torch.equal(film(base, **picture), seen)
        return [seen, acting]

    first, last = filmed(True), filmed(False)
    assert torch.equal(first[0], last[0])
    assert torch.equal(first[1], last[1])
    assert not torch.allclose(first[0], film(pipe))
    assert not torch.allclose(first[0], first[1])


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


def offload(denoiser: Any, kind: str) -> None:
    cpu = torch.device("cpu")
    if kind == "group":
        apply_group_offloading(denoiser, onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
    else:
        accelerate.cpu_offload(denoiser, cpu)


def test_offloading(pipe: Any, adapter: ActionAdapter) -> None:
    copies = Copies(pipe)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    adapter.detach()
    for kind, offload_first in product(("group", "cpu"), (True, False)):
        pipe = copies.one()
        if offload_first:
            offload(base_of(pipe).denoiser, kind)
        adapter.attach(pipe)
        if not offload_first:
            offload(base_of(pipe).denoiser, kind)
        assert torch.equal(film(pipe), want), (kind, offload_first)
        adapter.detach()
        assert not torch.allclose(film(pipe), want), (kind, offload_first)


@pytest.mark.parametrize("pipe", ["LTX-2"], indirect=True)
def test_an_offloaded_denoiser_of_two_outputs_predicts(pipe: Any) -> None:
    inputs = toy_inputs(2)
    want = predict(pipe, inputs)
    accelerate.cpu_offload(base_of(pipe).denoiser, torch.device("cpu"))
    assert torch.equal(predict(pipe, inputs), want)


def test_a_compiled_denoiser_is_one_graph_and_stays_it() -> None:
    stays_one_graph(toy_pipeline(unet=toiest_unet()))


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


@only_animatediff
def test_a_width_is_read_through_what_wraps_the_layer(
    pipe: AnimateDiffPipeline, adapter: ActionAdapter
) -> None:
    """LoRA replaces layers, and FreeNoise's split inference does."""
    pipe.motion_adapter = MotionAdapter((8, 16), 1, motion_norm_num_groups=4, motion_num_attention_heads=2)
    sites = base_of(pipe).find_sites()
    tuned = toy_pipeline()
    tuned.unet.add_adapter(LoraConfig(r=2, target_modules=["proj_in"]))
    assert base_of(tuned).find_sites() == sites
    pipe.enable_free_noise(context_length=FRAMES, context_stride=2)
    pipe.enable_free_noise_split_inference(spatial_split_size=2, temporal_split_size=2)
    assert base_of(pipe).find_sites() == sites
    plain = film(pipe, num_frames=2 * FRAMES)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    assert not torch.allclose(film(pipe, num_frames=2 * FRAMES), plain)
    adapter.detach()
    assert torch.equal(film(pipe, num_frames=2 * FRAMES), plain)


@only_animatediff
def test_pipelines_that_share_a_denoiser_guide_each_for_itself(
    pipe: AnimateDiffPipeline, adapter: ActionAdapter
) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    other = AnimateDiffPipeline.from_pipe(pipe)
    other.set_progress_bar_config(disable=True)
    guided = film(other, guidance_scale=5.0)  # while the first says that it was never called
    assert torch.equal(film(pipe, guidance_scale=5.0), guided)
    alone = film(other, guidance_scale=1.0)  # while the first says that it guides
    assert torch.equal(film(pipe, guidance_scale=1.0), alone)
    assert torch.equal(film(other, guidance_scale=5.0), guided)


def test_a_copy_of_the_denoiser_acts_by_itself(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    inputs = toy_inputs(1)
    want = predict(pipe, inputs)
    twin = copy.deepcopy(pipe)
    adapter.clear_references()
    assert torch.equal(predict(twin, inputs), want)
    assert not torch.allclose(predict(pipe, inputs), want)
