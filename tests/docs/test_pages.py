"""The README and docs/: every block of code runs as it stands, or says why not; every link leads somewhere.

A block that cannot run here has a comment before it: <!-- not run: REASON -->
"""

import json
import pydoc
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.make_videos import film
from helpers.places import ROOT
from helpers.video_folders import good_folder, moving
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common.settings import validated
from echoreel.training.train_adapter import AdapterRecipe

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
TOLD = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    told: bool  # why it is not run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """All between fences of a page."""
    lines, before, start = (ROOT / page).read_text().splitlines(), "", -1
    for number, line in enumerate(lines):
        if line.startswith("```") and start < 0:
            start, language = number, line.removeprefix("```").strip()
        elif line.startswith("```"):
            text = "\n".join(lines[start + 1 : number]) + "\n"
            yield Block(page, start + 1, language, text, bool(TOLD.fullmatch(before)))
            start, before = -1, ""
        elif start < 0 and line.strip():
            before = line.strip()
    assert start < 0, f"{page}: a block without an end"


ALL = [block for page in PAGES for block in blocks(page)]


def to_run(language: str) -> list[Block]:
    return [block for block in ALL if block.language == language and not block.told]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_steps: None) -> Path:
    """What a reader of the pages has: the checkout's files, videos with captions, a catalogue, a result."""
    for name in ("echoreel", "recipes", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    good_folder(tmp_path / "videos")
    clip = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
    for name, frames in (("man", moving(10)), ("girl", 255 - moving(11))):  # they look unlike each other
        film(tmp_path / "videos" / f"{name}.mp4", frames)
        (tmp_path / "videos" / f"{name}.txt").write_text(f"a {name} is doing a cartwheel\n")
    (tmp_path / "catalogue.csv").write_text("path,caption\nvideos/man.mp4,a man is doing a cartwheel\n")
    for name in ("out.mp4", "guitar.mp4"):
        (tmp_path / name).symlink_to(clip)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in to_run("python")))
def test_python_runs(folder: Path, page: str) -> None:
    names: dict[str, object] = {}
    for block in to_run("python"):
        if block.page == page:
            exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.parametrize("block", to_run("sh"), ids=str)
def test_commands_run(folder: Path, block: Block) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        match words:
            case [] | ["source", ".venv/bin/activate"] | ["pip", "install", "."]:
                continue
            case ["pip", "install", what]:
                assert what.removeprefix(".[").removesuffix("]") in extras
            case ["echoreel", *arguments]:
                out = arguments[arguments.index(">") + 1] if ">" in arguments else None
                done = CliRunner().invoke(app, arguments[: arguments.index(">")] if out else arguments)
                assert done.exit_code == 0, f"{line}\n{done.output}"
                if out:
                    Path(out).write_text(done.stdout)
            case _:
                pytest.fail(f"{block}: {line!r} is no command of ours; run it here, or say why not")


def test_every_block_is_run_or_says_why_not() -> None:
    """Python and commands run above; recipes and pairs are valid; drawings have no language."""
    assert {block.language for block in ALL} <= {"python", "sh", "toml", "json", ""}
    for block in ALL:
        if block.language == "toml":
            validated(AdapterRecipe, tomllib.loads(block.text), str(block))
        if block.language == "json":
            assert json.loads(block.text).keys() == {"target", "caption", "references"}
        assert not (block.told and block.language not in ("python", "sh")), f"{block}: need not be told"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", each).lower()) for each in headings)
    return {each.replace(" ", "-") for each in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            if file.resolve().parent == ROOT / "docs" / "reference":
                continue  # generated for the site, where tests/docs/test_public_surface.py looks for them
            assert file.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(file), f"{page}: {target}"


def test_names_in_modules_are_there() -> None:
    """`echoreel.folder.module.name` in a page; keys of a reference file look like one."""
    named = {
        name
        for page in PAGES
        for name in re.findall(r"`(echoreel(?:\.\w+)+)", (ROOT / page).read_text())
        if not name.startswith(("echoreel.reference", "echoreel.crc32")) and "/research/" not in page
    }
    assert len(named) > 3
    assert {name for name in named if pydoc.locate(name) is None} == set()
