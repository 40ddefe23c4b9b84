"""Adding from many workers: Ray Data shares the sources out, each worker adds its part as one process does.

The workers write to the one store, which takes that; the indexes are made once, by who called.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echoreel.common.ray_workers import ray_workers
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.add_sources import AddSettings, add_part, folders_named, videos_below
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import FolderCaptions
from echoreel.library.tables import LibraryError, Store, local_folder

VIDEOS_OF_A_PART = 64


def add_with_ray(
    library: ReferenceLibrary, sources: Sequence[Path | str], settings: AddSettings, workers: int = 2
) -> Added:
    """As `ReferenceLibrary.add`, by `workers` at once: folders in parts, every other source by one of them.

    Raises MissingExtra without Ray, LibraryError and CatalogueError as there.
    """
    began, added = time.perf_counter(), Added()
    parts = [part for source in sources for part in _parts(source, settings, added)]
    library.permissions.allow(folders_named(sources, settings))
    folder = local_folder(library.store.uri)
    uri = library.store.uri if folder is None else str(folder.absolute())
    with ray_workers(workers) as ray:
        task = {"uri": uri, "settings": settings.model_dump(mode="json")}
        dataset = ray.data.from_items([task | {"part": part} for part in parts])
        pool = ray.data.TaskPoolStrategy(size=workers)
        for row in dataset.repartition(len(parts)).map(_add_part, compute=pool).iter_rows():
            added += Added(**row["added"])
    library.store.refresh()
    dropped = min(library.finish(), added.clips)  # two workers may have taken the same
    added.clips, added.known = added.clips - dropped, added.known + dropped
    added.seconds = time.perf_counter() - began
    return added


def _parts(source: Path | str, settings: AddSettings, added: Added) -> list[dict[str, Any]]:
    """What one worker does at a time: some videos of a folder, or one other source."""
    path = Path(source)
    if not path.is_dir() or (path / "clips.lance").is_dir():
        if "://" not in str(source) and not path.exists():
            raise LibraryError(f"{source}: there is no such file or folder; give videos or a catalogue")
        return [{"source": str(source if "://" in str(source) else path.absolute()), "videos": []}]
    folder = path.absolute()
    captions = FolderCaptions(folder, added.problem)  # a table that is none is told before Ray begins
    videos = [str(video) for video in videos_below(folder, captions, added)]
    return [
        {"source": str(folder), "videos": videos[first : first + VIDEOS_OF_A_PART]}
        for first in range(0, len(videos), VIDEOS_OF_A_PART)
    ]


def _add_part(row: dict[str, Any]) -> dict[str, Any]:
    """In a worker: the same as in one process."""
    part, settings = row["part"], AddSettings.model_validate(row["settings"])
    added = add_part(Store(row["uri"], create=True), part["source"], part["videos"], settings)
    return {"added": {name: _plain(value) for name, value in vars(added).items()}}


def _plain(value: Any) -> Any:
    """As tables of Arrow take it: lists in place of tuples."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
