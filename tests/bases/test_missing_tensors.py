"""Weights that lack a tensor are refused by its name, for every part and kind of model."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.toy_bases import TOYS
from helpers.toy_models import toy_pipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from echoreel.bases.loading import load_base
from echoreel.common.errors import AdapterMismatch, BaseUnsupported, EchoReelError
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter


def without(file: Path, name: str = "") -> str:
    """Remove the tensor `name`, or the first one, from a file; its name."""
    tensors = load_file(file)
    name = name or min(tensors)
    tensors.pop(name)
    save_file(tensors, file, metadata={"format": "pt"})
    return name


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "base"
    toy_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_base_that_lacks_a_tensor_is_refused(base: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(base, tmp_path / "base")
    (file,) = (tmp_path / "base" / part).glob("*.safetensors")
    name = without(file)
    with pytest.raises(BaseUnsupported, match=f"lack the tensor {name} of {part}"):
        load_base(tmp_path / "base")


def test_an_adapter_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    ActionAdapter.for_base(toy_pipeline()).save_pretrained(tmp_path)
    name = without(tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(AdapterMismatch, match=f"lack the tensor {name} of adapter"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("name", ["prism.norm_tokens.running_mean", "prism.norm_tokens.running_var"])
def test_an_adapter_that_lacks_what_it_counted_is_refused(tmp_path: Path, name: str) -> None:
    """Batch norms would silently take 0 and 1."""
    ActionAdapter.for_base(toy_pipeline()).save_pretrained(tmp_path)
    without(tmp_path / "diffusion_pytorch_model.safetensors", name)
    with pytest.raises(AdapterMismatch, match=f"lack the tensor {name} of adapter"):
        load_adapter(tmp_path)


def test_a_base_that_lacks_what_it_counted_is_refused(tmp_path: Path) -> None:
    TOYS["LTX"]().save_pretrained(tmp_path)
    (file,) = (tmp_path / "vae").glob("*.safetensors")
    without(file, "latents_mean")
    with pytest.raises(BaseUnsupported, match="lack the tensor latents_mean of vae"):
        load_base(tmp_path)


@pytest.mark.parametrize("side", ["lora_A", "lora_B"])
def test_a_lora_that_lacks_half_of_a_pair_is_refused(base: Path, tmp_path: Path, side: str) -> None:
    pipe = toy_pipeline()
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    pipe.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(pipe.unet))
    load_base(base, loras=[tmp_path])
    file = tmp_path / "pytorch_lora_weights.safetensors"
    without(file, next(name for name in sorted(load_file(file)) if side in name))
    with pytest.raises(EchoReelError, match=r"lora .*: cannot be loaded"):
        load_base(base, loras=[tmp_path])


@pytest.mark.parametrize("name", [*TOYS])
def test_whole_bases_of_every_family_load(name: str, tmp_path: Path) -> None:
    TOYS[name]().save_pretrained(tmp_path)
    load_base(tmp_path)


@pytest.mark.parametrize("toy", ["Wan 2.1", "AnimateDiff"])
def test_a_base_that_is_saved_in_another_precision_loads(toy: str, tmp_path: Path) -> None:
    pipe = TOYS[toy]().to(dtype=torch.float16)
    pipe.save_pretrained(tmp_path / "base", variant="fp16", max_shard_size="100KB")
    assert not [*(tmp_path / "base").glob("*/*model.safetensors")]
    loaded = load_base(tmp_path / "base", dtype=torch.float32, device="cpu")
    modules = {part: module for part, module in pipe.components.items() if isinstance(module, nn.Module)}
    for part, module in modules.items():
        assert_close(getattr(loaded, part).state_dict(), module.float().state_dict())


def test_of_two_precisions_the_usual_one_is_loaded(tmp_path: Path) -> None:
    """And where only some parts are in another one, these are."""
    for folder in ("both", "some"):
        pipe = toy_pipeline()
        pipe.save_pretrained(tmp_path / folder)
        pipe.vae.decoder.conv_in.weight.data.zero_()
        pipe.vae.save_pretrained(tmp_path / folder / "vae", variant="fp16")
    (tmp_path / "some" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    zero = [not load_base(tmp_path / name).vae.decoder.conv_in.weight.any() for name in ("both", "some")]
    assert zero == [False, True]
