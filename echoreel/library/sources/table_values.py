"""What tables of captions say: known columns, captions, times; what is told of rows that cannot be used."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from echoreel.common.errors import EchoReelError
from echoreel.common.loading_errors import hint_of

CAPTION_CHARACTERS = 4_000  # kept of a caption
LOCATION_CHARACTERS = 2_000  # longer paths and URLs are refused
CAPTION_KEYS = ("caption", "text", "description", "prompt", "sentence", "captions", "title", "name", "label")
ID_KEYS = ("video_id", "youtube_id", "ytid", "vid", "id")  # of a video that is named so, without its suffix
KNOWN = {  # what is meant: column names in lower case, the surest first
    "caption": CAPTION_KEYS,
    "location": (
        *("path", "file", "file_name", "filename", "file_path", "filepath", "video_path", "video_file"),
        *("video", "video_name", "clip", "contenturl", "url", "video_url", "link"),
        *ID_KEYS,
    ),
    "start": ("start", "start_time", "start_sec", "start_seconds", "time_start", "clip_start"),
    "end": ("end", "end_time", "end_sec", "end_seconds", "time_end", "clip_end"),
}
NEEDED = ("caption", "location")
UNKNOWN_TIMES = ("", "nan", "none", "null", "n/a")
LONGEST = 1e6  # seconds; a time past it is none


class CatalogueError(EchoReelError):
    """A catalogue is missing, is none, or has no columns of captions and places."""


@contextmanager
def reading(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Within, what goes wrong while a table is read is a CatalogueError; these kinds of error, too."""
    known: tuple[type[Exception], ...] = (OSError, ValueError, *kinds)
    try:
        yield
    except CatalogueError:
        raise
    except known as error:
        raise CatalogueError(f"{path.name}: cannot be read ({hint_of(error)}); export it again") from error


class ColumnMissing(CatalogueError):
    """A table has no column of captions or of places; `header` are those that it has."""

    header: list[str]


@dataclass
class Refused:
    """Rows left out, and what was changed in others: how many for which reason, the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # on the whole table

    def add(self, why: str, number: int, example: str, count: int = 1) -> None:
        self.counts[why] += count
        self.examples.setdefault(why, f"row {number}, {example[:120]!r}")

    def note(self, what: str, number: int, example: str, count: int = 1) -> None:
        """For rows that are taken all the same."""
        self.notes[what] += count
        self.examples.setdefault(what, f"row {number}, {example[:120]!r}")

    def lines(self) -> list[str]:
        """For people, such as "12 rows without a caption (the first: row 3, 'clips/7.mp4')"."""
        both = [*self.counts.items(), *self.notes.items()]
        return self.remarks + [f"{count} rows {why} (the first: {self.examples[why]})" for why, count in both]


def is_id(column: str) -> bool:
    """Whether a column of places says names of videos, without their suffix."""
    return plain_name(column) in ID_KEYS


def choose_columns(name: str, header: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """What is meant -> the column that says it. Raises CatalogueError where one is missing."""
    if unknown := {*given} - {*KNOWN}:
        raise CatalogueError(f"got columns for {', '.join(sorted(unknown))}; known are {', '.join(KNOWN)}")
    by_name = {plain_name(column): column for column in reversed(header)}
    shown = ", ".join(column[:40] for column in header[:20]) or "an empty file"
    chosen = {}
    for meant, names in KNOWN.items():
        found = given.get(meant) or next((by_name[each] for each in names if each in by_name), None)
        if found is not None and found not in header:
            raise CatalogueError(f"{name}: no column {found!r}; it has {shown}")
        if found is None and meant in NEEDED:
            error = ColumnMissing(
                f"{name}: no column that is known as {meant} in {shown}; name it with --column {meant}=NAME"
            )
            error.header = header
            raise error
        if found is not None:
            chosen[meant] = found
    return chosen


def seconds(value: Any) -> float | None:
    """Seconds from a number, "7.5" or "0:00:07.5"; None for nothing. Raises ValueError for no time."""
    if isinstance(value, list | dict):
        raise ValueError("no time")
    if value is None or (text := str(value).strip().lower()) in UNKNOWN_TIMES:
        return None
    if not re.fullmatch(r"(\d{1,9}:){0,2}\d{1,20}(\.\d{0,400})?(e[+-]?\d{1,3})?", text):
        raise ValueError("no time")
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    if not isfinite(total) or total > LONGEST:
        raise ValueError("no time")
    return total


def captions_in(value: Any) -> list[str]:
    """The captions that a value is: one, or several in a list."""
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if isinstance(each, str | int | float) and each == each]  # no NaN


def plain_name(column: str) -> str:
    """A column's name in lower case, with underscores."""
    return re.sub(r"[\s-]+", "_", column.strip().lower())
