"""What the tabs share: the folder of results, the jobs, the library's place, and how errors are told."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from PIL import Image

from echoreel.common.errors import EchoReelError
from echoreel.generation.jobs import Jobs
from echoreel.generation.results_folder import ResultsFolder
from echoreel.media.images import Frames, fitted

EMBEDDED = "embedded"
MOST_REFERENCES = 4
UNDONE = "That did not work"
VIDEO_FILES = [
    *(".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif", ".webp", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv"),
    ".safetensors",  # reference files
]
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Shared:
    """One of a page. thumbnails: a folder of this process's own, whose files the page may show."""

    results: ResultsFolder
    jobs: Jobs
    bases: list[str]
    adapters: list[str]
    library: Path
    thumbnails: Path
    bench: Path


def number(label: str, placeholder: str, **options: Any) -> gr.Textbox:
    """A number that may be left out. Gradio's own field turns an empty one into 0 as soon as it is seen."""
    return gr.Textbox(label=label, placeholder=placeholder, max_lines=1, min_width=120, **options)


def as_text(value: float | None) -> str:
    """What such a field shows."""
    return "" if value is None else f"{value:.15g}"


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (EchoReelError, OSError) as error:
        raise gr.Error(str(error), title=UNDONE, print_exception=False) from error


def told(function: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
    """The function, whose errors of the user are shown as their one sentence."""

    @wraps(function)
    def telling(*values: Arguments.args, **named: Arguments.kwargs) -> Value:
        with _telling():
            return function(*values, **named)

    return telling


def told_on_the_way(function: Callable[Arguments, Iterator[Value]]) -> Callable[Arguments, Iterator[Value]]:
    """As `told`, of a function that yields what it has so far."""

    @wraps(function)
    def telling(*values: Arguments.args, **named: Arguments.kwargs) -> Iterator[Value]:
        with _telling():
            yield from function(*values, **named)

    return telling


def scaled(frame: Frames, height: int) -> Frames:
    """A frame (H, W, 3) so many pixels high."""
    return fitted(frame, (height, max(2, round(frame.shape[1] * height / frame.shape[0]))))


def picture(frame: Frames, height: int) -> str:
    """A frame (H, W, 3), so many pixels high, as an address that holds it."""
    buffer = io.BytesIO()
    Image.fromarray(scaled(frame, height)).save(buffer, "webp", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
