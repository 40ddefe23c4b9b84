"""Which files below a folder are videos; what is passed over is told with the reason."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from echoreel.media.decoding import SUFFIXES, named_as_video

SIDECARS = (".txt", ".json", ".srt", ".vtt")  # captions beside a video, the first that says something
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
TABLES = frozenset(name + suffix for name in ("captions", "metadata") for suffix in TABLE_SUFFIXES)
CATALOGUES = (*TABLE_SUFFIXES, ".parquet")

NO_UTF8 = "its name is not UTF-8; rename it"

Tell: TypeAlias = Callable[[Path, str, int], None]  # a place, what is wrong, how many videos are left out


def composed(name: str) -> str:
    """A name as most systems write it: macOS writes é as two characters."""
    return unicodedata.normalize("NFC", name)


def is_video(name: str) -> bool:
    """Whether a file is named as a video."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_text(name: str) -> bool:
    """Whether a name is UTF-8, which all that we write is."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def video_names(file: str) -> list[str]:
    """The names, without suffix or whole, of videos that a caption file may be for: a.en.srt is for a.mp4."""
    stem = composed(os.path.splitext(file)[0])
    inner, language = os.path.splitext(stem)
    is_language = 2 <= len(language) - 1 <= 8 and language[1:].replace("-", "").replace("_", "").isalpha()
    return [stem, inner] if is_language else [stem]


def find_videos(folder: Path, tell: Tell) -> Iterator[Path]:
    """Files below the folder that are named as videos, in order; a folder is entered once, however linked."""
    seen: set[tuple[int, int]] = set()
    passed = _PassedOver()

    def failed(error: OSError) -> None:
        tell(Path(error.filename or folder), error.strerror or "cannot be listed", 0)

    for root, folders, files in os.walk(folder, followlinks=True, onerror=failed):
        hidden = [name for name in folders if name.startswith(".")]
        passed.add("hidden folders are not entered", [Path(root, name) for name in sorted(hidden)])
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        try:
            state = os.stat(root)
        except OSError as error:
            failed(error)
            continue
        if (state.st_dev, state.st_ino) in seen:
            passed.add("this folder was read by another name", [Path(root)])
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        videos = [name for name in sorted(files) if named_as_video(Path(root, name))]
        for name in videos:
            if is_text(path := os.path.join(root, name)):
                yield Path(path)
            else:
                tell(Path(path), NO_UTF8, 1)
        passed.files(Path(root), sorted(set(files).difference(videos)), videos, Path(root) == folder)
    passed.told(tell)


class _PassedOver:
    """What is no video, a line for each reason."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Path, int]] = {}

    def add(self, why: str, paths: Iterable[Path]) -> None:
        for path in paths:
            first, count = self._places.get(why, (path, 0))
            self._places[why] = first, count + 1

    def files(self, folder: Path, names: Iterable[str], videos: Iterable[str], is_top: bool) -> None:
        """Files of one folder that are not named as videos, or hidden."""
        known = {composed(name) for name in videos}
        known |= {os.path.splitext(name)[0] for name in known}
        for name in names:
            if why := self._why(name, known, is_top):
                self.add(why, [folder / name])

    @staticmethod
    def _why(name: str, known: set[str], is_top: bool) -> str:
        """Empty for a table of captions, captions of a video, and what systems hide."""
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            return "hidden files are not read" if is_video(name) else ""
        if is_top and name.lower() in TABLES:
            return ""
        if suffix in SIDECARS and known.intersection(video_names(name)):
            return ""
        if suffix in CATALOGUES:
            return (
                "a table beside videos is read when it is named captions or metadata; else give it by itself"
            )
        if suffix in SIDECARS:
            return "there is no video of this name beside it"
        return f"not named as a video ({suffix or 'no suffix'}); give it by itself if it is one"

    def told(self, tell: Tell) -> None:
        for why, (first, count) in self._places.items():
            tell(first, why + (f"; {count - 1} more like it" if count > 1 else ""), 0)
