"""Call every command of the command line as an installation without extras does, and check what it answers.

    python tests/helpers/every_command.py [--block-extras]

A command that needs an extra has to name it in one sentence with exit code 2; every other one has to work.
Otherwise it says what is wrong and exits with 1. Needs EchoReel alone, so that `scripts/plain-install`
runs it in a venv without extras. With --block-extras the optional packages are not found, as if they
were not installed.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

from echoreel.common.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
CARTWHEEL = "echoreel/assets/cartwheel.mp4"

WORKS, REFUSES_INPUT = "works", "refuses its input"
# What each command is called with, and what it answers: the extra that it names, or one of the two above.
# A name may go on with an option. They run in this order in one folder, OUT.
CALLS: dict[str, tuple[list[str], str]] = {
    "convert": (["OUT/none.pt", "--kind", "lvdm", "-o", "OUT/paper"], REFUSES_INPUT),
    "adapters": ([], WORKS),
    "doctor": ([], WORKS),
    "evaluate": ([f"{ROOT}/recipes/actorbench.toml"], "actors"),
    "evaluate --videos": (["--videos", "OUT/pairs.jsonl", "-o", "OUT/evaluation"], "eval"),
    "generate": (["a cat running", "--steps", "1", "-r", f"{ROOT}/{CARTWHEEL}", "-o", "OUT/a.gif"], WORKS),
    "generate --library": (["a cat running", "--library", "OUT/library"], "library"),
    "generate --lora": (["a cat running", "--lora", "lora.safetensors"], "lora"),
    "info": ([], WORKS),
    "library add": (["OUT/new-library", f"{ROOT}/echoreel/assets"], "library"),
    "library caption": (["OUT/library", "0123456789abcdef", "a cat running"], "library"),
    "library check": (["OUT/library"], "library"),
    "library embed": (["OUT/library"], "library"),
    "library export": (["OUT/library", "OUT/copy"], "library"),
    "library list": (["OUT/library"], "library"),
    "library remove": (["OUT/library", "0123456789abcdef"], "library"),
    "library search": (["OUT/library", "a cat running"], "library"),
    "library show": (["OUT/library", "0123456789abcdef"], "library"),
    "library stats": (["OUT/library"], "library"),
    "library trust": (["OUT/library", "OUT"], "library"),
    "library update": (["OUT/library"], "library"),
    "measure": ([f"{ROOT}/{CARTWHEEL}"], "eval"),
    "prepare actors": ([f"{ROOT}/recipes/embedded-base.toml"], "actors"),
    "prepare clips": (["OUT/clips", "--motions", "none"], "actors"),
    "prepare dataset": (["folders", "OUT/none", "OUT/dataset"], REFUSES_INPUT),
    "prepare judges": ([f"{ROOT}/recipes/judges.toml"], "actors"),
    "prepare manifest": (["OUT/library", "OUT/chosen.jsonl"], "library"),
    "prepare pairs": (["OUT/pairs.jsonl", "OUT/pairs", "--size", "64x64"], WORKS),
    "prepare prompts": ([f"{ROOT}/recipes/none.toml"], REFUSES_INPUT),
    "prepare prism": ([f"{ROOT}/recipes/none.toml"], REFUSES_INPUT),
    "publish": (["OUT/none", "mine", "--license", "mit"], REFUSES_INPUT),
    "recipe": (["wan-1.3b"], WORKS),
    "reference save": (["OUT/a.safetensors", "-r", f"{ROOT}/{CARTWHEEL}"], WORKS),
    "reference show": (["OUT/a.safetensors"], WORKS),
    "train": (["OUT/train.toml"], "train"),
    "train --dry-run": (["OUT/train.toml", "--dry-run"], WORKS),
    "ui": (["--no-browser"], "ui"),
}


class WithoutExtras(DistributionFinder):
    """The import system without the optional packages, as modules and as distributions."""

    def __init__(self, finders: list[Any]) -> None:
        self.finders = finders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.split(".")[0] in EXTRAS:
            return None
        specs = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in specs if spec is not None), None)

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:  # type: ignore[override]
        missing = {package for package, _ in EXTRAS.values()}
        found = PathFinder.find_distributions(context) if context else PathFinder.find_distributions()
        return (each for each in found if each.metadata["Name"] not in missing)


def commands(app: Typer) -> Iterator[str]:
    """Names of all commands, groups' commands as "group command"."""

    def below(command: Any, name: str) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name
        else:
            for each, found in inner.items():
                yield from below(found, f"{name} {each}".strip())

    return below(get_command(app), "")


def prepared(folder: Path) -> None:
    """What the calls read: a manifest of pairs, a recipe, and a folder that looks like a library."""
    shutil.copy(ROOT / CARTWHEEL, folder / "a.mp4")
    pair = {"target": "a.mp4", "caption": "a cartwheel", "references": [{"path": "a.mp4"}]}
    (folder / "pairs.jsonl").write_text(4 * f"{json.dumps(pair)}\n")
    (folder / "train.toml").write_text(
        f'folder = "{folder}/run"\npairs = "{folder}/pairs"\n[task]\nbatch = 1\nheld_back = 2\n'
        "[fit]\nsteps = 1\nwarmup = 0\nvalidate_every = 1\ntensorboard = true\n"
    )
    (folder / "library" / "clips.lance").mkdir(parents=True)


def mistake(app: Typer, name: str, folder: Path) -> str | None:
    """What is wrong with a command's answer, if anything."""
    arguments, wanted = CALLS[name]
    words = name.split(" --")[0].split()
    done = CliRunner().invoke(
        app, [*words, *(argument.replace("OUT", str(folder)) for argument in arguments)]
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"{name}: a traceback, {done.exception!r}"
    if wanted == WORKS:
        return None if done.exit_code == 0 else f"{name}: exit code {done.exit_code}, {done.stderr}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.exit_code != 2 or len(errors) != 1 or done.stderr.count("\n") != 1:
        return f"{name}: exit code {done.exit_code}, need 2 with one sentence, got {done.stderr!r}"
    named = re.findall(r"pip install 'echoreel\[(\w+)\]'", errors[0])
    return (
        None if named == [wanted] * (wanted != REFUSES_INPUT) else f"{name}: need {wanted}, got {errors[0]}"
    )


def main() -> None:
    if "--block-extras" in sys.argv:
        sys.meta_path[:] = [WithoutExtras([*sys.meta_path])]
    from echoreel.cli import app

    called = {name.split(" --")[0] for name in CALLS}
    mistakes = [f"{name}: say in CALLS how to call it" for name in sorted({*commands(app)} - called)]
    mistakes += [f"{name}: there is no such command any more" for name in sorted(called - {*commands(app)})]
    if not mistakes:
        with tempfile.TemporaryDirectory() as folder:
            prepared(Path(folder))
            mistakes = [found for name in CALLS if (found := mistake(app, name, Path(folder)))]
    sys.exit("\n".join(mistakes) or 0)


if __name__ == "__main__":
    main()
