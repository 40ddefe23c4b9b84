"""Data sets of actions as they lie on disk -> clips: the class of each, and the source it was cut from."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from echoreel.common.errors import EchoReelError
from echoreel.common.places import check_ends, small_file
from echoreel.common.text import json_value, table_rows
from echoreel.library.actions.find_action import find_action
from echoreel.library.sources.captions import NAME_WORDS
from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.find_videos import find_videos
from echoreel.library.sources.table_values import LONGEST

Layout: TypeAlias = Literal["folders", "hmdb51", "kinetics", "ssv2", "table", "ucf101"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
LABEL_BYTES = 256 * 2**20  # of a .json with labels
SOURCES = {  # the part of a file's name that says which video it was cut from
    "hmdb51": re.compile(r"^(.*)_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$"),
    "ucf101": re.compile(r"^(.*_g\d+)_c\d+$"),
}


@dataclass(frozen=True)
class DatasetClip:
    """One clip, as `choose_pairs` reads it."""

    root: str
    path: str
    label: str
    caption: str
    video: str
    start: float = 0.0
    end: float | None = None
    motion: float | None = None
    look: tuple[float, ...] | None = None

    @property
    def phrase(self) -> str:
        return self.label


def caption_for(label: str) -> str:
    """ "ApplyEyeMakeup" or "apply_eye_makeup" -> a sentence."""
    words = [word.lower() for word in NAME_WORDS.findall(label.replace("_", " "))] or [label]
    return f"a person {'' if words and words[0].endswith('ing') else 'doing '}{' '.join(words)}"


def _folders(layout: str, root: Path, lost: Counter[str]) -> Iterator[DatasetClip]:
    """A folder per class, with clips in it or in folders below."""
    pattern = SOURCES.get(layout)
    for path in _videos(root, lost):
        inner = path.relative_to(root)
        if len(inner.parts) < 2:
            lost["in no class's folder"] += 1
            continue
        named = pattern.match(path.stem) if pattern else None
        if pattern and not named:
            lost[f"with a name that is not of {layout}"] += 1
            continue
        label = inner.parts[-2] if pattern else inner.parts[0]
        video = named[1] if named else str(inner)
        yield DatasetClip(str(root.absolute()), str(inner), label, caption_for(label), f"{label}/{video}")


def _kinetics(root: Path, lost: Counter[str]) -> Iterator[DatasetClip]:
    """Its csv (label, youtube_id, time_start, time_end) and files ID_START_END.mp4 or ID.mp4; or folders."""
    tables = [root] if root.is_file() else sorted(root.glob("*.csv"))
    if not tables:
        yield from _folders("folders", root, lost)
        return
    root = tables[0].parent
    files = {path.stem: path for path in _videos(root, lost)}
    for row in (row for table in tables for row in _csv(table, lost)):
        try:
            label, name = row["label"], row["youtube_id"]
            start, end = float(row["time_start"]), float(row["time_end"])
            if not (label and 0 <= start < end <= LONGEST):
                raise ValueError
        except (KeyError, ValueError, TypeError):
            lost["rows without label, youtube_id and possible times"] += 1
            continue
        cut, whole = files.get(f"{name}_{int(start):06d}_{int(end):06d}"), files.get(name)
        path = cut or whole
        if path is None:
            lost["rows whose video is not there"] += 1
            continue
        times: dict[str, Any] = {} if cut else {"start": start, "end": end}
        inner = str(path.relative_to(root))
        yield DatasetClip(str(root.absolute()), inner, label, caption_for(label), name, **times)


def _ssv2(root: Path, lost: Counter[str]) -> Iterator[DatasetClip]:
    """Something-Something V2: its json (id, label, template) and ID.webm."""
    files = {path.stem: path for path in _videos(root, lost)}
    for row in (row for table in sorted(root.rglob("*.json")) for row in _json(table)):
        name, text = str(row.get("id")), row.get("label")
        label = str(row.get("template") or text)
        if name not in files or not isinstance(text, str):
            lost["rows whose video is not there" if isinstance(text, str) else "rows without a label"] += 1
            continue
        caption = text if text.startswith("a person") else f"a person {text[:1].lower()}{text[1:]}"
        inner = str(files[name].relative_to(root))
        yield DatasetClip(str(root.absolute()), inner, re.sub(r"[\[\]]", "", label), caption, name)


def _table(path: Path, lost: Counter[str]) -> Iterator[DatasetClip]:
    """A table of captions and paths: the action is found in the caption."""
    batches, refused = read_catalogue(path)
    for batch in batches:
        for row in batch.to_pylist():
            action = find_action(row["caption"])
            if action is None:
                lost["no action in the caption"] += 1
                continue
            times = {"start": row["start"] or 0.0, "end": row["end"]}
            place = f"{row['root']}/{row['path']}"
            label = " ".join(action.lemmas)
            yield DatasetClip(row["root"], row["path"], label, row["caption"], place, **times)
    lost.update({f"rows {why}": count for why, count in refused.counts.items()})


READERS: dict[str, Callable[[Path, Counter[str]], Iterable[DatasetClip]]] = {
    "folders": partial(_folders, "folders"),
    "hmdb51": partial(_folders, "hmdb51"),
    "kinetics": _kinetics,
    "ssv2": _ssv2,
    "table": _table,
    "ucf101": partial(_folders, "ucf101"),
}
_CLASSES = "need a folder per class with its clips in it"
NEED = {
    "folders": _CLASSES,
    "hmdb51": f"{_CLASSES}, named as published",
    "kinetics": f"need its .csv beside the videos; or {_CLASSES}",
    "ssv2": "need its .json files and its .webm files in one folder",
    "table": "need a .csv, .jsonl or .parquet with captions and paths",
    "ucf101": f"{_CLASSES}, named v_Class_g01_c01.avi",
}


def _videos(root: Path, lost: Counter[str]) -> Sequence[Path]:
    """Raises EchoReelError for what is no folder."""
    if not root.is_dir():
        raise EchoReelError(f"{root}: there is no such folder; give the data set's")

    def passed_over(path: Path, why: str, count: int) -> None:
        if count:  # 0: a file that is no video
            lost[f"videos skipped: {why}"] += count

    return [*find_videos(root, passed_over)]


def _csv(path: Path, lost: Counter[str]) -> Iterator[dict[str, str]]:
    """Its rows; a table that cannot be read is counted as lost, from the first row on that cannot."""
    try:
        check_ends(path)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            yield from table_rows(stream)
    except (OSError, csv.Error) as error:
        lost[f"tables that cannot be read ({error.strerror if isinstance(error, OSError) else error})"] += 1


def _json(path: Path) -> list[dict[str, Any]]:
    """Its objects, if it is a list; other files of a data set are none of labels."""
    try:
        rows = json_value(small_file(path, LABEL_BYTES).decode())
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
