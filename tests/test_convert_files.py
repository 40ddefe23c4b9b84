"""Released files: read without unpickling, refused with a list, written whole, and used by `generate`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import toy_encoders
from typer.testing import CliRunner

from echoreel import convert_files
from echoreel.cli import app
from echoreel.convert_files import convert_file, read_tensors
from echoreel.errors import CheckpointError, SettingsError
from echoreel.generation import generate
from echoreel.references import ReferenceVideo
from echoreel.result import GenerationSettings

SHARED = Path(__file__).parents[2] / "shared" / "reference"
needs_fixtures = pytest.mark.skipif(not SHARED.is_dir(), reason="no fixtures of the originals here")

LDM_NAMES = (  # diffusers' names of an autoencoder's parts -> the originals'
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"group_norm", "norm"),
    (r"to_(q|k|v)\.", r"\1."),
    (r"to_out\.0", "proj_out"),
    (r"(down|up)_blocks\.(\d)\.resnets\.", r"\1_blocks.\2.block."),
    (r"(down|up)samplers\.0\.", r"\1sample."),
    (r"down_blocks\.", "down."),
    (r"up_blocks\.(\d)", lambda m: f"up.{2 - int(m[1])}"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A DeepSpeed checkpoint of a toy LVDM with EchoReel, and the tokenizer's folder."""
    settings = json.loads((SHARED / "echoreel_lvdm_shared.json").read_text())
    torch.manual_seed(0)
    parts = toy_encoders()
    parts["tokenizer"].save_pretrained(tmp_path / "tokenizer")
    text_config = parts["text_encoder"].config.to_dict() | {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
    }
    monkeypatch.setattr(convert_files, "UNET_SETTINGS", settings["unet"])
    monkeypatch.setattr(convert_files, "PRISM_SETTINGS", settings["prism"])
    monkeypatch.setattr(convert_files, "AUTOENCODER_SETTINGS", dict(parts["vae"].config))
    monkeypatch.setattr(convert_files, "TEXT_SETTINGS", text_config)
    text = convert_files.CLIPTextModel(convert_files.CLIPTextConfig(**text_config))
    tensors = {f"cond_stage_model.transformer.text_model.{name}": x for name, x in text.state_dict().items()}
    for name, x in parts["vae"].state_dict().items():
        for ours, theirs in LDM_NAMES:
            name = re.sub(ours, theirs, name)
        tensors[f"first_stage_model.{name}"] = x
    for name, x in load_file(SHARED / "echoreel_lvdm_shared.weights.safetensors").items():
        tensors[f"model.diffusion_model.{name}"] = x
    tensors["betas"] = torch.zeros(1000)
    wrapped = {f"_forward_module.{name}": x for name, x in tensors.items()}
    torch.save({"module": wrapped, "global_steps": 3}, tmp_path / "checkpoint.pt")
    return {"file": tmp_path / "checkpoint.pt", "tokenizer": str(tmp_path / "tokenizer"), "tensors": tensors}


@needs_fixtures
def test_a_checkpoint_becomes_what_generate_uses(released: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "paper"
    arguments = ["convert", str(released["file"]), "--kind", "echoreel-lvdm", "-o", str(out), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--tokenizer", released["tokenizer"]])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"base": str(out / "base"), "adapter": str(out / "adapter")}
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".partial")]

    frames = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    reference = ReferenceVideo(frames, caption="a man doing a cartwheel")
    video = generate(
        "a woman doing a cartwheel",
        [reference],
        base=out / "base",
        adapter=out / "adapter",
        settings=GenerationSettings(steps=1, compare=True),
    )
    assert video.videos[0].shape == (16, 128, 128, 3)
    assert not np.array_equal(video.videos[0], video.base_videos[0])

    with pytest.raises(CheckpointError, match="is there already"):
        convert_file(released["file"], "echoreel-lvdm", out, released["tokenizer"])


@needs_fixtures
def test_other_tensors_are_refused_and_nothing_is_written(released: dict[str, Any], tmp_path: Path) -> None:
    out, tensors = tmp_path / "paper", released["tensors"]
    for name, kind, message in (
        ("model_ema.decay", "echoreel-lvdm", r"1 left over: model_ema\.decay"),
        ("first_stage_model.loss.logvar", "echoreel-lvdm", r"1 left over: loss\.logvar"),
        ("betas", "lvdm", r"left over: .*inject"),
    ):
        torch.save({"state_dict": tensors | {name: torch.zeros(1)}}, released["file"])
        with pytest.raises(CheckpointError, match=message):
            convert_file(released["file"], kind, out, released["tokenizer"])
    assert not out.exists()


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(file)
    torch.save({"module": {"a": torch.zeros(1)}, "what": file}, file)
    with pytest.raises(CheckpointError, match="no file of tensors alone"):
        read_tensors(file)
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="no file of tensors alone"):
        read_tensors(file)
    torch.save({"steps": 3}, file)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_tensors(file)


def test_unknown_kinds_and_tokenizers_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="got kind 'lvmd', need one of echoreel-lvdm, lvdm"):
        convert_file(tmp_path / "a.pt", "lvmd", tmp_path / "out")
    with pytest.raises(SettingsError, match="cannot be had"):
        convert_file(tmp_path / "a.pt", "lvdm", tmp_path / "out", str(tmp_path / "nothing"))
