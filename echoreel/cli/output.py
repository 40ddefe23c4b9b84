"""How every command of the command line speaks: results, progress, errors, exit codes."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import typer

from echoreel.common.errors import EchoReelError
from echoreel.common.text import printable


class Answer:
    """What a command has to tell: lines for people, or facts for machines."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.facts: dict[str, Any] = {}

    def say(self, line: str) -> None:
        if not self.as_json:
            typer.echo(printable(line))

    @contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """A spinner on stderr, on terminals only."""
        from rich.console import Console

        with Console(stderr=True).status(doing) if sys.stderr.isatty() else nullcontext():
            yield


@contextmanager
def answering(as_json: bool, debug: bool) -> Iterator[Answer]:
    """Turn the user's errors into one sentence and exit code 2, Ctrl-C into 130, facts into JSON."""
    answer = Answer(as_json)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read once, when transformers is imported
    try:
        yield answer
    except (EchoReelError, OSError) as error:
        if debug or isinstance(error, BrokenPipeError):
            raise
        typer.secho(f"error: {printable(_sentence(error))}", fg="red", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as stop:
        if debug:
            raise
        typer.echo(str(stop) or "stopped", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(answer.facts))


def hush() -> None:
    """No notes of the model libraries about what nobody needs here, and no bars while models load."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries: tuple[Any, ...] = (of_diffusers, of_transformers)
    for library in libraries:
        library.disable_progress_bar()
    for name in ("configuration_utils", "pipelines.pipeline_utils"):  # our errors say it in one sentence
        logging.getLogger(f"diffusers.{name}").setLevel(logging.ERROR)


def _sentence(error: Exception) -> str:
    """The error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
