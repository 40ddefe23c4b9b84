"""The files that a library has read, by place and by content: what is new, changed, moved or a copy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from echoreel.common.errors import EchoReelError
from echoreel.library.conditions import one_of
from echoreel.library.sources.captions import Said
from echoreel.library.sources.shots import content_of
from echoreel.library.sources.table_rows import numbers
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import Store

PATHS_OF_A_DELETE = 1000


class KnownFile(NamedTuple):
    """A file as it was when it was read. said: a number of its written captions, None where none is noted."""

    size: int
    changed: int  # nanoseconds
    content: int
    said: int | None


class KnownFiles:
    """The table `files`. `write` commits what was noted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.was_older = store.complete("files")
        rows = store.rows("files").to_pylist()
        self._old: set[str] = set()  # places whose rows are to go
        if not store.count("clips"):  # they were lost: all files are read again
            self._old, rows = {row["path"] for row in rows}, []
        self._at = {
            row["path"]: KnownFile(row["size"], row["changed"], row["content"], row["said"]) for row in rows
        }
        self._places: dict[int, dict[str, None]] = {}
        for path, file in self._at.items():
            self._places.setdefault(file.content, {})[path] = None
        self._met = {*self._places}
        self._new: dict[str, dict[str, Any]] = {}
        self._failures: dict[int, str] = {}

    def at(self, path: Path | str) -> KnownFile | None:
        """The file that was read there."""
        return self._at.get(str(path))

    def paths(self) -> list[str]:
        """Of all files."""
        return [*self._at]

    def unchanged(self, path: Path | str) -> bool:
        """Whether the size and the time of the file there are as noted."""
        known = self._at.get(str(path))
        state = _state(path)
        return known is not None and state == (known.size, known.changed)

    def holds(self, path: Path | str, content: int) -> bool:
        """Whether the file of that content is still there."""
        known, state = self._at.get(str(path)), _state(path)
        if known is None or state is None:
            return known is None and state is not None  # a file that nobody noted is taken for what it was
        if known.content != content or state[0] != known.size:
            return False
        try:
            return state[1] == known.changed or content_of(Path(path)) == content
        except EchoReelError:
            return False

    def elsewhere(self, content: int, path: Path | str) -> str | None:
        """Another place where the file of that content is."""
        places = [each for each in self._places.get(content, ()) if each != str(path)]
        return next((each for each in places if self.holds(each, content)), None)

    def is_copy(self, content: int) -> bool:
        """Whether a file of this content was met before; from now on it was."""
        copy = content in self._met
        self._met.add(content)
        return copy

    def read(self, path: Path, content: int, said: int | None) -> None:
        """The file's clips were taken."""
        if (state := _state(path)) is None:  # removed since
            return
        self.forget(path)
        size, changed = state
        self._at[str(path)] = KnownFile(size, changed, content, said)
        self._places.setdefault(content, {})[str(path)] = None
        self._met.add(content)
        self._new[str(path)] = {
            "path": str(path),
            "size": size,
            "changed": changed,
            "content": content,
            "said": said,
        }

    def forget(self, path: Path | str) -> None:
        """What was read there is there no more."""
        if (known := self._at.pop(str(path), None)) is not None:
            self._places.get(known.content, {}).pop(str(path), None)
            self._old.add(str(path))
        self._new.pop(str(path), None)

    def failed(self, content: int, why: str) -> None:
        """Files of this content cannot be used: they are tried again the next time."""
        self._failures[content] = why

    def why_failed(self, content: int) -> str | None:
        return self._failures.get(content)

    def write(self) -> None:
        """Commit what was read, after its clips: killed in between, the files are read again."""
        import pyarrow as pa

        old = sorted(self._old)
        for first in range(0, len(old), PATHS_OF_A_DELETE):
            self._store.remove("files", one_of("path", old[first : first + PATHS_OF_A_DELETE]))
        if self._new:
            self._store.add("files", pa.Table.from_pylist([*self._new.values()], schemas()["files"]))
        self._new, self._old = {}, set()


def number_of(said: Sequence[Said]) -> int | None:
    """A number that only the same captions have; None where nobody wrote any."""
    text = "\n".join(f"{each.start} {each.end} {each.text}" for each in said)
    return int(numbers([text])[0]) if said else None


def _state(path: Path | str) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns
