"""`doctor` and `adapters`: what is there is found, and what is not comes with what to do."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.generation import this_machine


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in an empty folder, with an empty hub cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(this_machine, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def snapshot(folder: Path, name: str) -> Path:
    place = folder / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / "0"
    place.mkdir(parents=True)
    return place


def test_a_working_machine_has_no_problem(call: Any) -> None:
    done = call("doctor")
    assert done.exit_code == 0, done.stdout
    lines = done.stdout.splitlines()
    for subject in ("versions", "packages", "GPU", "memory", "weights", "bases", "adapters", "hub cache"):
        assert sum(line[8:].startswith(subject) for line in lines) == 1, subject
    assert not any("PROBLEM" in line for line in lines)


@pytest.mark.parametrize(("count", "told"), [(1, "1 processor thread:"), (4, "4 processor threads:")])
def test_threads_are_counted_as_people_do(
    call: Any, monkeypatch: pytest.MonkeyPatch, count: int, told: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.get_num_threads", lambda: count)
    assert told in call("doctor").stdout


def test_bases_and_adapters_of_the_cache_and_of_folders_are_found(call: Any, tmp_path: Path) -> None:
    (snapshot(tmp_path, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers") / "model_index.json").write_text(
        json.dumps({"_class_name": "WanPipeline", "transformer": ["diffusers", "WanTransformer3DModel"]})
    )
    (snapshot(tmp_path, "some/image-model") / "model_index.json").write_text(
        json.dumps({"unet": ["diffusers", "UNet2DConditionModel"], "odd": ["x", []]})
    )
    for place in (tmp_path / "runs" / "mine" / "adapter", snapshot(tmp_path, "you/an-adapter")):
        place.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": "ActionAdapter", "family": "Wan", "sites": {"blocks.0": 8}}
        (place / "config.json").write_text(json.dumps(config))
        (place / "diffusion_pytorch_model.safetensors").write_bytes(bytes(2_000_000))
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "config.json").write_text("{broken")
    (tmp_path / "runs" / "odd").mkdir()  # somebody else's: it may say anything
    (tmp_path / "runs" / "odd" / "config.json").write_text('{"_class_name": "ActionAdapter", "sites": 5}')
    (tmp_path / "runs" / "odd" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    told = call("doctor").stdout
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers (Wan)" in told
    assert "image-model" not in told
    found = json.loads(call("adapters", "--json").stdout)["adapters"]
    assert [(each["name"], each["source"]) for each in found] == [
        ("embedded", "packaged"),
        ("runs/mine/adapter", "folder"),
        ("runs/odd", "folder"),
        ("you/an-adapter", "hub cache"),
    ]
    assert "runs/mine/adapter: for Wan, 1 sites, 2.0 MB (folder)" in call("adapters").stdout


def test_what_is_wrong_comes_with_what_to_do(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    monkeypatch.setattr(this_machine, "WEIGHTS", tmp_path / "none")
    monkeypatch.setattr(this_machine, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    (tmp_path / "file").write_text("in the way")
    done = call("doctor")
    assert done.exit_code == 1
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert [line[8:].split("  ")[0] for line in problems] == ["memory", "weights", "hub cache"]
    assert all(": " in line for line in problems)
    assert "set HF_HOME" in problems[-1]


@pytest.mark.parametrize(
    ("typed", "meant"), [(["generat"], "generate"), (["library", "serch"], "search"), (["doctr"], "doctor")]
)
def test_a_misspelt_command_names_the_nearest(call: Any, typed: list[str], meant: str) -> None:
    done = call(*typed)
    assert done.exit_code == 2
    assert f"'{meant}'" in done.stderr.lower()


def test_a_misspelt_option_names_the_nearest(call: Any) -> None:
    done = call("generate", "a cat", "--refrence", "a.mp4")
    assert done.exit_code == 2
    assert "--reference" in done.stderr
