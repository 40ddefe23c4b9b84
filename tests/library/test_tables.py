"""The store: rows are there whole or not at all, whoever writes, and however they are stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.catalogues import VERBS, catalogue, take

from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_rows import Intake, numbers, of_catalogue
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store, one_of, sql


def test_a_missing_library_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="there is no library; make one with"):
        Store(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match="is a file"):
        Store(tmp_path / "file", create=True)


@pytest.mark.parametrize("kind", ["{}/library", "file://{}/library", "memory://library"])
def test_rows_come_back_from_a_folder_and_from_a_uri(tmp_path: Path, kind: str) -> None:
    store = Store(kind.format(tmp_path), create=True)
    intake = take(store, catalogue(tmp_path, 100))
    assert (intake.added, intake.known, store.count("clips"), store.count("actions")) == (100, 0, 100, 8)
    store.index()
    assert store.indexed("clips") == {"caption", "verb", "action"}
    rows = store.by_words("room 12", one_of("action", ["folding a box"]), 5)
    assert rows["caption"][0].as_py() == "a man is folding a box in room 12"
    assert set(rows["verb"].to_pylist()) == {"fold"}


def test_adding_again_adds_nothing_and_rows_are_found_before_they_are_indexed(tmp_path: Path) -> None:
    store = Store(tmp_path / "library", create=True)
    path = catalogue(tmp_path, 50)
    take(store, path)
    store.index()
    assert take(Store(tmp_path / "library"), path).added == 0
    take(store, catalogue(tmp_path, 10, "b", first=45))
    store.refresh()
    assert store.count("clips") == 55
    assert len(store.rows("clips", "verb = 'kick'")) == 7


def test_quotes_in_conditions_are_only_characters() -> None:
    assert sql("it's") == "'it''s'"
    assert one_of("id", [1, -2]) == "id IN (1, -2)"


def test_parts_of_one_video_have_ids_of_their_own_that_stay(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"path": "a.mp4", "caption": "x"}\n{"path": "a.mp4", "caption": "x", "start": 1, "end": 2}\n'
    )
    (batch,) = read_catalogue(tmp_path / "a.jsonl")[0]
    both = {*of_catalogue(batch).rows["id"].to_pylist()}
    alone = [
        *of_catalogue(batch.slice(0, 1)).rows["id"].to_pylist(),
        *of_catalogue(batch.slice(1)).rows["id"].to_pylist(),
    ]
    assert len(both) == 2
    assert both == {*alone}


def test_copies_that_two_writers_made_are_dropped_but_one(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "library", create=True), Store(tmp_path / "library")
    path = catalogue(tmp_path, 40)
    one, two = Intake(first), Intake(second)  # neither sees the other's rows
    for intake in (one, two):
        for batch in read_catalogue(path)[0]:
            intake.take(of_catalogue(batch))
        intake.write()
    first.refresh()
    assert first.count("clips") == 80
    assert first.drop_copies("clips", "id") == 40
    assert len(np.unique(first.ids())) == first.count("clips") == 40
    assert first.count("actions") == 16
    assert first.drop_copies("actions", "action") == 8
    second.refresh()
    assert second.drop_copies("clips", "id") == second.drop_copies("actions", "action") == 0


def test_rows_of_another_form_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "library", create=True)
    with pytest.raises(LibraryError):
        store.add("clips", pa.table({"id": ["text"]}))
    assert store.count("clips") == 0
    assert store.rows("clips").schema.names == schemas()["clips"].names


def test_numbers_are_the_same_tomorrow() -> None:
    assert numbers(["a", "b"]).tolist() == [numbers(["a"])[0], numbers(["b"])[0]]
    assert numbers(["a"])[0] == 3405396810240292928


WRITER = """
import sys
from pathlib import Path
from helpers.catalogues import take
from echoreel.library.tables import Store
print("ready", flush=True)
take(Store(sys.argv[1], create=True), Path(sys.argv[2]), int(sys.argv[3]))
"""


def writer(*arguments: object) -> subprocess.Popen[str]:
    """Another process that adds a catalogue in small writes."""
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_writers_at_once_lose_nothing_and_a_reader_is_never_in_the_way(tmp_path: Path) -> None:
    library = tmp_path / "library"
    paths = [catalogue(tmp_path, 400, "a"), catalogue(tmp_path, 400, "b", first=300)]
    writers = [writer(library, path, 20) for path in paths]
    store, seen = Store(library, create=True), [0]
    while any(each.poll() is None for each in writers):
        store.refresh()
        seen.append(len(store.ids()))
        assert seen[-1] >= seen[-2]
        time.sleep(0.02)
    assert [each.returncode for each in writers] == [0, 0]
    store.refresh()
    store.drop_copies("clips", "id")
    assert store.count("clips") == 700
    assert {*store.rows("actions")["action"].to_pylist()} == {f"{verb} a box" for verb in VERBS}


def test_killed_writers_leave_whole_writes_and_the_next_goes_on(tmp_path: Path) -> None:
    """Four times, at moments spread over the run; benchmarks/library_crash.py does it fifty times."""
    library, path = tmp_path / "library", catalogue(tmp_path, 3000)
    Store(library, create=True)
    before = 0
    for number in range(4):
        process = writer(library, path, 20)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        store = Store(library)
        count = store.count("clips")
        assert count >= before
        assert count % 20 == 0
        assert {*store.rows("clips")["action"].to_pylist()} <= {*store.rows("actions")["action"].to_pylist()}
        before = count
    intake = take(Store(library), path)
    assert intake.added == 3000 - before
    store = Store(library)
    assert len(np.unique(store.ids())) == store.count("clips") == 3000
