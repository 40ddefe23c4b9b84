"""Catalogues of captions (CSV, Parquet, JSON) -> batches of rows: where each video is, what it shows.

Columns are known by name: those of WebVid (`name`, `contentUrl`), of OpenVid (`video`, `caption`), of
Kinetics, and the usual ones. A name without a suffix is looked for below the root. Paths stay inside the
catalogue's root; URLs are only recorded. A bad row is counted, never fatal.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel.common.extras import needs
from echoreel.common.places import resolved
from echoreel.common.text import NO_TEXT, one_line
from echoreel.library.sources.find_videos import CATALOGUES, composed, find_videos, is_text
from echoreel.library.sources.read_parquet import Batch, read_parquet
from echoreel.library.sources.read_tables import Rows, read_table
from echoreel.library.sources.table_values import (
    CAPTION_CHARACTERS,
    LOCATION_CHARACTERS,
    CatalogueError,
    Refused,
    is_id,
    seconds,
)
from echoreel.media.decoding import SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 131_072  # of a batch
URL = r"^(?i:https?)://"
OUTSIDE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\~]|^[A-Za-z]:|://|[\x00\r\n]"  # of a relative path
PLAIN_PLACE = rf"^[\x20-\x5b\x5d-\x7e]*(?i:{'|'.join(map(re.escape, SUFFIXES))})$"  # ASCII, without backslash
ODD_CAPTION = r"^\s|\s$|\s\s|[\x00-\x1f]"  # of ASCII: not on one line, or with other than single spaces


def is_catalogue(path: Path) -> bool:
    """Whether a file is named as one."""
    return path.suffix.lower() in CATALOGUES


def read_catalogue(
    path: Path, root: Path | None = None, columns: Mapping[str, str] | None = None
) -> tuple["Iterator[pa.RecordBatch]", Refused]:
    """Batches of (root, path, caption, start, end), and what was left out of them so far.

    root: the folder that paths are relative to and stay in; the catalogue's own unless given. In a batch
    `root` is empty where `path` is a URL. columns: "caption", "location", "start" or "end" to the name of the
    column that says it. start, end: float32 seconds, null where unknown. Raises CatalogueError, MissingExtra.
    """
    with needs("pyarrow", "a catalogue"):
        import pyarrow  # noqa: F401
    top = resolved(root or path.parent)
    if not is_text(str(top)):
        raise CatalogueError(f"{top}: its name is not UTF-8; rename the folder")
    if path.suffix.lower() == ".parquet":
        (chosen, batches), refused = read_parquet(path, columns or {}), Refused()
        by_id = is_id(chosen["location"])
    else:
        rows, refused, by_id = read_table(path, columns)
        batches = _in_batches(rows)
    below = _Below(top, by_id)
    return (_row_batch(batch, below, refused) for batch in batches), refused


def inside(root: Path, path: str) -> Path:
    """The file at `path` below `root`, links followed. Raises CatalogueError where it leads out."""
    found = resolved(root / path)
    if not found.is_relative_to(resolved(root)):
        raise CatalogueError(f"{path}: points outside its catalogue's folder {root}; move the video there")
    return found


class _Below:
    """The videos below a root, which catalogues name in their own ways."""

    def __init__(self, root: Path, by_id: bool) -> None:
        self.root, self.by_id = root, by_id

    def named(self, name: str, start: float | None, end: float | None) -> tuple[str, bool] | None:
        """The path of the video of a name without a suffix, and whether it is the part alone (Kinetics')."""
        if start is not None and end is not None:
            part = self._paths.get(composed(f"{name}_{int(start):06d}_{int(end):06d}"))
            if part is not None:
                return part, True
        path = self._paths.get(composed(name))
        return None if path is None else (path, False)

    def as_stored(self, path: str) -> str:
        """The path with the slashes and accents of this disk."""
        plain = path.replace("\\", "/").replace("\ufeff", "")
        names = (path, plain, composed(plain), unicodedata.normalize("NFD", plain))
        return next((name for name in names if os.path.exists(self.root / name)), plain)

    @cached_property
    def _paths(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for video in find_videos(self.root, lambda *_: None):
            found.setdefault(composed(video.stem), video.relative_to(self.root).as_posix())
        return found


def _in_batches(some_rows: Iterator[Rows]) -> Iterator[Batch]:
    def batch() -> Batch:
        numbers, locations, captions, starts, ends = columns
        return Batch(numbers, _strings(locations), _strings(captions), starts, ends)

    columns = tuple[list[Any], ...]([] for _ in Rows._fields)
    for rows in some_rows:
        for column, part in zip(columns, rows, strict=True):
            column += part
        if len(columns[0]) >= ROWS:
            yield batch()
            columns = tuple([] for _ in Rows._fields)
    if columns[0]:
        yield batch()


def _strings(values: Iterable[Any]) -> "pa.Array":
    """As strings; missing ones are empty, halves of characters become \ufffd."""
    import pyarrow as pa

    texts = ["" if value is None else str(value) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([NO_TEXT.sub("\ufffd", text) for text in texts], pa.string())


def _row_batch(rows: Batch, below: _Below, refused: Refused) -> "pa.RecordBatch":
    """Rows that can be used, as (root, path, caption, start, end)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    root = below.root.as_posix()
    caption = _caption(rows, refused)
    start, end, no_times = _times(rows)
    place = pc.utf8_trim_whitespace(rows.location)
    is_url = pc.match_substring_regex(place, URL)
    place = pc.if_else(
        pc.starts_with(place, f"{root}/"), pc.utf8_slice_codeunits(place, len(root) + 1), place
    )
    plain = is_url if pc.all(is_url).as_py() else pc.match_substring_regex(place, PLAIN_PLACE)
    place, lost = _found(place, pc.invert(pc.or_(is_url, plain)), below, start, end)
    keep = pa.array([True] * len(place))
    for why, bad in (
        ("without a place", pc.equal(place, "")),
        ("without a caption", pc.equal(caption, "")),
        ("with too long a place", pc.greater(pc.utf8_length(place), LOCATION_CHARACTERS)),
        ("whose place is not text", pc.match_substring(place, "\ufffd")),
        ("whose path leads out of its folder", pc.and_not(pc.match_substring_regex(place, OUTSIDE), is_url)),
        (f"whose video is not below {root}; give its folder with --root", lost),
        ("with impossible times", no_times),
    ):
        if count := pc.sum(pc.and_(keep, bad)).as_py():
            first = pc.index(pc.and_(keep, bad), pa.scalar(True)).as_py()
            refused.add(
                why, rows.numbers[first], rows.location[first].as_py() or caption[first].as_py(), count
            )
        keep = pc.and_not(keep, bad)
    columns = [pc.if_else(is_url, "", root), place, caption]
    columns += [pa.array(times, pa.float32()) for times in (start, end)]
    return pa.RecordBatch.from_arrays(columns, names=["root", "path", "caption", "start", "end"]).filter(keep)


def _found(
    place: "pa.Array", odd: "pa.Array", below: _Below, start: list[float | None], end: list[float | None]
) -> tuple["pa.Array", "pa.Array"]:
    """The places with odd ones as they are on the disk, and which of them name no video there.

    Where a name is that of a part alone, its `start` and `end` become None.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    mended, lost = [], [False] * len(place)
    for row in pc.indices_nonzero(odd).to_pylist():
        path = below.as_stored(place[row].as_py())
        if named := below.named(path, start[row], end[row]):
            path, is_part = named
            start[row], end[row] = (None, None) if is_part else (start[row], end[row])
        else:
            lost[row] = below.by_id
        mended.append(path)
    found = pc.replace_with_mask(place, odd, pa.array(mended, pa.string())) if mended else place
    return found, pa.array(lost, pa.bool_())


def _times(rows: Batch) -> tuple[list[float | None], list[float | None], "pa.Array"]:
    """Start and end of each row, and which rows say what cannot be."""
    import pyarrow as pa

    if all(time is None for times in (rows.start, rows.end) for time in times):
        return rows.start, rows.end, pa.array([False] * len(rows.start))
    starts, ends, wrong = list[float | None](), list[float | None](), list[bool]()
    for row in zip(rows.start, rows.end, strict=True):
        try:
            start, end = map(seconds, row)
        except ValueError:
            start = end = -1.0
        wrong.append(end is not None and end <= (start or 0))
        starts.append(start)
        ends.append(end)
    return starts, ends, pa.array(wrong, pa.bool_())


def _caption(rows: Batch, refused: Refused) -> "pa.Array":
    """On one line, not too long; only those that are not so already are touched, since most are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    caption = rows.caption
    for what, odd in (
        (f"whose caption was cut to {CAPTION_CHARACTERS} characters", _longer(caption)),
        ("whose caption has bytes that are not text", pc.match_substring(caption, "\ufffd")),
    ):
        if count := pc.sum(odd).as_py():
            first = pc.index(odd, pa.scalar(True)).as_py()
            refused.note(what, rows.numbers[first], caption[first].as_py(), count)
    odd = pc.or_(pc.match_substring_regex(caption, ODD_CAPTION), pc.invert(pc.string_is_ascii(caption)))
    odd = pc.or_(odd, _longer(caption))
    if not pc.any(odd).as_py():
        return caption
    plain = [one_line(text[:CAPTION_CHARACTERS]) for text in caption.filter(odd).to_pylist()]
    return pc.replace_with_mask(caption, odd, pa.array(plain, pa.string()))


def _longer(caption: "pa.Array") -> "pa.Array":
    import pyarrow.compute as pc

    return pc.greater(pc.utf8_length(caption), CAPTION_CHARACTERS)
