"""What a library may use on this machine: folders to read videos from, a model to compare actions with.

Both are named in the library's own tables, which somebody else may have written. So they count only once
this machine's user has named them: by adding videos, by an option, or by `echoreel library trust`. That is
noted in $XDG_DATA_HOME/echoreel/libraries (~/.local/share/...), a file for each library, never in it.
"""

import json
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from echoreel.common.files import write_atomic
from echoreel.common.places import at_home, has_no_home, resolved
from echoreel.common.settings import Settings
from echoreel.common.text import checked_text
from echoreel.library.tables import LibraryError, local_folder

SECONDS_OF_A_LOCK = 30.0


class Allowed(Settings):
    """What the user has named for one library."""

    library: str = ""
    folders: tuple[str, ...] = ()  # absolute, links followed
    embedders: tuple[str, ...] = ()


class Permissions:
    """What one library may use here."""

    def __init__(self, uri: str) -> None:
        folder = local_folder(uri)
        self.uri = uri
        self._place = uri if folder is None else str(resolved(folder))
        name = blake2b(self._place.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        home = _home()
        self._file = None if home is None else home / f"{name}.json"
        self._state: tuple[int, Allowed] | None = None

    @property
    def allowed(self) -> Allowed:
        """As noted now, by this process or another. Raises LibraryError for damaged notes."""
        if self._file is None:
            return Allowed(library=self._place)
        try:
            changed = self._file.stat().st_mtime_ns
            if self._state is None or self._state[0] != changed:
                self._state = changed, Allowed.model_validate_json(self._file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # none yet, or no home to write it to
            return Allowed(library=self._place)
        except (OSError, ValidationError) as error:
            raise LibraryError(
                f"{self._file}: cannot be read; delete it and name the folders again: echoreel library trust "
                f"{self.uri} DIR"
            ) from error
        return self._state[1]

    def allow(self, folders: Iterable[Path] = (), embedders: Iterable[str] = ()) -> None:
        """Note folders and embedders for good. Raises LibraryError where that cannot be written."""
        more_folders = [str(resolved(folder)) for folder in folders]
        more_embedders = list(embedders)
        now = self.allowed
        if {*more_folders} <= {*now.folders} and {*more_embedders} <= {*now.embedders}:
            return
        if self._file is None:
            raise LibraryError(
                "nobody knows your home folder, where permissions are noted; set XDG_DATA_HOME to a folder "
                "that you may write to"
            )
        for text in (self._place, *more_folders, *more_embedders):  # else the notes could not be read again
            checked_text(text, text)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._file.with_suffix(".lock"), timeout=SECONDS_OF_A_LOCK):
                self._state = None
                now = self.allowed
                noted = Allowed(
                    library=self._place,
                    folders=tuple(dict.fromkeys([*now.folders, *more_folders])),
                    embedders=tuple(dict.fromkeys([*now.embedders, *more_embedders])),
                )
                write_atomic(self._file, json.dumps(noted.model_dump(), indent=2).encode())
                self._state = None
        except (OSError, Timeout) as error:
            raise LibraryError(
                f"{self._file}: cannot be written; set XDG_DATA_HOME to a folder that you may write to"
            ) from error

    def allows(self, root: str) -> bool:
        """Whether videos below this folder may be read."""
        try:
            top = resolved(root)
        except (OSError, ValueError):  # a NUL
            return False
        return any(top.is_relative_to(folder) for folder in self.allowed.folders)

    def file(self, root: str, path: str) -> Path:
        """The file at `path` below `root`, links followed. Raises LibraryError where it may not be read."""
        if not self.allows(root):
            raise LibraryError(
                f"{root}: this folder is not allowed yet; if its videos may be used, run: "
                f"echoreel library trust {self.uri} {root}"
            )
        top = resolved(root)
        try:
            found = resolved(top / path)
        except (OSError, ValueError) as error:
            raise LibraryError(f"{path!r}: this path cannot be opened; rename the video") from error
        if not found.is_relative_to(top):
            raise LibraryError(f"{path}: points outside its folder {root}; move the video there")
        return found


def _home() -> Path | None:
    """Where this user's notes are; None for a user without a home folder."""
    base = at_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    return None if has_no_home(base) else base / "echoreel" / "libraries"
