"""Links and paths in a library of others. LanceDB follows links: it writes and deletes where they lead."""

import os
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
from helpers.catalogues import catalogue, take

from echoreel.library.manifests import names_other_places
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store

LONG_AGO = 10**9  # LanceDB frees what it does not know after a week


@pytest.mark.parametrize(
    "link", ["clips.lance/_indices", "clips.lance/_indices/more", "files.lance", "other"]
)
def test_links_of_a_library_lead_nowhere(tmp_path: Path, link: str) -> None:
    theirs, photo = tmp_path / "theirs", tmp_path / "mine" / "album" / "photo.jpg"
    store = Store(theirs, create=True)
    take(store, catalogue(tmp_path, 3))
    store.index()
    photo.parent.mkdir(parents=True)
    photo.write_text("mine")
    os.utime(photo, (LONG_AGO, LONG_AGO))
    place = theirs / link
    if place.exists():
        place.rename(tmp_path / "away")
    place.symlink_to(tmp_path / "mine")
    with pytest.raises(LibraryError, match=r"is a link to elsewhere, where LanceDB would delete files; put"):
        add_and_index(theirs, catalogue(tmp_path, 5, "b", first=3))
    assert photo.read_text() == "mine"
    place.unlink()
    place.symlink_to(theirs / "clips.lance" / "data")  # one that stays in the library
    assert Store(theirs).count("clips") == 3


def add_and_index(library: Path, path: Path) -> None:
    store = Store(library)
    take(store, path)
    store.index()


def test_rows_of_a_library_do_not_lie_in_another(tmp_path: Path) -> None:
    """A shallow clone names a place, which LanceDB reads, be it a folder or in the network."""
    take(Store(tmp_path / "mine", create=True), catalogue(tmp_path, 3))
    theirs = lancedb.connect(str(tmp_path / "theirs"))
    theirs.clone_table("clips", str(tmp_path / "mine" / "clips.lance"), is_shallow=True)
    assert len(theirs.open_table("clips").search().to_list()) == 3  # LanceDB reads them
    with pytest.raises(LibraryError, match="has rows that lie elsewhere, as a shallow clone has; get"):
        Store(tmp_path / "theirs")
    mine = ReferenceLibrary.open(tmp_path / "own", create=True, embedder="none")
    with pytest.raises(LibraryError, match="has rows that lie elsewhere"):
        mine.add([tmp_path / "theirs"], quiet=True)
    assert Store(tmp_path / "mine").count("clips") == 3


def test_a_manifest_that_is_none_is_left_to_lancedb_and_one_without_end_is_told(tmp_path: Path) -> None:
    Store(tmp_path / "L", create=True)
    manifest = tmp_path / "L" / "clips.lance" / "_versions" / "7.manifest"
    for noise in (
        b"",
        b"\xff" * 10**6,
        b"\xff" * 40,
        bytes(40),
        b"\x07\0\0\0" + b"\x12\xff\xff\xff\x7f\x80\x80" + bytes(16),
    ):
        manifest.write_bytes(noise)
        assert not names_other_places(manifest)
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(LibraryError, match="is a pipe or a device"):
        Store(tmp_path / "L")


def test_a_library_may_be_a_link_itself(tmp_path: Path) -> None:
    Store(tmp_path / "disk", create=True)
    (tmp_path / "library").symlink_to("disk")
    assert Store(tmp_path / "library").count("clips") == 0


@pytest.mark.parametrize("path", ["a" * 5000 + ".mp4", "a\0b.mp4", "a_man_running.mp4/below", "round/a.mp4"])
def test_a_path_that_cannot_be_is_a_missing_video_and_stops_nothing(tmp_path: Path, path: str) -> None:
    (tmp_path / "a_man_running.mp4").touch()
    (tmp_path / "round").symlink_to("round")
    row = {"id": 1, "video": 1, "root": str(tmp_path), "path": path, "caption": "a man runs"}
    row |= {"start": 0.0, "action": "running", "verb": "run"}
    Store(tmp_path / "L", create=True).add("clips", pa.Table.from_pylist([row], schemas()["clips"]))
    library = ReferenceLibrary.open(tmp_path / "L", embedder="none")
    library.permissions.allow([tmp_path])
    assert [library.is_missing(clip) for clip in library.clips()] == [True]
    assert len(library.check(quiet=True).faults) == 1
