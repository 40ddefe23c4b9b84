"""`generate --replay`: the same video from its .json, and other values where they are given."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.make_videos import counting, film
from typer.testing import CliRunner

from echoreel.cli import app

PROMPT = "a person with brown hair in a red sweater and blue trousers waving on a grassy field"
QUICK = ("--steps", "2", "--frames", "8")


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["generate", *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with two references, of one of which a part is taken and acts in the first half."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("a.mp4", "b.mp4"):
        film(folder / name, counting(40), fps=10)
    given = ["--reference", "a.mp4@0-50%", "--reference", "b.mp4", "--start", "0.5", "--start", "0"]
    given += ["--reference-caption", "somebody waving", "--strength", "0.75", "--scale", "1.5"]
    with contextlib.chdir(folder):
        done = call(PROMPT, *given, *QUICK, "--seed", "3", "-o", "first.mp4")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def made(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The .json of that video, in a folder of the test's own."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "first.json"


def test_the_same_video_again(made: Path) -> None:
    done = call("--replay", str(made), "-o", "again.mp4")
    assert done.exit_code == 0, done.output
    assert made.with_name("again.mp4").read_bytes() == made.with_suffix(".mp4").read_bytes()
    before, after = (json.loads(file.read_text()) for file in (made, made.with_name("again.json")))
    for key in ("prompt", "seeds", "settings", "references"):
        assert after[key] == before[key]


def test_what_is_given_counts_before_the_file(made: Path) -> None:
    done = call("another prompt", "--replay", str(made), "--reference", "b.mp4", "--seed", "5", "--json")
    told = json.loads(done.stdout)
    assert (told["prompt"], told["seeds"]) == ("another prompt", [5])
    assert [each["file"] for each in told["references"]] == ["b.mp4"]
    assert told["references"][0]["strength"] == 1.0  # those of the file's references belong to them alone
    assert (told["settings"]["scale"], told["settings"]["steps"]) == (1.5, 2)


def test_settings_without_an_option_are_kept(made: Path) -> None:
    change(made, lambda told: told["settings"].update(window=[0.0, 0.5], guidance="both", fps=12.0))
    told = json.loads(call("--replay", str(made), "--json").stdout)
    assert (told["settings"]["window"], told["settings"]["guidance"], told["fps"]) == (
        [0.0, 0.5],
        "both",
        12.0,
    )


def test_a_missing_file_is_told() -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["generate", "--replay", "nothing.json"])
    assert done.exit_code == 2
    assert "nothing.json: there is no such file; give the path of the .json beside a video" in done.stderr


def test_a_changed_reference_is_told(made: Path) -> None:
    film(made.with_name("b.mp4"), counting(12), fps=10)
    said = call("--replay", str(made), "-o", "again.mp4").output
    assert "warning: b.mp4 gives other frames than the video of first.json was made from\n" in said


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda told: told.pop("seeds"), "is not the .json of a video"),
        (lambda told: told.update(references=[7]), "a reference was not a file"),
        (lambda told: told["references"][0].update(file=None), "a reference was not a file"),
        (lambda told: told["references"][0].update(timestamps=["x"]), "a reference was not a file"),
        (lambda told: told["references"][0].pop("end"), "a reference was not a file"),
        (lambda told: told["references"][0].update(end=[]), "a reference was not a file"),
        (lambda told: told["references"][0].update(fps=0), "a reference was not a file"),
        (lambda told: told["references"][0].update(start=10**350), "a reference was not a file"),
        (lambda told: told["references"][0].update(during=[0, 10**350]), "a reference was not a file"),
        (lambda told: told["references"][0].update(timestamps=[0, 1e999]), "a reference was not a file"),
        (lambda told: told.update(references=told["references"] * 101), "need at most 100 and 1000"),
        (lambda told: told.update(seeds=[*range(1001)]), "need at most 100 and 1000"),
        (lambda told: told.update(seeds=["x"]), "'--seed'"),
        (lambda told: told["settings"].update(scale="x"), "'--scale'"),
        (lambda told: told["settings"].update(scale=[[1]]), "'--scale'"),
        (lambda told: told["settings"].update(window="x"), "window"),
        (lambda told: told["settings"].update(negative_prompt={"a": 1}), "its negative_prompt is not text"),
        (lambda told: told.update(base={"a": 1}), "{'a': 1}"),
    ],
)
def test_files_that_are_no_recipe(made: Path, break_it: Callable[[dict[str, Any]], object], why: str) -> None:
    change(made, break_it)
    done = call("--replay", str(made), "-o", "again.mp4")
    assert done.exit_code in (1, 2)
    assert why in re.sub(r"[\s│]+", " ", done.output)
    assert not made.with_name("again.mp4").exists()


@pytest.mark.parametrize("during", [[0, 0.5], [1 / 3, 2 / 3], [1e-7, 1], [0.1 + 0.2, 0.9]])
def test_the_part_that_a_reference_acts_in_is_kept_to_the_last_digit(made: Path, during: list[float]) -> None:
    change(made, lambda told: told["references"][0].update(during=during))
    done = call("--replay", str(made), "-o", "again.mp4", "--json")
    assert json.loads(done.stdout)["references"][0]["during"] == pytest.approx(during, abs=1e-15)


def test_no_file(made: Path) -> None:
    done = call("--replay", "none.json")
    assert done.exit_code == 2
    assert "none.json" in done.output


def change(file: Path, how: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads(file.read_text())
    how(told)
    file.write_text(json.dumps(told))
