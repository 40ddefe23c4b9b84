"""`generate --prompts`: a video of each line, and going on after a stop."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.make_videos import counting, film
from helpers.toy_models import toy_pipeline
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.method.adapter import ActionAdapter

LINES = ["a woman doing a cartwheel", "a man doing a handstand"]
CALL = ("--base", "base", "--adapter", "adapter", "--steps", "1", "--reference", "a.mp4")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter and a reference."""
    folder = tmp_path_factory.mktemp("world")
    pipe = toy_pipeline()
    pipe.save_pretrained(folder / "base")
    ActionAdapter.for_base(pipe).save_pretrained(folder / "adapter")
    film(folder / "a.mp4", counting(20), fps=8)
    return folder


@pytest.fixture
def prompts(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world)
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(["", *LINES, "  "]))
    return file


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["generate", *arguments])


def test_a_video_of_each_line(prompts: Path, tmp_path: Path) -> None:
    done = call("--prompts", str(prompts), *CALL, "-o", str(tmp_path / "v.mp4"), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["videos"]
    assert [each["prompt"] for each in told] == LINES
    for number, line in enumerate(LINES, 1):
        assert json.loads((tmp_path / f"v-{number}.json").read_text())["prompt"] == line
        alone = call(line, *CALL, "-o", str(tmp_path / "alone.mp4"))
        assert alone.exit_code == 0, alone.output
        assert (tmp_path / f"v-{number}.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()


def test_the_same_command_goes_on(prompts: Path, tmp_path: Path) -> None:
    again = ("--prompts", str(prompts), *CALL, "-o", str(tmp_path / "v.mp4"), "--seed", "1", "--seed", "2")
    call(*again)
    (tmp_path / "v-2-1.mp4").unlink()
    before = (tmp_path / "v-1-1.mp4").stat().st_mtime_ns
    said = call(*again).output
    assert f"{tmp_path / 'v-1.mp4'} already exists, made in the same way" in said
    assert f"wrote {tmp_path / 'v-2-1.mp4'}" in said
    assert (tmp_path / "v-1-1.mp4").stat().st_mtime_ns == before
    changed = call(*again, "--scale", "0.5").output  # other settings are other work
    assert "made in the same way" not in changed


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "got no prompt; give one"),
        (["a prompt", "--prompts", "OUT/prompts.txt"], "got both PROMPT and --prompts"),
        (["--prompts", "OUT/none.txt"], "none.txt: there is no such file"),
        (["--prompts", "OUT/empty.txt"], "empty.txt: got 0 prompts, need 1 to 10000, one a line"),
        (["--prompts", "OUT"], "this is a folder; give the path of a text file"),
        (["--prompts", "OUT/old.txt"], "old.txt: is not UTF-8; save it as UTF-8"),
        (["--prompts", "OUT/large.txt"], "large.txt: cannot be read"),
    ],
)
def test_wrong_calls(prompts: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "old.txt").write_bytes("ein Mädchen tanzt".encode("cp1252"))
    (tmp_path / "large.txt").write_text("a\n" * 2**20)
    done = call(*[each.replace("OUT", str(tmp_path)) for each in arguments], *CALL)
    assert done.exit_code == 2
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_all_is_checked_before_the_first_video(prompts: Path, tmp_path: Path) -> None:
    film(tmp_path / "v-2.mp4", counting(20), fps=8)
    done = call(
        "--prompts", str(prompts), *CALL[:-1], str(tmp_path / "v-2.mp4"), "-o", str(tmp_path / "v.mp4")
    )
    assert "v-2.mp4: is an input, which is never replaced" in done.stderr
    assert not (tmp_path / "v-1.mp4").exists()


def test_the_prompts_and_the_replayed_file_are_never_replaced(prompts: Path, tmp_path: Path) -> None:
    lines = tmp_path / "v-1.json"
    prompts.rename(lines)
    done = call("--prompts", str(lines), *CALL, "-o", str(tmp_path / "v.mp4"))
    assert "v-1.json: is an input, which is never replaced" in done.stderr
    assert lines.read_text().split() == " ".join(LINES).split()
    told = {"prompt": LINES[0], "seeds": [0], "settings": {}, "references": []}
    (tmp_path / "w.json").write_text(json.dumps(told))
    done = call("--replay", str(tmp_path / "w.json"), "-o", str(tmp_path / "w.mp4"))
    assert "w.json: is an input, which is never replaced" in done.stderr


def test_each_file_that_is_replaced_is_told(prompts: Path, tmp_path: Path) -> None:
    for name in ("v-1.mp4", "v-compare.png"):
        (tmp_path / name).write_bytes(b"mine")
    said = call(
        LINES[0], *CALL, "--seed", "1", "--seed", "2", "--compare", "-o", str(tmp_path / "v.mp4")
    ).output
    for name, told in (("v-1.mp4", True), ("v-2.mp4", False), ("v-compare.png", True)):
        line = next(each for each in said.splitlines() if each.startswith(f"wrote {tmp_path / name}"))
        assert ("over the one that was there" in line) == told
