"""`--quiet` and `--verbose` work on every command, after it and before it."""

import logging
import sys
import warnings
from pathlib import Path

import pytest
import torch
from helpers.every_command import commands
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from echoreel import __version__
from echoreel.cli import app
from echoreel.cli.commands import Commands
from echoreel.cli.loudness import LOUDNESS
from echoreel.cli.output import Answer
from echoreel.common.errors import EchoReelError

noisy = Commands()


@noisy.command()
def work(answer: Answer, fail: bool = False) -> None:
    answer.note("a note")
    print("a bar", file=sys.stderr)
    Console(stderr=True).print("a line of progress")
    logging.getLogger("somebody").warning("a library's note")
    logging.getLogger("echoreel.there").info("loaded from there")
    warnings.warn("a warning", DeprecationWarning, stacklevel=1)
    if fail:
        raise EchoReelError("it failed")
    answer.say("a result")


@noisy.command()
def other(answer: Answer) -> None: ...


def test_quiet_leaves_errors_and_results() -> None:
    done = CliRunner().invoke(noisy, ["work", "--quiet"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "a result\n", "")
    failed = CliRunner().invoke(noisy, ["work", "-q", "--fail"])
    assert (failed.exit_code, failed.stdout, failed.stderr) == (2, "", "error: it failed\n")
    assert LOUDNESS.get() == "normal"


def test_verbose_adds_versions_what_is_loaded_and_warnings() -> None:
    with pytest.warns(DeprecationWarning, match="a warning"):  # pytest takes it from stderr
        done = CliRunner().invoke(noisy, ["work", "-v"])
    assert done.stdout == "a note\na result\n"
    first, *lines, last = done.stderr.splitlines()
    assert f"s  echoreel {__version__}, Python 3." in first
    assert f"torch {torch.__version__}" in first
    assert sum("s  loaded from there" in line for line in lines) == 1
    assert last.endswith(" s  done")
    with pytest.warns(DeprecationWarning, match="a warning"):
        plain = CliRunner().invoke(noisy, ["work"])
    assert plain.stdout == "a note\na result\n"
    assert "loaded from there" not in plain.stderr


def test_both_at_once_are_refused() -> None:
    for words in (["-q", "-v", "doctor"], ["doctor", "-q", "-v"]):
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.stderr) == (2, "error: got --quiet and --verbose; leave one out\n")


def test_every_command_has_both() -> None:
    root = get_command(app)
    for name in commands(app):
        command = root
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        assert {"quiet", "verbose"} <= {option.name for option in command.params}, name


def test_the_real_models_say_where_they_came_from(tmp_path: Path) -> None:
    call = ["generate", "a person running", "--steps", "1", "-o", str(tmp_path / "a.gif")]
    loud = CliRunner().invoke(app, ["--verbose", *call, "-r", "echoreel/assets/cartwheel.mp4"])
    assert loud.exit_code == 0, loud.stderr
    weights = Path("echoreel/weights").resolve()
    assert f"s  base: AnimateDiffPipeline from {weights / 'base'}, in float32 on " in loud.stderr
    assert f"s  adapter: from {weights / 'adapter'}, loaded in " in loud.stderr
    quiet = CliRunner().invoke(app, ["--quiet", *call])
    files = [tmp_path / "a.gif", tmp_path / "a.json"]
    assert (quiet.stdout, quiet.stderr) == (
        "".join(f"wrote {path} over the one that was there\n" for path in files),
        "",
    )
