"""Tables of captions (.csv, .tsv, .jsonl, .json) -> rows. A bad row never costs the others.

Columns are known by name. Of .json files these layouts are known: a list of objects, MSR-VTT's `videos` and
`sentences`, and names of videos with their captions, also with `timestamps` (as ActivityNet Captions).
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from echoreel.common.errors import EchoReelError
from echoreel.common.places import regular_file
from echoreel.common.text import decoded, encoding_of, json_value

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
LINE_CHARACTERS = 16 * 2**20
RECORD_LINES = 1_000  # of one CSV record, whose values may hold line ends
RETRIES = 1_000  # of records read again from their second line, since a quote was not closed
JSON_BYTES = 64 * 2**20  # of a .json file, which is read at once
SAMPLE = 2**20  # bytes that tell the encoding
HEAD = 100  # rows whose keys are the columns


class CatalogueError(EchoReelError):
    """A catalogue is missing, is none, or has no columns of captions and places."""


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
    return _plain(column) in ID_KEYS


class Row(NamedTuple):
    """A row of a table: its number (a line's in files of lines) and what it says, as it stands there."""

    number: int
    location: Any
    caption: Any
    start: Any = None
    end: Any = None


class Table(NamedTuple):
    """Rows, what was left out of them so far, and whether they name videos by their ids."""

    rows: Iterator[Row]
    refused: Refused
    by_id: bool


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> Table:
    """The rows of a table, whoever wrote it.

    columns: as of `read_catalogue`. Raises CatalogueError for a file that is no table, or lacks a column.
    """
    refused = Refused()
    regular_file(path, CatalogueError, "a table")
    with _told(path):
        with path.open("rb") as stream:
            head = stream.read(SAMPLE)
        encoding = encoding_of(head, whole=len(head) < SAMPLE)
        refused.remarks += [encoding.note] if encoding.note else []
        read = {".csv": _separated, ".tsv": _separated}.get(path.suffix.lower(), _objects)
        chosen, rows = read(path, encoding.name, refused, dict(columns or {}))
        return Table(rows, refused, is_id(chosen["location"]))


def choose_columns(name: str, header: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """What is meant -> the column that says it. Raises CatalogueError where one is missing."""
    if unknown := {*given} - {*KNOWN}:
        raise CatalogueError(f"got columns for {', '.join(sorted(unknown))}; known are {', '.join(KNOWN)}")
    by_name = {_plain(column): column for column in reversed(header)}
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


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong while a table is read, as CatalogueError."""
    try:
        yield
    except CatalogueError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise CatalogueError(f"{path.name}: cannot be read ({error}); export it again") from error


def _plain(column: str) -> str:
    return re.sub(r"[\s-]+", "_", column.strip().lower())


def _lines(stream: TextIO, refused: Refused) -> Iterator[str]:
    """Lines by LF, CR or both alone; one that is too long is refused and empty."""
    number = 0
    while line := stream.readline(LINE_CHARACTERS):
        number += 1
        if len(line) == LINE_CHARACTERS and line[-1] not in "\r\n":
            refused.add(f"longer than {LINE_CHARACTERS} characters", number, line[:120])
            while (rest := stream.readline(LINE_CHARACTERS)) and rest[-1] not in "\r\n":
                pass
            line = "\n"
        yield line


def _separated(
    path: Path, encoding: str, refused: Refused, given: dict[str, str]
) -> tuple[dict[str, str], Iterator[Row]]:
    """Rows of CSV, whatever separates its values."""
    csv.field_size_limit(LINE_CHARACTERS)
    above, declared = 1, ""
    with path.open(encoding=encoding, errors="replace", newline="") as stream:
        for line in _lines(stream, Refused()):
            if found := re.fullmatch(r"\ufeff?sep=(.)", line.strip()):  # as Excel writes it
                declared = found[1]
            elif line.strip():
                break
            above += 1
        else:
            line = ""
    delimiter = declared or _delimiter(line, given)
    header = [name.strip(" \ufeff") for name in next(csv.reader([line], delimiter=delimiter), [])]
    while header and not header[-1]:
        header.pop()
    chosen = choose_columns(path.name, header, given)
    at = [header.index(chosen[meant]) if meant in chosen else None for meant in Row._fields[1:]]

    def rows() -> Iterator[Row]:
        with _told(path), path.open(encoding=encoding, errors="replace", newline="") as stream:
            lines = _lines(stream, refused)
            data = islice(lines, above, None)
            for number, record in _records(data, above + 1, delimiter, len(header), refused):
                yield Row(number, *(None if column is None else record[column] for column in at))

    return chosen, rows()


def _delimiter(first: str, given: Mapping[str, str]) -> str:
    """What separates the columns in the first line: gives the most that are known, else the most columns."""
    known = {name for names in KNOWN.values() for name in names} | {_plain(name) for name in given.values()}

    def fits(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([first], delimiter=delimiter), [])
        return len(known.intersection(map(_plain, names))), len(names)

    return max(",;\t|", key=fits)


def _records(
    lines: Iterator[str], number: int, delimiter: str, width: int, refused: Refused
) -> Iterator[tuple[int, list[str]]]:
    """CSV records with the number of their first line, the first of all being `number`.

    A quote that is not closed makes one record of many lines: then the first line alone is refused.
    """
    again, taken = deque[str](), list[str]()
    retries, ended = RETRIES, False

    def feed() -> Iterator[str]:
        nonlocal ended
        while len(taken) < RECORD_LINES:
            line = again.popleft() if again else next(lines, None)
            if line is None:
                ended = True
                return
            taken.append(line)
            yield line

    while not ended or again:
        reader = csv.reader(feed(), delimiter=delimiter)
        good = True
        while good:
            try:
                record = next(reader, [])
            except csv.Error:  # a value over the limit
                record = []
            good = len(record) >= width and not any(map(str.strip, record[width:]))
            good = good and (len(taken) == 1 or _is_closed(taken, delimiter))
            if good:
                yield number, record[:width]
            elif "".join(taken).strip():
                refused.add("with another number of columns than the first line", number, taken[0].strip())
                if len(taken) > 1 and retries:
                    retries -= 1
                    again.extendleft(reversed(taken[1:]))
                    del taken[1:]
                    ended = False
            number += len(taken)
            taken.clear()


def _is_closed(lines: list[str], delimiter: str) -> bool:
    """Whether the quotes of a record of several lines end where its values do."""
    try:
        return len([*csv.reader(lines, delimiter=delimiter, strict=True)]) == 1
    except csv.Error:
        return False


def _objects(
    path: Path, encoding: str, refused: Refused, given: dict[str, str]
) -> tuple[dict[str, str], Iterator[Row]]:
    """Rows of JSON, whole or a line each; many call the one by the other's name."""
    found = _whole(path) if path.suffix.lower() == ".json" else None

    def rows(refused: Refused) -> Iterator[tuple[int, Any]]:
        return _json_lines(path, encoding, refused) if found is None else enumerate(_entries(found), 1)

    keys = (key for _, row in islice(rows(Refused()), HEAD) if isinstance(row, dict) for key in row)
    chosen = choose_columns(path.name, list(dict.fromkeys(keys)), given)
    names = [chosen.get(meant) for meant in Row._fields[1:]]

    def read() -> Iterator[Row]:
        with _told(path):
            for number, row in rows(refused):
                if not isinstance(row, dict):
                    refused.add("that are no JSON object", number, str(row))
                elif row.get("type") == "image":
                    refused.add("of an image, not of a video", number, str(row))
                else:
                    location, caption, *times = (None if name is None else row.get(name) for name in names)
                    location = None if isinstance(location, dict | list) else location
                    for each in captions_in(caption) or [""]:
                        yield Row(number, location, each, *times)

    return chosen, read()


def _json_lines(path: Path, encoding: str, refused: Refused) -> Iterator[tuple[int, Any]]:
    with path.open(encoding=encoding, errors="replace", newline="") as stream:
        for number, line in enumerate(_lines(stream, refused), 1):
            if line.strip():
                try:
                    yield number, json_value(line.lstrip("\ufeff"))
                except ValueError:
                    yield number, line


def _whole(path: Path) -> Any:
    """What a .json file says; None where it has an object on each line. Raises CatalogueError."""
    if regular_file(path, CatalogueError, "a table").st_size > JSON_BYTES:
        raise CatalogueError(f"{path.name}: over {JSON_BYTES} bytes; write it as JSON lines (.jsonl)")
    text = decoded(path.read_bytes())[0].lstrip("\ufeff")
    try:
        return json_value(text)
    except ValueError as error:
        try:
            if isinstance(json_value(text.lstrip().split("\n")[0]), dict):
                return None
        except ValueError:
            pass
        raise CatalogueError(f"{path.name}: not JSON ({error}); export it again") from error


def _entries(data: Any) -> Iterator[Any]:
    """The rows in a JSON file of a known layout."""
    if isinstance(data, list):
        yield from data
    elif isinstance(data, dict) and isinstance(data.get("sentences"), list):
        yield from data["sentences"]
        yield from _without_sentences(data)
    elif isinstance(data, dict):
        plain = {*map(_plain, data)}
        lists = [
            rows for rows in data.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        ]
        if all(plain.intersection(KNOWN[meant]) for meant in NEEDED):
            yield data  # one row alone
        else:
            yield from lists[0] if len(lists) == 1 else _by_name(data)


def _without_sentences(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Videos of MSR-VTT that no sentence is about: rows without a caption."""
    told = {str(row.get("video_id")) for row in data["sentences"] if isinstance(row, dict)}
    videos = data.get("videos")
    for video in videos if isinstance(videos, list) else []:
        name = video.get("video_id") if isinstance(video, dict) else None
        if isinstance(name, str) and name not in told:
            yield {"video_id": name, "caption": None}


def _by_name(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of an object that has a key for each video."""
    for name, said in data.items():
        if not isinstance(said, dict):
            yield {"video_id": name, "caption": said}
        elif isinstance(times := said.get("timestamps"), list) and isinstance(said.get("sentences"), list):
            for time, sentence in zip(times, said["sentences"], strict=False):
                start, end = time if isinstance(time, list) and len(time) == 2 else ("?", "?")
                yield {"video_id": name, "caption": sentence, "start": start, "end": end}
        else:
            yield {"video_id": name, **said}
