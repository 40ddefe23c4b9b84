"""`--quiet` and `--verbose`: what they change, in one place.

Quiet: errors and results alone, so stderr is dropped while a command works. Verbose: versions, what was
loaded from where, times, and the notes and warnings of the libraries below.
"""

import io
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar
from importlib.metadata import version
from platform import python_version
from typing import Any, Literal, TypeAlias

import typer

from echoreel import __version__

Loudness: TypeAlias = Literal["quiet", "normal", "verbose"]
LOUDNESS: ContextVar[Loudness] = ContextVar("loudness", default="normal")
"""Of the command that runs now."""

TOLD = ("torch", "diffusers", "transformers", "av")  # packages whose versions `--verbose` prints


@contextmanager
def as_loud_as(quiet: bool, verbose: bool) -> Iterator[None]:
    """What these options ask for; without them all stays as it is. Exits with code 2 when both are given."""
    if quiet and verbose:
        typer.secho("error: got --quiet and --verbose; leave one out", fg="red", err=True)
        raise typer.Exit(2)
    token = LOUDNESS.set("quiet" if quiet else "verbose" if verbose else LOUDNESS.get())
    try:
        yield
    finally:
        LOUDNESS.reset(token)


@contextmanager
def spoken() -> Iterator[None]:
    """What happens inside is as loud as the command that runs."""
    with warnings.catch_warnings():
        if LOUDNESS.get() == "quiet":
            warnings.simplefilter("ignore")
            with redirect_stderr(_Nowhere()):
                yield
        elif LOUDNESS.get() == "verbose":
            warnings.simplefilter("default")
            with _telling():
                yield
        else:
            yield


def hush() -> None:
    """No notes of the model libraries about what nobody needs here, and no bars while models load."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries: tuple[Any, ...] = (of_diffusers, of_transformers)
    for library in libraries:
        library.disable_progress_bar()
    loud = LOUDNESS.get() == "verbose"
    for name in ("configuration_utils", "pipelines.pipeline_utils", "models.modeling_utils"):
        level = logging.NOTSET if loud else logging.CRITICAL  # our errors say it in one sentence
        logging.getLogger(f"diffusers.{name}").setLevel(level)
    logging.getLogger("huggingface_hub").setLevel(logging.NOTSET if loud else logging.ERROR)


class _Nowhere(io.TextIOBase):
    """A stream that drops what is written. Handlers of libraries may keep it, so it never closes."""

    def write(self, text: str) -> int:
        return len(text)

    def close(self) -> None:
        pass


@contextmanager
def _telling() -> Iterator[None]:
    """EchoReel's log goes to stderr, each line with the seconds since the start."""
    logger, handler = logging.getLogger("echoreel"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SinceStart())
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # else a handler of the root, if there is one, says it twice
    logger.addHandler(handler)
    try:
        packages = ", ".join(f"{name} {version(name)}" for name in TOLD)
        logger.info("echoreel %s, Python %s, %s", __version__, python_version(), packages)
        yield
        logger.info("done")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _SinceStart(logging.Formatter):
    """A line such as "  1.2 s  base: ..."."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter()

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{time.perf_counter() - self.began:6.1f} s  {level}{record.getMessage()}"
