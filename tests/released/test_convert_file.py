"""Released files: read without unpickling, refused with a list, written whole, and used by `generate`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.released_checkpoint import autoencoder_tensors, toy_checkpoint
from helpers.released_toys import ReleasedToy
from helpers.toy_models import toy_encoders
from helpers.toy_videocrafter import text_tower, vision_tower
from typer.testing import CliRunner

from echoreel.bases.loading import load_base
from echoreel.bases.ports.videocrafter_image_tokens import ImageProjection
from echoreel.cli import app
from echoreel.common.errors import CheckpointError, OutputError, SettingsError
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.media.reference_video import ReferenceVideo
from echoreel.released import convert_file as converting
from echoreel.released.convert_file import convert, read_tensors
from echoreel.released.original_names import original_names


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A DeepSpeed checkpoint of a toy LVDM with EchoReel, and the tokenizer's folder."""
    tensors, constants = toy_checkpoint(tmp_path)
    for name, value in constants.items():
        monkeypatch.setattr(converting, name, value)
    return {"file": tmp_path / "checkpoint.pt", "tokenizer": str(tmp_path / "tokenizer"), "tensors": tensors}


def test_a_checkpoint_becomes_what_generate_uses(released: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "paper"
    arguments = ["convert", str(released["file"]), "--kind", "echoreel-lvdm", "-o", str(out), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--tokenizer", released["tokenizer"]])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"base": str(out / "base"), "adapter": str(out / "adapter")}
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".partial")]

    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    reference = ReferenceVideo(frames, caption="a man doing a cartwheel")
    video = generate(
        "a woman doing a cartwheel",
        [reference],
        base=out / "base",
        adapter=out / "adapter",
        settings=GenerationSettings(steps=1, compare=True),
    )
    assert video.videos[0].shape == (16, 32, 32, 3)
    assert not np.array_equal(video.videos[0], video.base_videos[0])

    with pytest.raises(CheckpointError, match="already exists"):
        convert(released["file"], "echoreel-lvdm", out, released["tokenizer"])


@pytest.mark.parametrize("kind", ["videocrafter2", "videocrafter1-i2v"])
def test_videocrafter_s_file_becomes_a_pipeline(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ReleasedToy("i2v" if "i2v" in kind else "t2v")
    torch.manual_seed(0)
    parts = toy_encoders()
    parts["tokenizer"].model_max_length = 77
    parts["tokenizer"].save_pretrained(tmp_path / "tokenizer")
    text = {
        "vocab_size": len(parts["tokenizer"]),
        "hidden_size": 48,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "projection_dim": 6,
    }
    vision = text | {"hidden_size": 8, "image_size": 28, "patch_size": 14}
    projection = {"feature_width": 8, "width": 8, "depth": 1, "tokens": 3, "out_width": 48}
    monkeypatch.setitem(converting.UNET_SETTINGS, kind, toy.settings["unet"])
    monkeypatch.setattr(converting, "AUTOENCODER", dict(parts["vae"].config))
    monkeypatch.setattr(converting, "OPEN_CLIP_TEXT", text)
    monkeypatch.setattr(converting, "OPEN_CLIP_VISION", vision)
    monkeypatch.setattr(converting, "IMAGE_PROJECTION", projection)

    def tower() -> torch.nn.Module:
        return text_tower(text["vocab_size"], 48, 77)

    tensors = autoencoder_tensors(parts["vae"]) | {"scale_arr": torch.ones(1400)}
    tensors |= {f"cond_stage_model.model.{name}": x for name, x in tower().state_dict().items()}
    tensors |= {f"model.diffusion_model.{name}": x for name, x in toy.weights.items()}
    if "i2v" in kind:
        seen = vision_tower(tower(), 8, 6).state_dict()
        resampler = ImageProjection(**projection)
        tensors |= {f"embedder.model.{name}": x for name, x in seen.items()}
        names = original_names(resampler)
        tensors |= {f"image_proj_model.{names[name]}": x for name, x in resampler.state_dict().items()}
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")

    convert(tmp_path / "model.ckpt", kind, tmp_path / "out", str(tmp_path / "tokenizer"))
    pipe = load_base(tmp_path / "out" / "base")
    assert pipe.unet.config.fps == (8 if "i2v" in kind else 28)
    assert pipe.tokenizer("a").input_ids[-1] != pipe.tokenizer.pad_token_id == 0
    options = {"image": torch.zeros(1, 3, 8, 8)} if "i2v" in kind else {}
    film = pipe("a man dancing", num_frames=2, height=32, width=32, num_inference_steps=1, **options).frames
    assert film.shape == (1, 2, 32, 32, 3)
    assert np.isfinite(film).all()

    torch.save(tensors | {"cond_stage_model.model.ln_final.scale": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"1 left over: ln_final\.scale"):
        convert(tmp_path / "model.ckpt", kind, tmp_path / "again", str(tmp_path / "tokenizer"))


def test_other_tensors_are_refused_and_nothing_is_written(released: dict[str, Any], tmp_path: Path) -> None:
    out, tensors = tmp_path / "paper", released["tensors"]
    for name, kind, message in (
        ("model_ema.decay", "echoreel-lvdm", r"1 left over: model_ema\.decay"),
        ("first_stage_model.loss.logvar", "echoreel-lvdm", r"1 left over: loss\.logvar"),
        ("betas", "lvdm", r"got tensors of echoreel-lvdm, need those of lvdm; give --kind echoreel-lvdm"),
        ("betas", "videocrafter2", r"got tensors of echoreel-lvdm, need those of videocrafter2"),
    ):
        torch.save({"state_dict": tensors | {name: torch.zeros(1)}}, released["file"])
        with pytest.raises(CheckpointError, match=message):
            convert(released["file"], kind, out, released["tokenizer"])
    for name in (
        "first_stage_model.decoder.up.1.block.0.conv1.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
    ):
        torch.save({name_: x for name_, x in tensors.items() if name_ != name}, released["file"])
        with pytest.raises(
            CheckpointError, match=r"1 missing: (decoder\.up\.1\.block\.0\.conv1|final_layer_norm)"
        ):
            convert(released["file"], "echoreel-lvdm", out, released["tokenizer"])
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, released["file"])
    with pytest.raises(CheckpointError, match=r"unknown tensors, such as conv\.weight"):
        convert(released["file"], "echoreel-lvdm", out, released["tokenizer"])
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_told(released: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        convert(released["file"], "echoreel-lvdm", tmp_path / "file" / "out", released["tokenizer"])


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_tensors(file)
    torch.save({"module": {"a": torch.zeros(1)}, "what": file}, file)
    with pytest.raises(CheckpointError, match="is not a file of plain tensors and could run code"):
        read_tensors(file)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a file of plain tensors"):
        read_tensors(file)
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a file of plain tensors"):
        read_tensors(file)
    torch.save({"module": {"a": torch.zeros(1)}}, file)
    whole = file.read_bytes()
    for place in range(whole.index(b"ctorch"), whole.index(b"ctorch") + 60):  # in the pickle
        file.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with contextlib.suppress(CheckpointError):
            read_tensors(file)
    torch.save({"steps": 3}, file)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_tensors(file)


def test_unknown_kinds_and_tokenizers_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="got kind 'lvmd', need one of echoreel-lvdm, lvdm, videocrafter2"
    ):
        convert(tmp_path / "a.pt", "lvmd", tmp_path / "out")
    (tmp_path / "a.pt").touch()
    with pytest.raises(SettingsError, match="not available"):
        convert(tmp_path / "a.pt", "lvdm", tmp_path / "out", str(tmp_path / "nothing"))
