"""Video files -> the library: new ones are read and cut; known ones are looked at for what has changed.

Several are read at a time. What a file holds is told by its content, so that a copy is taken once and a file
that was renamed keeps its clips.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import numpy as np

from echoreel.common.errors import EchoReelError
from echoreel.library.conditions import one_of
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import FolderCaptions, Said
from echoreel.library.sources.change_clips import ClipChanges
from echoreel.library.sources.known_files import KnownFiles, number_of
from echoreel.library.sources.progress_bar import Bar
from echoreel.library.sources.shots import ClipSettings, FoundClip, content_of, read_clips
from echoreel.library.sources.table_rows import Intake, of_clips
from echoreel.media.reference_file import is_reference_file

CLIPS_OF_A_WRITE = 256
SECONDS_OF_A_WRITE = 5.0
EXPORTED = re.compile(r"-([0-9a-f]{16})$")  # the stem of a reference file that `export --references` wrote
OLDER = "was made by an earlier version; the captions of its files were compared once more"
Item = TypeVar("Item")
Result = TypeVar("Result")
Videos = Sequence[tuple[Path, FolderCaptions]]


class VideoIntake:
    """Adds video files, and brings the clips of known ones up to date."""

    def __init__(self, intake: Intake, settings: ClipSettings, added: Added) -> None:
        self.files, self.changes = KnownFiles(intake.store), ClipChanges(intake)
        self._intake, self._settings, self._added = intake, settings, added
        self._left: list[tuple[int, Path]] = []  # contents, and the places where other ones are now
        if self.files.was_older:
            added.problem(intake.store.uri, OLDER, 0)

    def add(self, videos: Videos, tell: Bar) -> None:
        """Read, cut and add those that are new or changed."""
        tell.of(len(videos))
        new = [video for video in videos if not self._is_known(*video)]
        tell.on(len(videos) - len(new))
        changed, copies, written = list[_Hashed](), list[_Hashed](), monotonic()
        for video, result in _read_all(new, self.files, self._settings):
            tell.on(1)
            if isinstance(result, str):
                if isinstance(video.content, int):
                    self.files.failed(video.content, result)
                self._added.problem(video.path, result)
            elif result is None:
                copies.append(video)
            else:
                self._take(video, result, changed)
            if self._intake.waiting >= CLIPS_OF_A_WRITE or monotonic() - written > SECONDS_OF_A_WRITE:
                self.write()
                written = monotonic()
        self._intake.write()
        for video in changed:
            self._note(video)
        self._settle(copies)
        self._leave()
        self.write()

    def find_missing(self, paths: Iterable[str]) -> dict[str, int]:
        """Of known files that are gone, those whose content is nowhere else, with it; others have moved."""
        missing = {path: known.content for path in paths if (known := self.files.at(path)) is not None}
        homes, vanished = self._homes(missing.values()), dict[str, int]()
        for path, content in missing.items():
            other = self.files.elsewhere(content, path)
            if homes.get(content) != path:
                self.files.forget(path)
            elif other is None:
                vanished[path] = content
            else:
                self._move(content, path, Path(other))
                homes[content] = other
        self.write()
        return vanished

    def forget(self, vanished: dict[str, int]) -> None:
        """Take the clips of files that are gone out of the library; a file that comes back is new."""
        for path, content in vanished.items():
            self.changes.gone(content)
            self.files.forget(path)
        self.write()

    def write(self) -> None:
        """Commit: clips, then what changed of them, then that their files were read."""
        self._intake.write()
        if self.changes.waiting:
            self._added.recaptioned += self.changes.write()
        self.files.write()

    def _is_known(self, path: Path, captions: FolderCaptions) -> bool:
        """Whether the file need not be read; its captions may be other ones than before."""
        if place := self._exported_from(path):
            self._added.copies += 1
            self._added.copied.append((str(path), place))
            return True
        if not self.files.unchanged(path):
            return False
        known = self.files.at(path)
        assert known is not None
        self._said(path, known.content, captions.heard(path), known.said)
        self._intake.known += 1
        return True

    def _said(self, path: Path, content: int, said: list[Said], before: int | None) -> None:
        """Take other captions than those noted; where nobody writes any more, the clips keep theirs."""
        number = number_of(said)
        if number is None or number == before:
            return
        self.changes.said_anew(content, path, said)
        self.files.read(path, content, number)

    def _take(self, video: "_Hashed", clips: list[FoundClip], changed: "list[_Hashed]") -> None:
        """Clips of a content that the library does not have."""
        known = self.files.at(video.path)
        if known is not None:
            clips = self.changes.kept_captions(known.content, clips)
            self._left.append((known.content, video.path))
            self._added.changed.append(str(video.path))
            changed.append(video)  # noted when its old clips are gone
        else:
            self._note(video)
        self._added.videos += 1
        self._intake.take(of_clips(clips))

    def _note(self, video: "_Hashed") -> None:
        assert isinstance(video.content, int)
        self.files.read(video.path, video.content, number_of(video.captions.written(video.path)))

    def _settle(self, copies: "Sequence[_Hashed]") -> None:
        """Files of contents that were met before: the same file again, one that moved, or a copy."""
        homes = self._homes(video.content for video in copies if isinstance(video.content, int))
        for path, captions, content, _ in copies:
            assert isinstance(content, int)
            known, said = self.files.at(path), captions.written(path)
            if why := self.files.why_failed(content):
                self._added.problem(path, why)
                continue
            if known is not None and known.content == content:
                self._intake.known += 1
                self.files.read(path, content, known.said)
                self._said(path, content, said, known.said)
                continue
            if known is not None:
                self._left.append((known.content, path))
                self._added.changed.append(str(path))
            home = homes.get(content)
            self.files.read(path, content, number_of(said))
            if home is None or home == str(path):
                self._intake.known += 1
            elif self.files.holds(home, content):
                self._added.copies += 1
                self._added.copied.append((str(path), home))
            else:
                self._move(content, home, path, said)
                homes[content] = str(path)

    def _move(self, content: int, before: str, path: Path, said: Sequence[Said] = ()) -> None:
        """The file is at `path` now; captions that are written there count."""
        noted = self.files.at(before)
        was = noted.said if noted is not None and noted.content == content else None
        self.changes.moved(content, path)
        if said and number_of(said) != was:
            self.changes.said_anew(content, path, said)
        elif not said:
            self.files.read(path, content, was)
        if noted is not None and noted.content == content:
            self.files.forget(before)
        self._added.moved.append((before, str(path)))

    def _leave(self) -> None:
        """Clips of contents that are no longer where they were: elsewhere, or gone."""
        homes = self._homes(content for content, _ in self._left)
        for content, path in self._left:
            if homes.get(content) == str(path) and not self.changes.is_moved(content):
                other = self.files.elsewhere(content, path)
                if other is None:
                    self.changes.gone(content)
                else:
                    self.changes.moved(content, Path(other))
        self._left = []

    def _homes(self, contents: Iterable[int]) -> dict[int, str]:
        """Where the clips of contents say that their file is."""
        wanted = [*dict.fromkeys(contents)]
        if not wanted:
            return {}
        rows = self._intake.store.rows("clips", one_of("video", wanted), ["video", "root", "path"])
        return {row["video"]: os.path.join(row["root"], row["path"]) for row in rows.to_pylist()}

    def _exported_from(self, path: Path) -> str | None:
        """The file of the clip that this reference file was written from, if the library still has both."""
        found = EXPORTED.search(path.stem)
        if found is None or not is_reference_file(path):
            return None
        id = int(np.array([int(found[1], 16)], np.uint64).view(np.int64)[0])
        if not self._intake.has(id):
            return None
        rows = self._intake.store.rows("clips", one_of("id", [id]), ["root", "path"]).to_pylist()
        places = [os.path.join(row["root"], row["path"]) for row in rows]
        return next((place for place in places if place != str(path) and os.path.exists(place)), None)


class _Hashed(NamedTuple):
    """A video, the number of its content or why that cannot be read, and whether it is a copy."""

    path: Path
    captions: FolderCaptions
    content: int | str
    copy: bool


def _read_all(
    videos: Videos, files: KnownFiles, settings: ClipSettings
) -> Iterator[tuple[_Hashed, list[FoundClip] | str | None]]:
    """Of each video in order: its clips, None for a content that was met before, or what is wrong with it.

    Several are read at a time, but which of two copies is the first is told by their order alone.
    """
    with ThreadPoolExecutor(workers := cores()) as pool:
        try:
            contents = ahead(pool, lambda video: tried(content_of, video[0]), videos, 4 * workers)
            hashed = (
                _Hashed(*video, content, not isinstance(content, str) and files.is_copy(content))
                for video, content in contents
            )
            yield from ahead(pool, lambda each: _read_one(each, settings), hashed, 4 * workers)
        finally:
            pool.shutdown(cancel_futures=True)


def _read_one(video: _Hashed, settings: ClipSettings) -> list[FoundClip] | str | None:
    if isinstance(content := video.content, str):
        return content
    if video.copy:
        return None

    def read() -> list[FoundClip]:
        return read_clips(video.path, content, video.captions.of(video.path), settings)

    found: list[FoundClip] | str = tried(read)
    return found


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with what `work` makes of it, in order, begun `count` items before it is asked for."""
    begun: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        begun.append((item, pool.submit(work, item)))
        if len(begun) > count:
            first, done = begun.popleft()
            yield first, done.result()
    for item, done in begun:
        yield item, done.result()


def tried(work: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, or the sentence that says why it fails: one file must not stop the run."""
    try:
        return work(*arguments)
    except EchoReelError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except Exception as error:  # decoders have no common type
        return f"cannot be read ({type(error).__name__}: {error})"
