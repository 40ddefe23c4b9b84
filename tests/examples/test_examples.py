"""The examples run as they stand, in the folder that a reader runs them in."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.make_videos import film
from helpers.places import ROOT
from helpers.scripts_here import run_script

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.usefixtures("two_steps")


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def clips(folder: Path) -> Path:
    """Six captioned clips of two actions, each in another colour."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        action = "a man kicking a ball" if number % 2 else "a woman throwing a stone"
        ground = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8).repeat(24, 0).reshape(24, 64, 64, 3)
        frames = np.stack([np.roll(ground[0], 2 * index, 1) // (1 + number % 3) for index in range(24)])
        film(folder / f"{number}.mp4", frames)
        (folder / f"{number}.txt").write_text(action)
    return folder


def test_all_are_tested() -> None:
    known = {"generate.py", "several_references.py", "library.py", "own_base.py", "evaluate.py"}
    assert {path.name for path in EXAMPLES.iterdir()} == known | {"train_your_own.sh", "notebook.ipynb"}


def test_generate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, "generate.py", tmp_path / "out.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.mp4",
        "out.json",
        "out-compare.png",
        "out-compare.mp4",
    }


def test_several_references(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
    run(monkeypatch, "several_references.py", clip, clip, tmp_path / "out.mp4")
    assert capsys.readouterr().out.count("strength 1: 16 frames") == 2
    assert (tmp_path / "out.mp4").is_file()


def test_a_library_finds_the_clip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "library"
    run(monkeypatch, "library.py", ROOT / "echoreel" / "assets", place, tmp_path / "out.mp4")
    told = capsys.readouterr().out
    assert "1 clips added" in told
    assert "a person doing a cartwheel" in told or "cartwheel" in told.splitlines()[1]
    assert "nothing in the library matches" not in told


def test_own_base(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "own_base.py")
    assert "with the reference: 16 frames" in capsys.readouterr().out


def test_evaluate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "evaluate.py", tmp_path / "videos")
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if ".mp4 " in line][:3] == [
        "base.mp4",
        "control.mp4",
        "ours.mp4",
    ]


def test_train_your_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {"WORK": str(tmp_path / "mine"), "STEPS": "2"}
    script = ["bash", str(EXAMPLES / "train_your_own.sh")]
    code, told = run_script(
        [*script, str(clips(tmp_path / "clips"))], environment, tmp_path / "here", monkeypatch
    )
    assert code == 0, told
    assert (tmp_path / "mine" / "first.mp4").is_file()
    facts = json.loads((tmp_path / "mine" / "run" / "adapter" / "training.json").read_text())
    assert (facts["base"], facts["steps"], facts["frames"], facts["size"]) == ("embedded", 2, 16, [64, 64])
    usage = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert usage.returncode == 1
    assert "give a folder of captioned clips" in usage.stderr


def test_the_notebook(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= shown
    assert any("the same as the base: True" in output.get("text", "") for output in outputs)
