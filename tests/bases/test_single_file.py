"""Bases whose denoiser is one file, with the rest in a pipeline's folder."""

import shutil
import struct
from pathlib import Path

import pytest
import torch
from helpers.contract_calls import PROMPT, film
from helpers.toy_bases import TOYS
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from typer.testing import CliRunner

from echoreel.bases.loading import load_base, model_name
from echoreel.cli import app
from echoreel.common.errors import EchoReelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TOYS["Wan 2.1"]().save_pretrained(tmp_path / "base")
    weights = tmp_path / "base" / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, tmp_path / "model.safetensors")
    return tmp_path


def test_a_file_and_the_rest_are_the_pipeline(folder: Path) -> None:
    want = film(load_base(folder / "base"))
    other = load_file(folder / "model.safetensors")
    weights = folder / "base" / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: torch.zeros_like(tensor) for name, tensor in other.items()}, weights)
    loaded = load_base(folder / "model.safetensors", parts=folder / "base")
    assert_close(film(loaded), want)
    assert model_name(loaded) == str(folder / "model.safetensors")
    shutil.copy(folder / "model.safetensors", weights)
    assert_close(film(load_base(weights)), want)  # which lies in its pipeline


def test_a_gguf_file(folder: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="needs gguf")
    writer = gguf.GGUFWriter(str(folder / "model.gguf"), "wan")
    for name, tensor in load_file(folder / "model.safetensors").items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    loaded = load_base(folder / "model.gguf", parts=folder / "base")
    assert_close(film(loaded), film(load_base(folder / "base")))


def test_what_is_wrong_with_a_file_is_one_sentence(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensors[name] for name in [*tensors][1:]}, folder / "short.safetensors")
    (folder / "broken.safetensors").write_bytes(b"no weights")
    whole = {name: tensor.int() for name, tensor in tensors.items()}
    save_file(whole, folder / "whole.safetensors")
    facts = struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 9, 2**40)  # one: a list of so many lists
    (folder / "lists.gguf").write_bytes(b"GGUF" + facts)
    facts = struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 8, 2**40)  # of so many texts
    (folder / "texts.gguf").write_bytes(b"GGUF" + facts)
    TOYS["AnimateDiff"]().save_pretrained(folder / "unet")
    for name, parts, message in (
        ("model.safetensors", None, "holds a denoiser, need its text encoder and autoencoder as well; give"),
        ("model.safetensors", folder / "no", "there is no such folder"),
        ("model.safetensors", folder / "unet", "a UNetMotionModel cannot be read from one file"),
        ("short.safetensors", folder / "base", "tensors of a WanTransformer3DModel are missing that"),
        ("whole.safetensors", folder / "base", "of I32, need floating-point"),
        ("lists.gguf", folder / "base", "facts of an unknown kind"),
        ("texts.gguf", folder / "base", "says more than it holds"),
        ("broken.safetensors", folder / "base", "broken.safetensors: cannot be loaded"),
        ("base", folder / "base", "is for a base in one file"),
    ):
        with pytest.raises(EchoReelError, match=message):
            load_base(folder / name, parts=parts)


def test_the_command_line_takes_files(folder: Path) -> None:
    file, parts = str(folder / "model.safetensors"), ("--base-parts", str(folder / "base"))
    out = folder / "out.mp4"
    asked = ("--steps", "1", "--frames", "5", "--size", "32x32", "-o", str(out))
    for arguments in (["info", file, *parts], ["generate", PROMPT, "--base", file, *parts, *asked]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
    assert out.is_file()
    done = CliRunner().invoke(app, ["info", file])
    assert (done.exit_code, "--base-parts DIR|ID" in done.stderr) == (2, True)
