"""What has become of clips that a library has: their file is elsewhere, has other captions, or is gone."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from echoreel.common.errors import EchoReelError
from echoreel.library.actions.find_action import find_actions
from echoreel.library.conditions import one_of
from echoreel.library.sources.captions import Said, captions_of
from echoreel.library.sources.shots import FoundClip
from echoreel.library.sources.table_rows import Intake, clip_ids, numbers
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import Store
from echoreel.media.video_files import probe

Row = dict[str, Any]


class ClipChanges:
    """Collects changes of clips; `write` commits them, and may do so again after a kill."""

    def __init__(self, intake: Intake) -> None:
        self._intake, self._store = intake, intake.store
        self._moved: dict[int, Path] = {}
        self._said: dict[int, tuple[Path, Sequence[Said]]] = {}
        self._gone: set[int] = set()
        self._carried: list[Row] = []
        self._users = self._read_users()

    @property
    def waiting(self) -> int:
        return len(self._moved) + len(self._said) + len(self._gone)

    def moved(self, content: int, path: Path) -> None:
        """The file with that content is now there."""
        self._moved[content] = path

    def is_moved(self, content: int) -> bool:
        return content in self._moved

    def said_anew(self, content: int, path: Path, said: Sequence[Said]) -> None:
        """Somebody wrote other captions of the file."""
        self._said[content] = path, said

    def gone(self, content: int) -> None:
        """No file has that content any more."""
        self._gone.add(content)

    def kept_captions(self, before: int, clips: Sequence[FoundClip]) -> list[FoundClip]:
        """The clips of a file that held other content before, with the captions that the user gave it."""
        kept = []
        for clip in clips:
            theirs = self._users.get(_id(before, clip.start, clip.end))
            if theirs and theirs["was"] == clip.caption:
                self._carried.append(theirs | {"id": _id(clip.content, clip.start, clip.end)})
                clip = replace(clip, caption=theirs["caption"])
            kept.append(clip)
        return kept

    def write(self) -> list[str]:
        """Commit everything: new actions first, then the clips, then what no longer is.

        Returns the files whose clips have other captions now.
        """
        import pyarrow as pa

        contents = [*{*self._moved, *self._said}]
        if contents:  # of others, too: a user may have given captions since
            self._store.refresh()
            self._users = self._read_users()
        before = self._store.rows("clips", one_of("video", contents)).to_pylist() if contents else []
        changed, stale, undone = self._changed(before)
        self._intake.write()
        self._store.replace("clips", pa.Table.from_pylist(changed, schemas()["clips"]), "id")
        self._store.replace("captions", pa.Table.from_pylist(self._carried, schemas()["captions"]), "id")
        others = {row["id"]: row["caption"] for row in before}
        reworded = [row for row in changed if others.get(row["id"]) != row["caption"]]
        self._drop([*stale, *self._of(self._gone)])
        _remove(self._store, "encoded", [row["id"] for row in reworded])
        _remove(self._store, "captions", undone)
        self._moved, self._said, self._gone, self._carried = {}, {}, set(), []
        return [*dict.fromkeys(os.path.join(row["root"], row["path"]) for row in reworded)]

    def _changed(self, before: Sequence[Row]) -> tuple[list[Row], list[int], list[int]]:
        """Rows that are other ones now, ids of clips that are no more, and those of users' captions."""
        wanted, stale, undone = list[Row](), list[int](), list[int]()
        for row in before:
            if path := self._moved.get(row["video"]):
                row |= {"root": path.parent.as_posix(), "path": path.name}
        by_part = lambda row: (row["video"], row["start"], row["end"] or 0)  # noqa: E731
        for (video, *_), some in groupby(sorted(before, key=by_part), by_part):
            rows = [*some]
            path, said = self._said.get(video, (None, ()))
            if path is None or (rows[0]["root"], rows[0]["path"]) != (path.parent.as_posix(), path.name):
                wanted += rows
                continue
            captions = {*self._captions(rows[0], path, said)}
            left = {id for id, _ in captions}
            undone += [id for id, text in captions if id in self._users and self._users[id]["was"] != text]
            wanted += [rows[0] | {"id": id, "caption": self._own(id, text)} for id, text in sorted(captions)]
            stale += [row["id"] for row in rows if row["id"] not in left]
        self._name_actions(wanted)
        return wanted, stale, undone

    def _captions(self, row: Row, path: Path, said: Sequence[Said]) -> Iterator[tuple[int, str]]:
        """(id, caption) of each clip of a part; without those that were removed."""
        until = row["end"]
        if until is None:
            until = row["start"]
            if not all(each.is_of_all for each in said):
                until = _duration(path, row["start"])
        first = _id(row["video"], row["start"], row["end"])
        for count, text in enumerate(captions_of([*said], row["start"], until)):
            id = int(numbers([f"{first} {text}"])[0]) if count else first
            if id not in self._intake.removed:
                yield id, text

    def _own(self, id: int, text: str) -> str:
        """The caption that the user gave in place of this one, or this one."""
        theirs = self._users.get(id)
        return str(theirs["caption"]) if theirs and theirs["was"] == text else text

    def _name_actions(self, rows: Sequence[Row]) -> None:
        found = find_actions([row["caption"] or "" for row in rows])
        for row, action in zip(rows, found, strict=True):
            row |= {"action": action.phrase if action else "", "verb": action.verb if action else ""}
        self._intake.learn(action for action in found if action is not None)

    def _read_users(self) -> dict[int, Row]:
        """What users gave in place of a source's captions, by clip."""
        return {row["id"]: row for row in self._store.rows("captions").to_pylist()}

    def _of(self, contents: set[int]) -> list[int]:
        """Ids of the clips of these videos."""
        if not contents:
            return []
        found: list[int] = self._store.rows("clips", one_of("video", contents), ["id"])["id"].to_pylist()
        return found

    def _drop(self, ids: Sequence[int]) -> None:
        for table in ("clips", "encoded"):
            _remove(self._store, table, ids)


def _remove(store: Store, table: str, ids: Sequence[int]) -> None:
    if ids and store.has(table):
        store.remove(table, one_of("id", ids))


def _id(video: int, start: float, end: float | None) -> int:
    times = [None if time is None else float(np.float32(time)) for time in (start, end)]  # as they are stored
    return int(clip_ids(np.array([video], np.int64), times[:1], times[1:])[0])


def _duration(path: Path, otherwise: float) -> float:
    """Seconds; `otherwise` where the file does not say or cannot be read."""
    try:
        return probe(path).duration or otherwise
    except EchoReelError:
        return otherwise
