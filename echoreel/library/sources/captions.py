"""Captions of ordinary videos: beside them, in a table, or in their names. Text only, nothing is decoded.

In this order: a line of the folder's table (`captions.*` or `metadata.*`: .csv, .jsonl), a file of the same
name (.txt, .json, .srt), the words of the file's name, those of its folder's name (as of class folders).
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from echoreel.common.errors import EchoReelError
from echoreel.media.reference_video import CAPTION_BYTES

CAPTION_KEYS = ("caption", "text", "description", "prompt", "sentence", "title", "name")
FILE_KEYS = ("file_name", "filename", "file", "path", "video_path", "video", "clip")
TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
TABLE_ROWS = 1_000_000  # of a folder's own table; larger ones are catalogues
SRT_TIMES = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d+)\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d+)")
NAME_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\w*\d\w*")


@dataclass(frozen=True, slots=True)
class Said:
    """A caption and the part of the video that it tells of, in seconds."""

    text: str
    start: float = 0.0
    end: float = inf


class FolderCaptions:
    """Captions of the videos below a folder."""

    def __init__(self, folder: Path) -> None:
        """Reads the folder's table, if there is one. Raises EchoReelError for one without the columns."""
        self.folder = folder
        self._table: dict[str, str] = {}
        for name in TABLES:
            if (folder / name).is_file():
                self._table |= _table(folder / name)

    def of(self, path: Path) -> list[Said]:
        """What is said of a video below the folder; empty where nothing is."""
        return self.written(path) or _named(path, self.folder)

    def written(self, path: Path) -> list[Said]:
        """What somebody wrote of it; empty where there are only names."""
        name = path.relative_to(self.folder).as_posix()
        text = self._table.get(name) or self._table.get(path.name)
        return [Said(text)] if text else beside(path)


def beside(path: Path) -> list[Said]:
    """What the .txt, .json or .srt of the same name says; empty without one, or where it cannot be read."""
    readers = {".txt": _plain, ".json": _from_json, ".srt": _subtitles}
    for suffix, read in readers.items():
        file = path.with_suffix(suffix)
        try:
            with file.open("rb") as stream:
                text = stream.read(CAPTION_BYTES).decode("utf-8-sig", errors="replace")
        except OSError:
            continue
        if found := [said for said in read(text) if said.text]:
            return found
    return []


def caption_of(said: list[Said], start: float, end: float) -> str:
    """The caption of the part from `start` to `end`, seconds: of what is said in it, most of it first."""
    shares = [(min(each.end, end) - max(each.start, start), each.text) for each in said]
    inside = dict.fromkeys(text for share, text in shares if share > 0.25 * min(1.0, end - start))
    return " ".join(inside)


def _plain(text: str) -> list[Said]:
    return [Said(_line(text))]


def _from_json(text: str) -> list[Said]:
    """{"caption": …}, a string, or a list of {"caption", "start", "end"}."""
    try:
        data = json.loads(text)
    except ValueError:
        return []
    entries = data if isinstance(data, list) else [data]
    return [said for entry in entries if (said := _entry(entry)) is not None]


def _entry(entry: Any) -> Said | None:
    if isinstance(entry, str):
        return Said(_line(entry))
    if not isinstance(entry, dict):
        return None
    texts = [value for key in CAPTION_KEYS if isinstance(value := entry.get(key), str)]
    try:
        start, end = float(entry.get("start", 0.0)), float(entry.get("end", inf))
    except (TypeError, ValueError):
        start, end = 0.0, inf
    return Said(_line(texts[0]), start, end) if texts else None


def _subtitles(text: str) -> list[Said]:
    """The blocks of an .srt file."""
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = block.strip().splitlines()
        for number, line in enumerate(lines):
            if times := SRT_TIMES.search(line):
                h1, m1, s1, f1, h2, m2, s2, f2 = times.groups()
                start = int(h1) * 3600 + int(m1) * 60 + float(f"{s1}.{f1}")
                end = int(h2) * 3600 + int(m2) * 60 + float(f"{s2}.{f2}")
                said = re.sub(r"<[^>]*>", "", " ".join(lines[number + 1 :]))
                found.append(Said(_line(said), start, end))
                break
    return found


def _named(path: Path, folder: Path) -> list[Said]:
    """The words of the file's name, or of the folders' that it is in where the name is only a number."""
    inner = [parent.name for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    for name in (path.stem, *inner):
        words = [word.lower() for word in NAME_WORDS.findall(name.replace("_", " ")) if word.isalpha()]
        words = [word for word in words if len(word) > 1]
        if sum(map(len, words)) > 3:
            return [Said(" ".join(words))]
    return []


def _table(path: Path) -> dict[str, str]:
    """File name -> caption. Raises EchoReelError for a table that has no such columns."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = json_rows(stream) if path.suffix == ".jsonl" else csv.DictReader(stream)
            found = {}
            for row in islice(rows, TABLE_ROWS):
                lower = {str(key).lower(): value for key, value in row.items() if isinstance(value, str)}
                file = next((lower[key] for key in FILE_KEYS if key in lower), None)
                text = next((lower[key] for key in CAPTION_KEYS if key in lower), None)
                if file is None or text is None:
                    raise EchoReelError(
                        f"{path.name}: got columns {', '.join(map(str, row))}; need a file ({FILE_KEYS[0]}) "
                        f"and a {CAPTION_KEYS[0]}; rename them, or the table if it is none of captions"
                    )
                found[file] = _line(text)
    except (OSError, csv.Error) as error:
        raise EchoReelError(f"{path}: cannot be read ({error}); need a table of captions") from error
    return found


def json_rows(stream: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in stream:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _line(text: str) -> str:
    return " ".join(text.split())
