"""A base whose `model_index.json` names what cannot be is told by that file's own words."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_models import changed, save_toys

from echoreel.bases.loading import load_base
from echoreel.bases.sketch import only_autoencoder
from echoreel.common.errors import BaseUnsupported

UNET = "need UNet2DConditionModel or UNetMotionModel; get the base's files again"
WRONG: dict[str, tuple[str, Any, str]] = {
    "a number": ("unet", 7, f"says 7 of unet, not a package and a class; {UNET}"),
    "no class": ("unet", ["diffusers", 7], f"says ['diffusers', 7] of unet, .*; {UNET}"),
    "no package": ("vae", [7, "AutoencoderKL"], "says [7, 'AutoencoderKL'] of vae, .*; need AutoencoderKL"),
    "one name": (
        "text_encoder",
        ["transformers"],
        "says ['transformers'] of text_encoder, .*; need CLIPText",
    ),
    "a list": ("scheduler", [["diffusers"], []], "of scheduler, not a package and a class; need"),
    "none": ("unet", [None, None], f"names no unet, {UNET}"),
    "an unknown class": (
        "unet",
        ["diffusers", "No"],
        f"says that unet is a No, which this diffusers .*; {UNET}",
    ),
    "a function": ("vae", ["diffusers", "utils"], "says that vae is a utils, which this diffusers"),
    "another kind": (
        "unet",
        ["transformers", "BertModel"],
        "unet is a BertModel, a model of transformers; need",
    ),
    "another scheduler": (
        "scheduler",
        ["diffusers", "AutoencoderKL"],
        "AutoencoderKL, a model of diffusers; need",
    ),
    "another model": (
        "unet",
        ["diffusers", "AutoencoderKL"],
        "says that unet is a AutoencoderKL, and unet/config.json says UNetMotionModel; get the base's files",
    ),
    "no name": (
        "_class_name",
        7,
        "says 7 of `_class_name`, need the name of a pipeline; get the base's files",
    ),
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    save_toys(folder)
    return folder


@pytest.mark.parametrize("wrong", WRONG)
def test_a_part_of_another_class_is_told(toys: Path, tmp_path: Path, wrong: str) -> None:
    part, said, told = WRONG[wrong]
    base = shutil.copytree(toys / "base", tmp_path / "base")
    changed(base / "model_index.json", **{part: said})
    for load in (load_base, only_autoencoder):
        with pytest.raises(
            BaseUnsupported, match=r"base .*base: cannot be loaded: its model_index"
        ) as refused:
            load(base)
        assert all(piece in str(refused.value) for piece in told.split(".*"))


def test_another_text_model_is_told(toys: Path, tmp_path: Path) -> None:
    base = shutil.copytree(toys / "base", tmp_path / "base")
    changed(base / "model_index.json", text_encoder=["transformers", "T5EncoderModel"])
    with pytest.raises(
        BaseUnsupported, match=r"a T5EncoderModel, and text_encoder/config\.json says CLIPTextM"
    ):
        load_base(base)
    only_autoencoder(base)  # reads no text


def test_other_faults_are_not_the_indexs(toys: Path, tmp_path: Path) -> None:
    base = shutil.copytree(toys / "base", tmp_path / "base")
    (base / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    with pytest.raises(BaseUnsupported, match=r"one of its \.safetensors files is damaged"):
        load_base(base)
