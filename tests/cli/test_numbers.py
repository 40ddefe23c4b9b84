"""Every number that the command line takes has limits: what is beyond them is told, with the option."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from helpers.places import ROOT
from typer.main import get_command
from typer.testing import CliRunner

from echoreel.cli import app

VALUES = ("0", "-1", str(10**30), "9" * 5000, "nan", "inf", "1e-300", "1e308")
CARTWHEEL = str(ROOT / "echoreel/assets/cartwheel.mp4")
CALLS = {  # what is right ends in a sentence about NONE, which there is not, before any work
    "evaluate": ["NONE.toml"],
    "generate": ["a man running", "-r", CARTWHEEL, "-o", "a.mp4", "--library", "NONE", "--base", "NONE"],
    "library add": ["library", "NONE"],
    "library export": ["NONE", "copy"],
    "library list": ["NONE"],
    "library search": ["NONE", "a man running"],
    "measure": [CARTWHEEL],
    "prepare clips": ["clips", "--motions", "NONE"],
    "prepare dataset": ["ucf101", "NONE", "pairs"],
    "prepare manifest": ["NONE", "pairs.jsonl"],
    "reference save": ["a.safetensors", "-r", CARTWHEEL, "--base", "NONE"],
    "prepare pairs": ["pairs.jsonl", "pairs", "--base", "NONE"],
    "train": ["NONE.toml", "--dry-run"],
    "ui": ["--no-browser"],
}
MAY_BE_NOTHING = {"seed", "holdout", "start", "strength", "guidance_scale", "scale", "still", "similar"}
MAY_BE_NOTHING |= {"min_score"}
MAY_BE_TINY = {*MAY_BE_NOTHING, "fps", "shortest"} - {"seed", "holdout"}


def numeric_options(command: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(command, option) of every option that is a number."""
    for inner, found in getattr(command, "commands", {}).items():
        yield from numeric_options(found, f"{name} {inner}".strip())
    kinds = get_type_hints(command.callback) if command.callback else {}
    for option in command.params:
        kind = kinds.get(option.name)
        if {int, float} & {
            kind,
            *get_args(kind),
            *(inner for each in get_args(kind) for inner in get_args(each)),
        }:
            yield name, max(option.opts, key=len)


OPTIONS = [*numeric_options(get_command(app))]
assert ("generate", "--strength") in OPTIONS


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=[" ".join(each) for each in OPTIONS])
def test_numbers_out_of_range_are_told(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = option.strip("-").replace("-", "_")
    for value in VALUES:
        done = CliRunner().invoke(app, [*command.split(), *CALLS[command], f"{option}={value}"])
        right = (value == "0" and name in MAY_BE_NOTHING) or (value == "1e-300" and name in MAY_BE_TINY)
        assert isinstance(done.exception, SystemExit), (value, done.exception)
        assert done.exit_code == 2, (value, done.stderr)
        assert ("NONE" if right else name) in done.stderr.replace("-", "_"), (value, done.stderr)
        assert not [*tmp_path.iterdir()]
