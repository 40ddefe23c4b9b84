"""Captions of ordinary videos: beside them, in a table, or in their names. Text only, nothing is decoded.

In this order: a line of the folder's table (`captions.*` or `metadata.*`: .csv, .tsv, .jsonl, .json), what a
reference file says of itself, a file of the same name (.txt, .json, .srt, .vtt), the words of the file's
name, those of its folder's name (as of class folders). Several captions of one video all count.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from echoreel.common.errors import EchoReelError
from echoreel.common.places import regular_file
from echoreel.common.text import decoded, json_value, one_line
from echoreel.library.sources.find_videos import SIDECARS, TABLES, Tell, composed, is_video, video_names
from echoreel.library.sources.read_tables import read_table
from echoreel.library.sources.subtitles import subtitles
from echoreel.library.sources.table_values import (
    CAPTION_CHARACTERS,
    CAPTION_KEYS,
    KNOWN,
    CatalogueError,
    ColumnMissing,
    Refused,
    captions_in,
    seconds,
)
from echoreel.media.reference_file import is_reference_file, read_reference

SIDECAR_BYTES = 2 * 2**20  # of a caption file
NAME_WORDS = re.compile(  # "JumpRope", "TV" and "v2"; other scripts by their letters
    r"[A-Z]?(?:[a-z]|(?![A-Z])[^\W\d_])+|[A-Z]+(?![a-z])|\w*\d\w*"
)


@dataclass(frozen=True, slots=True)
class Said:
    """A caption and the part of the video that it tells of, in seconds."""

    text: str
    start: float = 0.0
    end: float = inf

    @property
    def is_of_all(self) -> bool:
        return self.start == 0 and self.end == inf


def silent(place: Path, why: str, count: int) -> None:
    """For those who ask of one video alone."""


@dataclass(eq=False)
class _Listed:
    """What tables say of one video."""

    name: str
    said: list[Said]
    used: bool = False


class FolderCaptions:
    """Captions of the videos below a folder."""

    def __init__(self, folder: Path, tell: Tell = silent) -> None:
        """Reads the folder's tables. Raises CatalogueError for one without the columns.

        tell: is told what is wrong with a table or a caption file, which never costs the others.
        """
        self.folder, self._tell = folder, tell
        self._listed: dict[str, _Listed] = {}
        self._beside: dict[Path, dict[str, list[Path]]] = {}
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            if name.lower() in TABLES:
                self._read_table(folder / name)

    def of(self, path: Path) -> list[Said]:
        """What is said of a video below the folder; empty where nothing is."""
        return self.heard(path) or _named(path, self.folder)

    def heard(self, path: Path) -> list[Said]:
        """What somebody wrote of it; what is wrong with that is told."""
        return self.written(path, self._tell)

    def written(self, path: Path, tell: Tell = silent) -> list[Said]:
        """What somebody wrote of it; empty where there are only names."""
        name = composed(path.relative_to(self.folder).as_posix())
        inner = name.rpartition("/")[2]
        for each in (name, inner, _loose(name), _loose(inner), os.path.splitext(inner)[0]):
            if each in self._listed:
                self._listed[each].used = True
                return self._listed[each].said
        if path.parent not in self._beside:
            self._beside[path.parent] = _sidecars(path.parent)
        return _stored(path) or _beside(path, self._beside[path.parent], tell)

    def tell_unused(self) -> None:
        """Tell of captions in tables that are of no video that was asked for."""
        used = {listed.name for listed in self._listed.values() if listed.used}
        left = [name for name in dict.fromkeys(e.name for e in self._listed.values()) if name not in used]
        if left:
            more = f"; {len(left) - 1} more like it" if len(left) > 1 else ""
            self._tell(self.folder / left[0], f"a table has its caption, but there is no such video{more}", 0)

    def _read_table(self, path: Path) -> None:
        """Raises CatalogueError for a table that lacks the columns."""
        try:
            table = read_table(path)
            for rows in table.rows:
                for row in zip(*rows, strict=True):
                    self._take(*row, table.refused)
            for why in table.refused.lines():
                self._tell(path, why, 0)
        except ColumnMissing as error:
            if error.header:
                columns = ", ".join(column[:40] for column in error.header[:20])
                raise CatalogueError(
                    f"{path.name}: got columns {columns}; need a file (file_name) and a caption; "
                    "rename them, or the table, if it does not hold captions"
                ) from error
            self._tell(path, "holds no rows; it is skipped", 0)
        except CatalogueError as error:
            self._tell(path, f"{error}; it is skipped", 0)

    def _take(self, number: int, location: Any, caption: Any, start: Any, end: Any, refused: Refused) -> None:
        name = composed(str(location or "").strip().replace("\\", "/")).removeprefix("./")
        name = name.removeprefix(f"{self.folder.as_posix()}/")
        said, problems = _said(caption, start, end)
        if not name:
            refused.note("without a place", number, str(caption))
        for what in problems if name else ():
            refused.note(what, number, name)
        for each in said if name else ():
            self._list(name, name, each)
            if not is_video(name) and 0 < each.end < inf:  # Kinetics' names of parts
                self._list(f"{name}_{int(each.start):06d}_{int(each.end):06d}", name, Said(each.text))

    def _list(self, key: str, name: str, said: Said) -> None:
        listed = self._listed.setdefault(key, _Listed(name, []))
        self._listed.setdefault(_loose(key), listed)
        if said not in listed.said:
            listed.said.append(said)


def _loose(name: str) -> str:
    """A file's name with its suffix in lower case."""
    stem, suffix = os.path.splitext(name)
    return stem + suffix.lower()


def beside(path: Path, tell: Tell = silent) -> list[Said]:
    """What a caption file beside a video says; empty without one, or where it cannot be read."""
    return _beside(path, _sidecars(path.parent), tell)


def caption_of(said: list[Said], start: float, end: float) -> str:
    """The caption of the part from `start` to `end`, seconds: of what is said in it, most of it first."""
    shares = [(min(each.end, end) - max(each.start, start), each.text) for each in said]
    inside = dict.fromkeys(text for share, text in shares if share > 0.25 * min(1.0, end - start))
    return " ".join(inside)


def captions_of(said: list[Said], start: float, end: float) -> list[str]:
    """The captions of a part: each that is of the whole video, and one of what is said in the part."""
    of_all = [each.text for each in said if each.is_of_all]
    inside = caption_of([each for each in said if not each.is_of_all], start, end)
    return [text for text in dict.fromkeys([*of_all, inside]) if text] or [""]


def _sidecars(folder: Path) -> dict[str, list[Path]]:
    """The caption files of a folder by the names of the videos that they may be for, the surest first."""
    found: dict[str, list[tuple[tuple[int, bool, bool, str], Path]]] = {}
    for file in os.listdir(folder) if folder.is_dir() else ():
        suffix = os.path.splitext(file)[1].lower()
        if suffix in SIDECARS:
            for at, name in enumerate(video_names(file)):
                order = (SIDECARS.index(suffix), at > 0, ".en" not in file.lower(), file)
                found.setdefault(name, []).append((order, folder / file))
    return {name: [path for _, path in sorted(files)] for name, files in found.items()}


def _beside(path: Path, sidecars: Mapping[str, list[Path]], tell: Tell) -> list[Said]:
    """What the first of the video's caption files says that says something."""
    name = composed(path.name)
    for file in sidecars.get(os.path.splitext(name)[0], []) + sidecars.get(name, []):
        try:
            said, problems = _read(file)
        except EchoReelError as error:
            tell(file, str(error).removeprefix(f"{file}: "), 0)
            continue
        for problem in problems if said else [*problems, "holds no caption"]:
            tell(file, problem, 0)
        if said:
            return said
    return []


def _stored(path: Path) -> list[Said]:
    """What a reference file says of itself; empty for videos, and where it cannot be read."""
    if not is_reference_file(path):
        return []
    try:
        caption = read_reference(path).caption
    except EchoReelError:  # told where its frames are read
        return []
    return [Said(caption)] if caption else []


def _read(file: Path) -> tuple[list[Said], list[str]]:
    """What a caption file says, and what is wrong with it. Raises EchoReelError."""
    suffix = file.suffix.lower()
    size = regular_file(file, EchoReelError, "a text file").st_size
    if size > SIDECAR_BYTES and suffix != ".txt":
        raise EchoReelError(f"{size} bytes, at most {SIDECAR_BYTES} are read; it is skipped")
    try:
        with file.open("rb") as stream:
            text, note = decoded(stream.read(SIDECAR_BYTES))
    except OSError as error:
        raise EchoReelError(f"cannot be read ({error.strerror})") from error
    said, problems = {".txt": _plain, ".json": _from_json}.get(suffix, _subtitles)(text)
    return said, [note, *problems] if note else problems


def _plain(text: str) -> tuple[list[Said], list[str]]:
    return _said(text)


def _from_json(text: str) -> tuple[list[Said], list[str]]:
    """{"caption": …} or several in a list, a string, or a list of these, also with "start" and "end"."""
    try:
        data = json_value(text.lstrip("\ufeff"))
    except ValueError as error:
        raise EchoReelError(f"not JSON ({error}); it is skipped") from error
    found, problems = list[Said](), Counter[str]()
    for entry in _entries(data):
        texts = (value for value in _values(entry, CAPTION_KEYS) if isinstance(value, str | list))
        caption = entry if isinstance(entry, str) else next(texts, None)
        times = [next(_values(entry, KNOWN[meant]), None) for meant in ("start", "end")]
        said, wrong = _said(caption, *times)
        found += said
        problems.update(wrong)
    return found, [f"{count} entries {what}" for what, count in problems.items() if found or count > 1]


def _entries(data: Any) -> Iterator[Any]:
    """Strings and objects of one caption each, or of several that are not timed."""
    for entry in data if isinstance(data, list) else [data]:
        inner = next(_values(entry, CAPTION_KEYS), None)
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield from inner
        else:
            yield entry


def _values(entry: Any, names: Iterable[str]) -> Iterator[Any]:
    """What an object says under these names, in whatever case."""
    plain = {key.lower(): value for key, value in entry.items()} if isinstance(entry, dict) else {}
    return (plain[name] for name in names if plain.get(name) is not None)


def _subtitles(text: str) -> tuple[list[Said], list[str]]:
    cues, wrong = subtitles(text)
    found = [said for cue in cues for said in _said(*cue)[0]]
    return found, [f"{wrong} cues end before they start; they are skipped"] if wrong else []


def _said(caption: Any, start: Any = None, end: Any = None) -> tuple[list[Said], list[str]]:
    """The captions in a value, and what is wrong with it."""
    try:
        begin, until = seconds(start) or 0.0, seconds(end)
        if until is not None and until <= begin:
            raise ValueError("no part")
    except ValueError:
        return [], ["with impossible times"]
    texts = [text for each in captions_in(caption) if (text := one_line(each))]
    problems = [] if texts else ["without a caption"]
    if any(len(text) > CAPTION_CHARACTERS for text in texts):
        problems.append(f"whose caption was cut to {CAPTION_CHARACTERS} characters")
    return [
        Said(text[:CAPTION_CHARACTERS], begin, inf if until is None else until) for text in texts
    ], problems


def _named(path: Path, folder: Path) -> list[Said]:
    """The words of the file's name, or of the folders' that it is in where the name is only a number."""
    inner = [parent.name for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    for name in map(composed, (path.stem, *inner)):
        words = [word.lower() for word in NAME_WORDS.findall(name.replace("_", " ")) if word.isalpha()]
        words = [word for word in words if len(word) > 1]
        if sum(map(len, words)) > 3:
            return [Said(" ".join(words))]
    return []
