"""Brings a library in step with its files: which have changed, which moved, which are gone."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from echoreel.common.errors import EchoReelError
from echoreel.library.conditions import one_of
from echoreel.library.permissions import Permissions
from echoreel.library.sources.add_videos import VideoIntake, tried
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import FolderCaptions
from echoreel.library.sources.find_videos import find_videos
from echoreel.library.sources.known_files import KnownFiles
from echoreel.library.sources.progress_bar import Bar, bars
from echoreel.library.sources.shots import ClipSettings, content_of
from echoreel.library.sources.table_rows import Intake
from echoreel.library.tables import LibraryError, Store

IDS_OF_A_DELETE = 1000


def update_files(
    store: Store, permissions: Permissions, settings: ClipSettings, prune: bool, quiet: bool
) -> Added:
    """Look at every file that was added. Moved ones are looked for in the folders that the library may read.

    prune: take the clips of files that are gone out of the library. Raises LibraryError.
    """
    began, added = time.perf_counter(), Added()
    intake = Intake(store)
    adding = VideoIntake(intake, settings, added)
    allows = cache(permissions.allows)
    paths = [path for path in adding.files.paths() if allows(os.path.dirname(path))]
    if not_named := len(adding.files.paths()) - len(paths):
        why = f"{not_named} files are in folders that are not allowed; `echoreel library trust` allows them"
        added.problem(store.uri, why, 0)
    there = [Path(path) for path in paths if os.path.lexists(path)]
    gone = [path for path in paths if not os.path.lexists(path)]
    folders = [Path(folder) for folder in permissions.allowed.folders if os.path.isdir(folder)]
    there += _moved(gone, adding.files, folders)
    captions = _Captions(folders, added)
    with bars(quiet) as progress:
        adding.add([(path, captions.of(path)) for path in there], Bar(progress, "looking at the files"))
    vanished = adding.find_missing(gone)
    others = _without_file(store, {*adding.files.paths()}, permissions)
    added.vanished = [*vanished, *dict.fromkeys(others.values())]
    if prune:
        adding.forget(vanished)
        for some in _in_parts([*others]):
            for table in ("clips", "encoded"):
                if store.has(table):
                    store.remove(table, one_of("id", some))
    added.clips, added.known, added.without_action = intake.added, intake.known, intake.without_action
    added.seconds = time.perf_counter() - began
    return added


class _Captions:
    """The captions of files that were added from several folders, which may lie in each other."""

    def __init__(self, folders: Sequence[Path], added: Added) -> None:
        self._folders, self._added = sorted(folders, key=lambda folder: len(folder.parts)), added
        self._read: dict[Path, FolderCaptions | None] = {}

    def of(self, path: Path) -> FolderCaptions:
        """Those of the outermost folder where somebody wrote some of this file."""
        for folder in self._folders:
            if path.is_relative_to(folder) and (found := self._in(folder)) and found.written(path):
                return found
        return self._in(path.parent) or FolderCaptions(path.parent / "captions of no folder")

    def _in(self, folder: Path) -> FolderCaptions | None:
        if folder not in self._read:
            try:
                self._read[folder] = FolderCaptions(folder, self._added.problem)
            except EchoReelError as error:
                self._added.problem(folder, str(error), 0)
                self._read[folder] = None
        return self._read[folder]


def _moved(gone: Sequence[str], files: KnownFiles, folders: Sequence[Path]) -> Iterator[Path]:
    """New files in the folders that hold what one of those that are gone did; others are not added."""
    missing = {noted.content: noted.size for path in gone if (noted := files.at(path)) is not None}
    sizes, known = {*missing.values()}, {*files.paths()}
    for path in _videos(folders) if missing else ():
        try:
            same_size = str(path) not in known and path.stat().st_size in sizes
        except OSError:
            continue
        if same_size and tried(content_of, path) in missing:
            yield path


def _videos(folders: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in folders:
        if not any(folder.is_relative_to(other) for other in seen):
            seen.add(folder)
            yield from find_videos(folder, lambda *_: None)


def _without_file(store: Store, known: set[str], permissions: Permissions) -> dict[int, str]:
    """Clips of catalogues whose file is gone, by id, with its place."""
    allows, there = cache(permissions.allows), cache(os.path.lexists)
    found = {}
    for batch in store.batches("clips", "root <> ''", columns=["id", "root", "path"]):
        for row in batch.to_pylist():
            place = os.path.join(row["root"], row["path"])
            if place not in known and allows(row["root"]) and not there(place):
                found[row["id"]] = place
    return found


def _in_parts(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[first : first + IDS_OF_A_DELETE] for first in range(0, len(ids), IDS_OF_A_DELETE))


def check_folders(folders: Sequence[Path]) -> None:
    """Raises LibraryError for what is not a folder."""
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise LibraryError(f"{missing[0]}: there is no such folder; give one to look for moved videos in")
