"""Tables of captions (.csv, .tsv, .jsonl, .json) -> rows. A bad row never costs the others.

Columns are known by name. Of .json files these layouts are known: a list of objects, MSR-VTT's `videos` and
`sentences`, and names of videos with their captions, also with `timestamps` (as ActivityNet Captions).
Over 300 lines since each layout of others is one short reader beside the rest.
"""

import csv
import re
import reprlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from echoreel.common.places import regular_file
from echoreel.common.text import COLUMNS, decoded, encoding_of, json_value
from echoreel.library.sources.table_values import (
    KNOWN,
    NEEDED,
    CatalogueError,
    Refused,
    captions_in,
    choose_columns,
    is_id,
    plain_name,
    reading,
)

LINE_CHARACTERS = 16 * 2**20
RECORD_LINES = 1_000  # of one CSV record, whose values may hold line ends
BLOCK = 4_096  # lines that are read at once where each is one good record, as nearly always
RECORD_CHARACTERS = 16 * 2**20  # of one CSV record of several lines
RETRIES = 1_000  # of records read again from their second line, since a quote was not closed
RETRIED_CHARACTERS = 128 * 2**20  # of all of them together
JSON_BYTES = 64 * 2**20  # of a .json file, which is read at once
SAMPLE = 2**20  # bytes that tell the encoding
HEAD = 100  # rows whose keys are the columns


class Rows(NamedTuple):
    """Some rows of a table, by columns: their numbers (lines' in files of lines) and what they say."""

    numbers: Sequence[int]
    location: Sequence[Any]
    caption: Sequence[Any]
    start: Sequence[Any]
    end: Sequence[Any]


class Table(NamedTuple):
    """Rows, what was left out of them so far, and whether they name videos by their ids."""

    rows: Iterator[Rows]
    refused: Refused
    by_id: bool


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> Table:
    """The rows of a table, whoever wrote it.

    columns: as of `read_catalogue`. Raises CatalogueError for a file that is not a table, or lacks a column.
    """
    refused = Refused()
    regular_file(path, CatalogueError, "a table")
    with reading(path, csv.Error):
        with path.open("rb") as stream:
            head = stream.read(SAMPLE)
        encoding = encoding_of(head, whole=len(head) < SAMPLE)
        refused.remarks += [encoding.note] if encoding.note else []
        read = {".csv": _separated, ".tsv": _separated}.get(path.suffix.lower(), _objects)
        chosen, rows = read(path, encoding.name, refused, dict(columns or {}))
        return Table(rows, refused, is_id(chosen["location"]))


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
) -> tuple[dict[str, str], Iterator[Rows]]:
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
    if len(header) > COLUMNS:
        raise CatalogueError(
            f"{path.name}: has {len(header)} columns, at most {COLUMNS}; keep those of captions"
        )
    chosen = choose_columns(path.name, header, given)
    at = [header.index(chosen[meant]) if meant in chosen else len(header) for meant in Rows._fields[1:]]

    def rows() -> Iterator[Rows]:
        csv.field_size_limit(LINE_CHARACTERS)  # of the process: others set a smaller one
        with reading(path, csv.Error), path.open(encoding=encoding, errors="replace", newline="") as stream:
            lines = islice(_lines(stream, refused), above, None)
            for numbers, records in _records(lines, above + 1, delimiter, len(header), refused):
                columns = [*zip(*records, strict=True), [None] * len(records)]
                yield Rows(numbers, *(columns[column] for column in at))

    return chosen, rows()


def _delimiter(first: str, given: Mapping[str, str]) -> str:
    """What separates the columns in the first line: gives the most that are known, else the most columns."""
    known = {name for names in KNOWN.values() for name in names} | {
        plain_name(name) for name in given.values()
    }

    def fits(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([first], delimiter=delimiter), [])
        return len(known.intersection(map(plain_name, names))), len(names)

    return max(",;\t|", key=fits)


def _records(
    lines: Iterator[str], number: int, delimiter: str, width: int, refused: Refused
) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
    """Some CSV records at a time with the numbers of their first lines, the first of all being `number`.

    A quote that is not closed makes one record of many lines: then the first line alone is refused.
    """
    again, taken = deque[str](), list[str]()
    retries, left, ended = RETRIES, RETRIED_CHARACTERS, False

    def feed() -> Iterator[str]:
        nonlocal ended
        size = 0
        while len(taken) < RECORD_LINES and size < RECORD_CHARACTERS:
            line = again.popleft() if again else next(lines, None)
            if line is None:
                ended = True
                return
            taken.append(line)
            size += len(line)
            yield line

    while not ended or again:
        if not again:
            again.extend(islice(lines, BLOCK))
            if not again:
                return
            if (records := _plain_records([*again], delimiter, width)) is not None:
                told = [number + line for line, record in enumerate(records) if record]
                if told:
                    yield told, [*filter(None, records)]
                number += len(again)
                again.clear()
                continue
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
                yield [number], [record[:width]]
            elif "".join(taken).strip():
                is_retried = retries > 0 and left > 0
                why = "with another number of columns than the first line"
                refused.add(why, number, taken[0].strip(), 1 if is_retried else len(taken))
                if len(taken) > 1 and is_retried:
                    retries -= 1
                    left -= sum(map(len, taken))
                    again.extendleft(reversed(taken[1:]))
                    del taken[1:]
                    ended = False
            number += len(taken)
            taken.clear()


def _plain_records(lines: list[str], delimiter: str, width: int) -> list[list[str]] | None:
    """The records of lines that are each a good one, or empty; None where any is not."""
    try:
        records = [*csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return None
    is_plain = len(records) == len(lines) and all(len(record) in (0, width) for record in records)
    return records if is_plain else None


def _is_closed(lines: list[str], delimiter: str) -> bool:
    """Whether the quotes of a record of several lines end where its values do."""
    try:
        return len([*csv.reader(lines, delimiter=delimiter, strict=True)]) == 1
    except csv.Error:
        return False


def _objects(
    path: Path, encoding: str, refused: Refused, given: dict[str, str]
) -> tuple[dict[str, str], Iterator[Rows]]:
    """Rows of JSON, whole or a line each; many call the one by the other's name."""
    found = _whole(path) if path.suffix.lower() == ".json" else None

    def rows(refused: Refused) -> Iterator[tuple[int, Any]]:
        return _json_lines(path, encoding, refused) if found is None else enumerate(_entries(found), 1)

    keys = (key for _, row in islice(rows(Refused()), HEAD) if isinstance(row, dict) for key in row)
    chosen = choose_columns(path.name, list(dict.fromkeys(keys)), given)
    names = [chosen.get(meant) for meant in Rows._fields[1:]]

    def read() -> Iterator[tuple[Any, ...]]:
        with reading(path, csv.Error):
            for number, row in rows(refused):
                if not isinstance(row, dict):
                    refused.add("that are not JSON objects", number, _shown(row))
                elif row.get("type") == "image":
                    refused.add("of an image, not of a video", number, _shown(row))
                else:
                    location, caption, *times = (None if name is None else row.get(name) for name in names)
                    location = None if isinstance(location, dict | list) else location
                    for each in captions_in(caption) or [""]:
                        yield number, location, each, *times

    return chosen, _by_columns(read())


def _shown(row: Any) -> str:
    """The beginning of a row; of one that nests, only its upper levels, however deep it is."""
    return row if isinstance(row, str) else reprlib.repr(row)


def _by_columns(rows: Iterator[tuple[Any, ...]]) -> Iterator[Rows]:
    while some := [*islice(rows, BLOCK)]:
        yield Rows(*zip(*some, strict=True))


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
        plain = {*map(plain_name, data)}
        lists = [
            rows for rows in data.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        ]
        if all(plain.intersection(KNOWN[meant]) for meant in NEEDED):
            yield data  # one row alone
        else:
            yield from lists[0] if len(lists) == 1 else _by_name(data)


def _without_sentences(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Videos of MSR-VTT that no sentence is about: rows without a caption."""
    named = (row.get("video_id") for row in data["sentences"] if isinstance(row, dict))
    told = {name for name in named if isinstance(name, str)}
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
