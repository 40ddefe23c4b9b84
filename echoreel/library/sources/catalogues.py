"""Catalogues of captions (CSV, Parquet, JSON lines) -> batches of rows: where each video is, what it shows.

Columns are known by name: those of WebVid (`name`, `contentUrl`), of OpenVid (`video`, `caption`), and the
usual ones. Paths stay inside the catalogue's root; URLs are only recorded. A bad row is counted, never fatal.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel.common.errors import EchoReelError
from echoreel.common.extras import needs
from echoreel.library.sources.captions import json_rows

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
ROWS = 131_072  # of a batch
CAPTION_CHARACTERS = 4_000  # kept of a caption
LOCATION_CHARACTERS = 2_000  # longer paths and URLs are refused
KNOWN = {  # what is meant: column names in lower case, the surest first
    "caption": ("caption", "text", "description", "prompt", "sentence", "title", "name"),
    "location": (
        *("path", "file", "file_name", "filename", "video_path", "video", "clip", "contenturl"),
        *("url", "video_url", "link"),
    ),
    "start": ("start", "start_time", "start_sec", "start_seconds"),
    "end": ("end", "end_time", "end_sec", "end_seconds"),
}
NEEDED = ("caption", "location")
URL = r"^(?i:https?)://"
OUTSIDE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\~]|^[A-Za-z]:|://|[\x00\r\n]"  # of a relative path


class CatalogueError(EchoReelError):
    """A catalogue is missing, is none, or has no columns of captions and places."""


@dataclass
class Refused:
    """Rows that were left out: how many for which reason, and the first example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, why: str, count: int, example: str) -> None:
        if count:
            self.counts[why] += count
            self.examples.setdefault(why, example[:120])

    def lines(self) -> list[str]:
        """For people, such as "12 rows without a caption (the first: clips/7.mp4)"."""
        return [
            f"{count} rows {why} (the first: {self.examples[why]!r})" for why, count in self.counts.items()
        ]


def is_catalogue(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_catalogue(
    path: Path, root: Path | None = None, columns: Mapping[str, str] | None = None
) -> tuple["Iterator[pa.RecordBatch]", Refused]:
    """Batches of (root, path, caption, start, end), and what was left out of them so far.

    root: the folder that paths are relative to and stay in; the catalogue's own unless given. In a batch
    `root` is empty where `path` is a URL. columns: "caption", "location", "start" or "end" to the name of the
    column that says it. start, end: float32 seconds, null where unknown. Raises CatalogueError, MissingExtra.
    """
    _arrow()
    if not path.is_file():
        raise CatalogueError(f"{path}: there is no such file; give a .csv, .parquet or .jsonl catalogue")
    refused = Refused()
    chosen = _choose(path, _header(path), dict(columns or {}))
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines}
    read = readers.get(path.suffix.lower(), _csv)
    top = (root or path.parent).resolve()
    return (_row_batch(batch, top, refused) for batch in read(path, chosen, refused)), refused


def inside(root: Path, path: str) -> Path:
    """The file at `path` below `root`, links followed. Raises CatalogueError where it leads out."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise CatalogueError(f"{path}: leads out of its catalogue's folder {root}; move the video there")
    return found


def _arrow() -> None:
    """Raises MissingExtra without pyarrow."""
    with needs("pyarrow", "a catalogue"):
        import pyarrow  # noqa: F401


def _header(path: Path) -> list[str]:
    """The catalogue's columns. Raises CatalogueError for what is none."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                rows = json_rows(islice(stream, 100))
                return list(dict.fromkeys(key for row in rows for key in row))
            return next(csv.reader(stream, delimiter=_delimiter(path)), [])
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise CatalogueError(
            f"{path.name}: cannot be read ({str(error).splitlines()[0]}); export it again"
        ) from error


def _choose(path: Path, header: list[str], given: dict[str, str]) -> dict[str, str]:
    """What is meant -> the column that says it. Raises CatalogueError where one is missing."""
    unknown = {*given} - {*KNOWN}
    if unknown:
        raise CatalogueError(f"got columns for {', '.join(sorted(unknown))}; known are {', '.join(KNOWN)}")
    by_name = {name.strip().lower(): name for name in reversed(header)}
    chosen = {}
    for meant, names in KNOWN.items():
        found = given.get(meant) or next((by_name[name] for name in names if name in by_name), None)
        if found is not None and found not in header:
            raise CatalogueError(f"{path.name}: no column {found!r}; it has {', '.join(header)}")
        if found is None and meant in NEEDED:
            raise CatalogueError(
                f"{path.name}: no column that is known as {meant} in {', '.join(header) or 'an empty file'}; "
                f"name it with --column {meant}=NAME"
            )
        if found is not None:
            chosen[meant] = found
    return chosen


def _csv(path: Path, chosen: dict[str, str], refused: Refused) -> "Iterator[dict[str, pa.Array]]":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def broken(row: arrow_csv.InvalidRow) -> str:
        refused.add("with another number of columns than the first line", 1, row.text or "")
        return "skip"

    try:
        reader = arrow_csv.open_csv(
            path,
            arrow_csv.ReadOptions(block_size=16 * 2**20),
            arrow_csv.ParseOptions(
                delimiter=_delimiter(path), newlines_in_values=True, invalid_row_handler=broken
            ),
            arrow_csv.ConvertOptions(
                include_columns=[*chosen.values()],
                column_types=dict.fromkeys(chosen.values(), pa.binary()),
                strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield {meant: batch.column(name) for meant, name in chosen.items()}
    except pa.ArrowInvalid as error:
        raise CatalogueError(f"{path.name}: not a table ({str(error).splitlines()[0]})") from error


def _parquet(path: Path, chosen: dict[str, str], refused: Refused) -> "Iterator[dict[str, pa.Array]]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=[*chosen.values()]):
                yield {meant: batch.column(name) for meant, name in chosen.items()}
    except (pa.ArrowInvalid, OSError) as error:
        raise CatalogueError(
            f"{path.name}: damaged ({str(error).splitlines()[0]}); download it again"
        ) from error


def _json_lines(path: Path, chosen: dict[str, str], refused: Refused) -> "Iterator[dict[str, pa.Array]]":
    import pyarrow as pa

    def text(value: Any) -> str | None:
        return None if value is None or isinstance(value, dict | list) else str(value)

    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        while lines := list(islice(stream, ROWS)):
            rows = []
            for line in lines:
                try:
                    row = json.loads(line)
                    rows.append([text(row.get(name)) for name in chosen.values()])
                except (ValueError, AttributeError):
                    refused.add("that are no JSON object", bool(line.strip()), line)
            columns = zip(*rows, strict=True) if rows else [[] for _ in chosen]
            yield {
                meant: pa.array(values, pa.string()) for meant, values in zip(chosen, columns, strict=True)
            }


def _row_batch(columns: "dict[str, pa.Array]", root: Path, refused: Refused) -> "pa.RecordBatch":
    """Rows that can be used, as (root, path, caption, start, end)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = pc.utf8_trim_whitespace(_text(columns["location"]))
    caption = _caption(_text(columns["caption"]))
    own = f"{root.as_posix()}/"
    place = pc.if_else(
        pc.starts_with(place, own), pc.replace_substring(place, own, "", max_replacements=1), place
    )
    is_url = pc.match_substring_regex(place, URL)
    keep = pa.array([True] * len(place))
    for why, bad in (
        ("without a place", pc.equal(place, "")),
        ("without a caption", pc.equal(caption, "")),
        ("with too long a place", pc.greater(pc.utf8_length(place), LOCATION_CHARACTERS)),
        ("whose path leads out", pc.and_not(pc.match_substring_regex(place, OUTSIDE), is_url)),
    ):
        if count := pc.sum(pc.and_(keep, bad)).as_py():
            first = pc.index(pc.and_(keep, bad), pa.scalar(True)).as_py()
            refused.add(why, count, place[first].as_py() or caption[first].as_py())
        keep = pc.and_not(keep, bad)
    roots = pc.if_else(is_url, "", root.as_posix())
    start, end = (_seconds(columns.get(name), len(place)) for name in ("start", "end"))
    batch = pa.RecordBatch.from_arrays(
        [roots, place, caption, start, end], names=["root", "path", "caption", "start", "end"]
    )
    return batch.filter(keep)


def _caption(column: "pa.Array") -> "pa.Array":
    """On one line, not too long; only those that are not so already are touched, since most are."""
    import pyarrow.compute as pc

    odd = pc.or_(
        pc.match_substring_regex(column, r"^\s|\s$|\s\s|[^\S ]"),
        pc.greater(pc.binary_length(column), CAPTION_CHARACTERS),
    )
    if not pc.any(odd).as_py():
        return column
    short = pc.utf8_slice_codeunits(column.filter(odd), 0, CAPTION_CHARACTERS)
    plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(short, r"\s+", " "))
    return pc.replace_with_mask(column, odd, plain)


def _text(column: "pa.Array") -> "pa.Array":
    """As strings without nulls; bytes that are no UTF-8 become question marks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowInvalid:
        values = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
            for value in column.to_pylist()
        ]
        return pa.array(values, pa.string())
    except pa.ArrowNotImplementedError as error:
        raise CatalogueError(f"got a column of {column.type}, need text; export it again") from error


def _seconds(column: "pa.Array | None", count: int) -> "pa.Array":
    """float32 seconds from 0 on, null where there are none; "0:00:07.5" is read, too."""
    import pyarrow as pa

    if column is None:
        return pa.nulls(count, pa.float32())
    return pa.array([_second(value) for value in _text(column).to_pylist()], pa.float32())


def _second(text: str) -> float | None:
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?(e[+-]?\d+)?", text.strip()):
        return None
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
