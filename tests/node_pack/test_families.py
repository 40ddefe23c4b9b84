"""Adapters of which bases load in which of ComfyUI's models, and what others are told."""

import functools
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.toy_bases import TOYS

from comfyui.adapters import Adapter
from comfyui.families import DOUBLE, KINDS, SINGLE, check_family, check_fits, families_of, network_of
from comfyui.texts import Text
from echoreel.bases.lookup import base_of
from echoreel.bases.sketch import sketched
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter


@dataclass
class Model:
    """A MODEL of ComfyUI, as far as sizes are asked."""

    network: str
    width: int
    blocks: int
    latent: int  # channels
    single: int = 0
    takes: int = 16
    patch: tuple[int, ...] = field(default=(1, 2, 2))

    def get_model_object(self, name: str) -> Any:
        if name == "latent_format":
            return SimpleNamespace(latent_channels=self.latent)
        blocks = [None] * self.blocks
        names = ("dim", "inner_dim", "hidden_size")
        lists = {"blocks": blocks, "transformer_blocks": blocks, "double_blocks": blocks}
        told = dict.fromkeys(names, self.width) | lists | {"single_blocks": [None] * self.single}
        return type(self.network, (), {**told, "patch_size": self.patch, "in_channels": self.takes})()


PUBLISHED = {
    "wan-1.3b": Model("WanModel", 1536, 30, 16),
    "wan-14b": Model("WanModel", 5120, 40, 16),
    "wan2.2-5b": Model("WanModel", 3072, 30, 48, takes=48),
    "ltx": Model("LTXVModel", 2048, 28, 128, takes=128),
}
TOY = {
    "Wan VACE": Model("VaceWanModel", 24, 4, 4),
    "Wan 2.1 I2V": Model("WanModel", 24, 4, 4, takes=12),
    "Wan 2.2 5B": Model("WanModel", 24, 4, 4),
    "SkyReels V2": Model("WanModel", 24, 4, 4),
    "HunyuanVideo 1.0": Model("HunyuanVideo", 16, 2, 4, single=2),
    "HunyuanVideo 1.5": Model("HunyuanVideo", 16, 4, 4, takes=9, patch=(1, 1, 1)),
}


@functools.cache
def published(name: str) -> Adapter:
    return adapter_of(sketched(name)[0])


def adapter_of(base: Any) -> Adapter:
    """As training makes one for the base, without weights."""
    with torch.device("meta"):
        return Adapter(dict(ActionAdapter.for_base(base).config))


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_adapter_trained_on_a_published_base_fits_its_model(name: str) -> None:
    adapter = published(name)
    check_family(adapter, name)
    check_fits(PUBLISHED[name], adapter, name)
    for other, model in PUBLISHED.items():
        if (model.network, model.width) != (PUBLISHED[name].network, PUBLISHED[name].width):
            with pytest.raises(AdapterMismatch, match=f"need .*{adapter.family}.*, which mine"):
                check_fits(PUBLISHED[other], adapter, "mine")


@pytest.mark.parametrize("name", TOY)
def test_an_adapter_of_each_base_that_these_nodes_join_fits(name: str) -> None:
    adapter = adapter_of(TOYS[name]())
    check_family(adapter, name)
    check_fits(TOY[name], adapter, name)
    blocks = {SINGLE: TOY[name].single, DOUBLE: TOY[name].blocks}
    sites = network_of(TOY[name], adapter).sites
    assert all(number < blocks[kind] for kind, number in sites.values())
    assert len(set(sites.values())) == len(sites)


def test_every_family_is_joined_or_told_of() -> None:
    refused = set()
    for name in ("AnimateDiff", "LVDM", "ModelScope", "SVD", "LTX-2", "CogVideoX", "Latte", "VideoCrafter"):
        base = base_of(TOYS[name]())
        adapter = SimpleNamespace(family=base.name, sites={})
        with pytest.raises(AdapterMismatch, match=f"^mine was trained for {base.name}, need one of"):
            check_family(adapter, "mine")  # type: ignore[arg-type]
        refused.add(base.name)
    assert not refused & KINDS.keys()


def test_a_model_of_another_size_is_told_by_its_name() -> None:
    adapter = published("wan2.2-5b")
    want = r"got Wan 2\.1 1\.3B \(1536 channels and 16 .*need Wan 2\.2 5B .*, which mine was trained for"
    with pytest.raises(AdapterMismatch, match=want):
        check_fits(PUBLISHED["wan-1.3b"], adapter, "mine")
    short = Model("WanModel", 3072, 20, 48)
    with pytest.raises(AdapterMismatch, match=r"need Wan 2\.2 5B .* of at least 29 blocks, which mine"):
        check_fits(short, adapter, "mine")


@pytest.mark.parametrize(
    "model",
    [
        Model("WanModel_S2V", 5120, 40, 16),
        Model("LTXAVModel", 4096, 48, 128),
        Model("HunyuanVideo", 3072, 20, 16, single=40, takes=33),  # its image to video
        Model("HunyuanVideo", 3584, 20, 64, single=40, takes=64, patch=(1, 1)),  # HunyuanImage
    ],
    ids=lambda model: f"{model.network}-{model.takes}",
)
def test_networks_that_are_not_tested_are_refused(model: Model) -> None:
    with pytest.raises(AdapterMismatch, match=f"^got a model whose network is {model.network}, need one of"):
        families_of(model)


def test_layers_that_no_base_has_are_told() -> None:
    config = dict(ActionAdapter.for_base(TOYS["Wan VACE"]()).config)
    for sites in ({}, {"foo": 24}, {"blocks.0.attn1": 24}):
        with torch.device("meta"):
            adapter = Adapter(json.loads(json.dumps({**config, "sites": sites})))
        with pytest.raises(AdapterMismatch, match="mine names layers that no Wan has"):
            check_family(adapter, "mine")


def test_text_is_read_as_in_training() -> None:
    tokens, mask, summary = torch.rand(2, 5, 16), torch.tensor([[1, 1, 1, 0, 0]] * 2), torch.rand(2, 8)
    found = Text.of([[tokens, {"attention_mask": mask, "pooled_output": summary}]])
    for family, length in (
        ("Wan", 512),
        ("SkyReels V2", 512),
        ("LTX-Video", 128),
        ("HunyuanVideo 1.5", 1000),
    ):
        read = found.read("a prompt", family, 16)
        assert read.shape == (1, length, 16)
        assert torch.equal(read[:, :3], tokens[:1, :3])
        assert not read[:, 3:].any()
    read = found.read("a prompt", "HunyuanVideo")
    assert read.shape == (1, 257, 16)
    assert torch.equal(read[0, -1, :8], summary[0])
    assert not read[0, -1, 8:].any()
    with pytest.raises(AdapterMismatch, match="a prompt of width 16, need 32"):
        found.read("a prompt", "Wan", 32)
    with pytest.raises(AdapterMismatch, match="a caption without a summary by CLIP"):
        Text(tokens[:1]).read("a caption", "HunyuanVideo")


def test_hunyuan_video_reads_captions_as_its_base_gives_them() -> None:
    base = base_of(TOYS["HunyuanVideo 1.0"]())
    want = base.encode_captions(["a man running"])
    tokens, summary, mask = base.pipe.encode_prompt(["a man running"])
    # ComfyUI gives no padding behind the prompt, and the mask where there is some
    found = Text.of([[tokens[:, : int(mask.sum())], {"pooled_output": summary}]])
    torch.testing.assert_close(found.read("a caption", "HunyuanVideo", want.shape[-1]), want)
