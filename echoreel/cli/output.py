"""How every command of the command line speaks: results, progress, errors, exit codes."""

import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from traceback import walk_tb
from types import FrameType
from typing import Any

import typer

from echoreel.cli.loudness import LOUDNESS, hush, spoken
from echoreel.common.errors import EchoReelError
from echoreel.common.text import printable
from echoreel.common.versions import UntestedVersion

__all__ = ["Answer", "answering", "explained", "hush", "stop"]

STOPPED = 130  # exit code after Ctrl-C, SIGTERM or a closed terminal
LONGEST_LINE = 300  # characters of a message that nobody wrote for people
VARIABLES = re.compile("(PY)?TORCH|HF_|HUGGINGFACE|TRANSFORMERS|DIFFUSERS|SAFETENSORS|ACCELERATE|CUDA|LANCE")
OUT_OF_MEMORY = ("OutOfMemoryError", "can't allocate memory", "Unable to allocate")  # of torch, of NumPy


_STOPS: list[int] = []  # signals that asked the command to stop


def stop(number: int, _: FrameType | None) -> None:
    """Handles a signal as Ctrl-C, and remembers it: libraries below turn a KeyboardInterrupt into errors of
    their own, which would be told as damaged files."""
    _STOPS.append(number)
    raise KeyboardInterrupt


class Answer:
    """What a command has to tell: lines for people, or facts for machines."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.facts: dict[str, Any] = {}
        self.code = 0  # that the command exits with, where nothing fails

    def say(self, line: str) -> None:
        if not self.as_json:
            print(printable(line), flush=True)  # typer's echo would write UTF-8 to an ASCII terminal

    def note(self, line: str) -> None:
        """A line that is not a result of the command; `--quiet` leaves it out."""
        if LOUDNESS.get() != "quiet":
            self.say(line)

    @contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """A spinner on stderr, on terminals only."""
        from rich.console import Console

        with Console(stderr=True).status(doing) if sys.stderr.isatty() else nullcontext():
            yield


@contextmanager
def answering(as_json: bool, debug: bool) -> Iterator[Answer]:
    """The one net below every command: what fails is told in a sentence, facts become JSON.

    Exit code 2 for what the user can mend, 1 for what nobody foresaw, 130 when stopped. With `debug` the
    error is raised as it is. A reader that closed the pipe is typer's business: exit code 1 without a word.
    """
    answer = Answer(as_json)
    _STOPS.clear()
    if LOUDNESS.get() != "verbose":
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read once, when transformers is imported
    try:
        with spoken():
            yield answer
        if _STOPS:  # and somebody went on all the same
            raise KeyboardInterrupt
        if answer.as_json:
            typer.echo(json.dumps(answer.facts))
        if answer.code:
            raise typer.Exit(answer.code)
    except (typer.Exit, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        stopped = _STOPS and not isinstance(error, KeyboardInterrupt)
        sentence, code = explained(KeyboardInterrupt() if stopped else error)
        typer.secho(printable(sentence), fg="red" if code != STOPPED else None, err=True)
        raise typer.Exit(code) from None


def explained(error: BaseException) -> tuple[str, int]:
    """What failed, in one sentence, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return _line(error) or "stopped", STOPPED
    if isinstance(error, OSError) and "temporary directory" in str(error):
        return "error: no folder for temporary files; set TMPDIR to one that you may write to", 2
    if isinstance(error, EchoReelError | OSError):
        return f"error: {_line(error)}", 2
    if isinstance(error, MemoryError) or any(each in f"{type(error)} {error}" for each in OUT_OF_MEMORY):
        return "error: not enough memory; use fewer frames, a smaller size or batch, or close programs", 1
    if isinstance(error, RecursionError):
        return "error: a file nests deeper than can be read; run again with --debug to see which", 1
    if variable := _refused_variable(error):
        return f"error: a package refuses the environment variable {variable}; correct it, or unset it", 2
    what = f"{type(error).__name__}: {_line(error)}".removesuffix(": ")
    if len(what) > LONGEST_LINE:
        what = f"{what[:LONGEST_LINE]}…"
    return f"error: this is a fault of EchoReel: {what}; run again with --debug for the trace", 1


def _refused_variable(error: BaseException) -> str | None:
    """A variable of the environment that a package cannot read while it is imported, with its value."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    if not any("importlib" in frame.f_code.co_filename for frame in frames):
        return None
    said = str(error)
    for name, value in os.environ.items():
        if VARIABLES.match(name) and (name in said or repr(value) in said):
            return f"{name}={value[:LONGEST_LINE]}"
    return None


def plain_warnings() -> None:
    """From now on, our warning of an untested version is a line without the place in the code."""
    usual = warnings.showwarning

    def shown(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UntestedVersion):
            typer.echo(f"note: {message}", err=True)
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = shown


def _line(error: BaseException) -> str:
    """The error's message on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
