"""Sources -> the library: folders of videos, single ones, catalogues, other libraries.

Nothing that is wrong with one file or row stops the run: it is listed in the end. What was added stays when a
run is stopped, and the same call goes on from there.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

from echoreel.common.settings import Settings
from echoreel.library.actions.find_action import Action
from echoreel.library.permissions import Permissions
from echoreel.library.sources.add_videos import VideoIntake
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import FolderCaptions
from echoreel.library.sources.catalogues import is_catalogue, read_catalogue
from echoreel.library.sources.find_videos import NO_UTF8, find_videos, is_text
from echoreel.library.sources.progress_bar import Bar, bars
from echoreel.library.sources.shots import ClipSettings
from echoreel.library.sources.table_rows import Intake, Labelled, of_catalogue
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store, is_library


class AddSettings(Settings):
    """How sources are read."""

    clips: ClipSettings = ClipSettings()
    root: Path | None = None  # of a catalogue's paths; its own folder unless given
    columns: dict[str, str] = Field(default_factory=dict)  # of a catalogue, where its names are not known


def add_sources(
    store: Store, sources: Sequence[Path | str], settings: AddSettings, quiet: bool = False
) -> Added:
    """Add every source. Raises LibraryError, CatalogueError for anything else; makes no indexes."""
    began, added = time.perf_counter(), Added()
    kinds = check_sources(sources, settings)
    intake = Intake(store)
    with bars(quiet) as progress:
        for source, add in zip(sources, kinds, strict=True):
            tell = Bar(progress, f"adding {Path(source).name or source}")
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
    with bars(quiet=True) as progress:
        files = [(Path(video), captions) for video in videos]
        VideoIntake(intake, settings.clips, added).add(files, Bar(progress, ""))
    return _counted(intake, added)


def _counted(intake: Intake, added: Added) -> Added:
    added.clips, added.known, added.without_action = intake.added, intake.known, intake.without_action
    return added


def check_sources(sources: Sequence[Path | str], settings: AddSettings) -> list[Callable[..., None]]:
    """What adds each of them: all are looked at first, so that a wrong one costs nothing.

    Raises LibraryError, CatalogueError for what is not a source.
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


def _add_catalogue(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: Bar) -> None:
    batches, refused = read_catalogue(Path(source), settings.root, settings.columns)
    tell.of(_rows_in(Path(source)))
    for batch in batches:
        intake.take(intake.recognised(of_catalogue(batch)))
        tell.on(len(batch))
        if intake.is_full:
            intake.write()
    for why in refused.lines():
        added.problem(source, why, 0)
    added.left_out += refused.counts.total()


def _add_library(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: Bar) -> None:
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
        if intake.is_full:
            intake.write()


def _add_folder(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: Bar) -> None:
    folder = Path(source).absolute()
    captions = FolderCaptions(folder, added.problem)
    videos = videos_below(folder, captions, added)
    adding = VideoIntake(intake, settings.clips, added)
    adding.add([(video, captions) for video in videos], tell)
    below = [path for path in adding.files.paths() if Path(path).is_relative_to(folder)]
    added.vanished += adding.find_missing(path for path in below if not os.path.lexists(path))


def videos_below(folder: Path, captions: FolderCaptions, added: Added) -> list[Path]:
    """Those with a written caption come first, so that of copies the one that has a caption is taken."""
    videos = sorted(find_videos(folder, added.problem), key=lambda video: not captions.written(video))
    captions.tell_unused()
    return videos


def _add_video(intake: Intake, source: Path, settings: AddSettings, added: Added, tell: Bar) -> None:
    path = Path(source).absolute()
    if is_text(str(path)):
        videos = [(path, FolderCaptions(path.parent, added.problem))]
        VideoIntake(intake, settings.clips, added).add(videos, tell)
    else:
        added.problem(path, NO_UTF8)


def _rows_in(path: Path) -> int | None:
    """Of a catalogue: about how many, for the time left."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(partial(stream.read, 1 << 22), b""))
