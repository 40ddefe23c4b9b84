"""Sources -> the library: folders of videos, single ones, catalogues, other libraries.

Nothing that is wrong with one file or row stops the run: it is listed in the end. What was added stays when a
run is stopped, and the same call goes on from there.
Over 300 lines since all kinds of sources share one count of what was
added, known and left out.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echoreel.common.errors import EchoReelError
from echoreel.common.settings import Settings
from echoreel.library.actions.find_action import Action
from echoreel.library.permissions import Permissions
from echoreel.library.sources.captions import FolderCaptions
from echoreel.library.sources.catalogues import is_catalogue, read_catalogue
from echoreel.library.sources.find_videos import NO_UTF8, find_videos, is_text
from echoreel.library.sources.shots import ClipSettings, FoundClip, content_of, read_clips
from echoreel.library.sources.table_rows import Intake, Labelled, of_catalogue, of_clips
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store, is_library

ROWS_OF_A_WRITE = 1_000_000  # of catalogues; some 200 MB of memory, some ten seconds of work
CLIPS_OF_A_WRITE = 256
SECONDS_OF_A_WRITE = 5.0
PROBLEMS_KEPT = 10_000
Item = TypeVar("Item")
Result = TypeVar("Result")


class AddSettings(Settings):
    """How sources are read."""

    clips: ClipSettings = ClipSettings()
    root: Path | None = None  # of a catalogue's paths; its own folder unless given
    columns: dict[str, str] = Field(default_factory=dict)  # of a catalogue, where its names are not known


@dataclass
class Added:
    """What came of it."""

    clips: int = 0
    known: int = 0  # rows that were there already, and copies
    videos: int = 0  # files read
    copies: int = 0  # files with the content of another
    without_action: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)  # file or catalogue, what is wrong
    left_out: int = 0  # videos and rows
    seconds: float = 0.0

    def problem(self, where: Path | str, why: str, count: int = 1) -> None:
        if count:  # captions are read in other threads, which leave out none
            self.left_out += count
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((str(where), why))

    def __iadd__(self, other: "Added") -> "Added":
        for name in ("clips", "known", "videos", "copies", "without_action", "left_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems = (self.problems + other.problems)[:PROBLEMS_KEPT]
        return self


def add_sources(
    store: Store, sources: Sequence[Path | str], settings: AddSettings, quiet: bool = False
) -> Added:
    """Add every source. Raises LibraryError, CatalogueError for what is no source; indexes are not made."""
    began, added = time.perf_counter(), Added()
    kinds = check_sources(sources, settings)
    intake = Intake(store)
    with _progress(quiet) as progress:
        for source, add in zip(sources, kinds, strict=True):
            tell = _Bar(progress, f"adding {Path(source).name or source}")
            add(intake, source, settings, added, tell)
            intake.write()
            tell.done()
    added.seconds = time.perf_counter() - began
    return _counted(intake, added)


def folders_named(sources: Sequence[Path | str], settings: AddSettings) -> list[Path]:
    """The folders that a user allows a library to read by adding these sources to it."""
    if settings.root is not None:
        return [settings.root]
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if is_library(str(source)):  # of another's library none but those that were allowed to it
            found += map(Path, Permissions(str(source)).allowed.folders)
        else:
            found.append(path if path.is_dir() else path.absolute().parent)
    return found


def add_part(store: Store, source: str, videos: Sequence[str], settings: AddSettings) -> Added:
    """Add these videos of the folder `source` or, without any, the source itself: a worker's share."""
    if not videos:
        return add_sources(store, [source], settings, quiet=True)
    intake, added = Intake(store), Added()
    captions = FolderCaptions(Path(source))
    with _progress(quiet=True) as progress:
        files = [(Path(video), captions) for video in videos]
        add_videos(intake, files, settings, added, _Bar(progress, ""))
    return _counted(intake, added)


def _counted(intake: Intake, added: Added) -> Added:
    added.clips, added.known, added.without_action = intake.added, intake.known, intake.without_action
    return added


def check_sources(sources: Sequence[Path | str], settings: AddSettings) -> list[Callable[..., None]]:
    """What adds each of them: all are looked at first, so that a wrong one costs nothing.

    Raises LibraryError, CatalogueError for what is no source.
    """
    kinds = [_kind(source) for source in sources]
    for source, kind in zip(sources, kinds, strict=True):
        if kind is _add_catalogue:
            read_catalogue(Path(source), settings.root, settings.columns)  # its first line
    return kinds


def _kind(source: Path | str) -> Callable[..., None]:
    """What adds it. Raises LibraryError for a source that is missing or none."""
    path = Path(source)
    if is_library(str(source)):
        return _add_library
    if path.is_dir():
        return _add_folder
    if not path.is_file():
        raise LibraryError(
            f"{source}: there is no such file or folder; give videos, a catalogue or a library"
        )
    return _add_catalogue if is_catalogue(path) else _add_video


def _add_catalogue(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: "_Bar") -> None:
    batches, refused = read_catalogue(Path(source), settings.root, settings.columns)
    tell.of(_rows_in(Path(source)))
    for batch in batches:
        intake.take(of_catalogue(batch))
        tell.on(len(batch))
        if intake.waiting >= ROWS_OF_A_WRITE:
            intake.write()
    for why in refused.lines():
        added.problem(source, why, 0)
    added.left_out += refused.counts.total()


def _add_library(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: "_Bar") -> None:
    """The clips of another library as they are, without what was encoded of them."""
    other = Store(source)
    if other.uri == intake.store.uri:
        raise LibraryError(f"{source}: is the library itself; add another one to it")
    known = {row["action"]: Action.of(row) for row in other.rows("actions", "action <> ''").to_pylist()}
    tell.of(other.count("clips"))
    for batch in other.batches("clips", "id IS NOT NULL AND video IS NOT NULL"):
        rows = batch.select(schemas()["clips"].names)
        actions = {text: known[text] for text in set(rows.column("action").to_pylist()) if text in known}
        intake.take(Labelled(rows, actions))
        tell.on(len(batch))
        if intake.waiting >= ROWS_OF_A_WRITE:
            intake.write()


def _add_folder(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: "_Bar") -> None:
    folder = Path(source).absolute()
    captions = FolderCaptions(folder, added.problem)
    videos = videos_below(folder, captions, added)
    add_videos(intake, [(video, captions) for video in videos], settings, added, tell)


def videos_below(folder: Path, captions: FolderCaptions, added: Added) -> list[Path]:
    """Those with a written caption come first, so that of copies the one that has a caption is taken."""
    videos = sorted(find_videos(folder, added.problem), key=lambda video: not captions.written(video))
    captions.tell_unused()
    return videos


def _add_video(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: "_Bar") -> None:
    path = Path(source).absolute()
    if is_text(str(path)):
        add_videos(intake, [(path, FolderCaptions(path.parent, added.problem))], settings, added, tell)
    else:
        added.problem(path, NO_UTF8)


def add_videos(
    intake: Intake,
    videos: Sequence[tuple[Path, FolderCaptions]],
    settings: AddSettings,
    added: Added,
    tell: "_Bar",
) -> None:
    """Read, cut and add video files, several at a time: those that were read before and not changed are not
    read again."""
    tell.of(len(videos))
    seen = _Seen(intake.store)
    written = time.monotonic()
    copies: list[tuple[Path, int]] = []
    new = [video for video in videos if not seen.unchanged(video[0])]
    intake.known += len(videos) - len(new)
    tell.on(len(videos) - len(new))
    for path, content, result in _read_all(new, seen, settings):
        tell.on(1)
        if isinstance(result, str):
            seen.failed(content, result)
            added.problem(path, result)
        elif result is not None:
            added.videos += 1
            intake.take(of_clips(result))
            seen.read(path, content)
        else:
            copies.append((path, content))
        if intake.waiting >= CLIPS_OF_A_WRITE or time.monotonic() - written > SECONDS_OF_A_WRITE:
            intake.write()
            seen.write()
            written = time.monotonic()
    for path, content in copies:  # now that all are known that cannot be used
        if why := seen.why_failed(content):
            added.problem(path, why)
        else:
            added.copies += 1
            seen.read(path, content)
    intake.write()
    seen.write()


class _Seen:
    """The files that were read, by place and by content."""

    def __init__(self, store: Store) -> None:
        self._store = store
        rows = store.rows("files").to_pylist()
        self._files = {row["path"]: (row["size"], row["changed"]) for row in rows}
        self._contents = {row["content"] for row in rows}
        self._new: list[dict[str, Any]] = []
        self._failures: dict[int, str] = {}

    def unchanged(self, path: Path) -> bool:
        try:
            state = path.stat()
        except OSError:
            return False
        return self._files.get(str(path)) == (state.st_size, state.st_mtime_ns)

    def is_copy(self, content: int) -> bool:
        """Whether a file of this content was met before; from now on it was."""
        copy = content in self._contents
        self._contents.add(content)
        return copy

    def read(self, path: Path, content: int) -> None:
        """The file's clips were taken."""
        try:
            state = path.stat()
        except OSError:  # removed since
            return
        self._new.append(
            {"path": str(path), "size": state.st_size, "changed": state.st_mtime_ns, "content": content}
        )

    def failed(self, content: int, why: str) -> None:
        """Files of this content cannot be used: they are tried again the next time."""
        self._failures[content] = why

    def why_failed(self, content: int) -> str | None:
        return self._failures.get(content)

    def write(self) -> None:
        """Commit what was read, after its clips: killed in between, the files are read again."""
        import pyarrow as pa

        if self._new:
            self._store.add("files", pa.Table.from_pylist(self._new, schemas()["files"]))
        self._new = []


class _Hashed(NamedTuple):
    """A video, the number of its content or why that cannot be read, and whether it is a copy."""

    path: Path
    captions: FolderCaptions
    content: int | str
    copy: bool


def _read_all(
    videos: Iterable[tuple[Path, FolderCaptions]], seen: _Seen, settings: AddSettings
) -> Iterator[tuple[Path, int, list[FoundClip] | str | None]]:
    """Of each video in order, with the number of its content: its clips, None for a copy of one before, or
    what is wrong with it.

    Several are read at a time, but which of two copies is the first is told by their order alone.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        try:
            contents = _ahead(pool, lambda video: _tried(content_of, video[0]), videos, 4 * workers)
            hashed = (
                _Hashed(*video, content, not isinstance(content, str) and seen.is_copy(content))
                for video, content in contents
            )
            for video, found in _ahead(pool, lambda each: _read_one(each, settings), hashed, 4 * workers):
                yield video.path, 0 if isinstance(video.content, str) else video.content, found
        finally:
            pool.shutdown(cancel_futures=True)


def _read_one(video: _Hashed, settings: AddSettings) -> list[FoundClip] | str | None:
    if isinstance(content := video.content, str):
        return content
    if video.copy:
        return None

    def read() -> list[FoundClip]:
        return read_clips(video.path, content, video.captions.of(video.path), settings.clips)

    found: list[FoundClip] | str = _tried(read)
    return found


def _ahead(
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


def _tried(work: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, or the sentence that says why it fails: one file must not stop the run."""
    try:
        return work(*arguments)
    except EchoReelError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except Exception as error:  # decoders have no common type
        return f"cannot be read ({type(error).__name__}: {error})"


def _rows_in(path: Path) -> int | None:
    """Of a catalogue: about how many, for the time left."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(partial(stream.read, 1 << 22), b""))


class _Bar:
    """The line that tells how far one source is."""

    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=None)

    def of(self, total: int | None) -> None:
        self._progress.update(self._task, total=total)

    def on(self, count: int) -> None:
        self._progress.update(self._task, advance=count)

    def done(self) -> None:
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, total=task.completed)


class _Rate(TextColumn):
    """Things a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        from rich.text import Text

        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


def _progress(quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),  # names of files may hold brackets
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=quiet)
