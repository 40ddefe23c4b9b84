"""`echoreel reference`: a reference as one file, with the embedded base."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.places import ROOT
from typer.testing import CliRunner

from echoreel.cli import app

CARTWHEEL = str(ROOT / "echoreel/assets/cartwheel.mp4")
CAPTION = ("--reference-caption", "a man doing a cartwheel")


def call(*arguments: str) -> Any:
    done = CliRunner().invoke(app, list(arguments))
    assert (done.exit_code, done.exception) in ((0, None), (2, done.exception)), done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a file for the embedded base, and one for no base."""
    folder = tmp_path_factory.mktemp("references")
    for name, base in (("ours", ("--base", "embedded")), ("plain", ())):
        call("reference", "save", str(folder / f"{name}.safetensors"), "-r", CARTWHEEL, *CAPTION, *base)
    return folder


def video(folder: Path, name: str, *options: str) -> tuple[bytes, str]:
    out = folder / f"{name}.gif"
    done = call("generate", "a cat doing a cartwheel", "--steps", "2", "-o", str(out), *options)
    return out.read_bytes(), done.stdout


def test_a_video_from_a_file_is_that_from_its_video(folder: Path) -> None:
    direct, _ = video(folder, "direct", "-r", CARTWHEEL, *CAPTION)
    ours, said = video(folder, "ours", "-r", str(folder / "ours.safetensors"))
    assert ours == direct
    assert "kept frames" not in said
    plain, said = video(folder, "plain", "-r", str(folder / "plain.safetensors"))
    assert plain == direct  # its frames are small, so that they are kept as taken
    assert "plain.safetensors holds nothing for this base, size and caption; encoded its kept frames" in said
    other, _ = video(folder, "other", "-r", str(folder / "ours.safetensors"), "--reference-caption", "a dog")
    assert other != direct


def test_show_tells_what_it_holds(folder: Path) -> None:
    done = call("reference", "show", str(folder / "ours.safetensors"), "--json")
    facts = json.loads(done.stdout)
    assert (facts["caption"], facts["source"], facts["seconds"]) == (
        "a man doing a cartwheel",
        "cartwheel.mp4",
        [0.0, 1.875],
    )
    assert [(each["family"], each["base"]) for each in facts["encoded"]] == [("AnimateDiff", "embedded")]
    sheet = folder / "sheet.png"
    drawn = ("reference", "show", str(folder / "plain.safetensors"), "--sheet", str(sheet))
    assert f"wrote {sheet}\n" in call(*drawn).stdout
    assert sheet.is_file()
    assert f"wrote {sheet} over the one that was there\n" in call(*drawn).stdout


def test_what_is_there_is_kept_unless_told(folder: Path) -> None:
    out = folder / "ours.safetensors"
    before = out.read_bytes()
    done = call("reference", "save", str(out), "-r", CARTWHEEL)
    assert done.exit_code == 2
    assert "already exists; choose another name, or add --overwrite" in done.stderr
    done = call("reference", "save", str(out), "-r", str(out), "--overwrite")
    assert done.exit_code == 2
    assert "is an input, which is never replaced" in done.stderr
    assert out.read_bytes() == before
    again = folder / "again.safetensors"  # a base is added to a file by writing a new one
    call("reference", "save", str(again), "-r", str(folder / "plain.safetensors"), "--base", "embedded")
    assert json.loads(call("reference", "show", str(again), "--json").stdout)["source"] == "cartwheel.mp4"


def test_a_damaged_file_is_one_sentence(folder: Path) -> None:
    (folder / "cut.safetensors").write_bytes((folder / "ours.safetensors").read_bytes()[:3000])
    for command in (
        ("reference", "show", str(folder / "cut.safetensors")),
        ("generate", "a cat", "-r", str(folder / "cut.safetensors"), "-o", str(folder / "x.gif")),
    ):
        done = call(*command)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: cut.safetensors: not a reference file that can be read")


def test_a_file_keeps_how_it_is_played(tmp_path: Path) -> None:
    file = str(tmp_path / "a.safetensors")
    done = call("reference", "save", file, "-r", CARTWHEEL, *CAPTION, "--align", "loop", "--speed", "2")
    assert "in a loop over the video made, at 2 times its speed" in done.stdout
    shown = call("reference", "show", file).stdout
    assert "align    loop\n" in shown
    assert "speed    2.0\n" in shown
