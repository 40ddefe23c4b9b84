"""The store: rows are there whole or not at all, whoever writes, and however they are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from helpers.catalogues import VERBS, catalogue, take

from echoreel.library.conditions import one_of, sql
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources import table_rows
from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_rows import Intake, numbers, of_catalogue
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LOCK, LibraryError, Store, is_library, unmade_if_empty

RUN, JUGGLE = "a man is running", "a woman is juggling"


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


def test_an_intake_is_full_until_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = read_catalogue(catalogue(tmp_path, 40))[0]
    intake = Intake(Store(tmp_path / "library", create=True))
    size = of_catalogue(batch).rows.nbytes
    monkeypatch.setattr(table_rows, "BYTES_OF_A_WRITE", size // 2)
    filled = list[bool]()
    for row in range(40):
        intake.take(of_catalogue(batch.slice(row, 1)))
        filled.append(intake.is_full)
    assert filled == sorted(filled)
    assert 15 < sum(filled) < 25
    assert intake.waiting == 40
    intake.write()
    assert (intake.waiting, intake.is_full) == (0, False)


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


def test_copies_of_one_source_with_the_same_captions_are_dropped(tmp_path: Path) -> None:
    library = ReferenceLibrary.open(tmp_path / "library", True, "none")
    library.add([catalogue(tmp_path, 40)], quiet=True)
    library.store.add("clips", library.store.rows("clips"))
    assert library.store.count("clips") == 80
    library.finish()
    assert len(np.unique(library.store.ids())) == library.store.count("clips") == 40


def test_clips_that_two_writers_added_at_once_keep_the_captions_of_both(tmp_path: Path) -> None:
    said = {"a": "a man is running", "b": "a woman is juggling", "c": "a man is running", "d": ""}
    for name, caption in said.items():
        lines = [json.dumps({"path": f"{n}.mp4", "caption": caption}) for n in range(1200)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    library = ReferenceLibrary.open(tmp_path / "library", True, "none")

    def at_once(names: str) -> None:
        """Each has looked at the library before the other ones write."""
        intakes = [Intake(Store(tmp_path / "library", create=True)) for _ in names]
        for name, intake in zip(names, intakes, strict=True):
            for batch in read_catalogue(tmp_path / f"{name}.jsonl")[0]:
                intake.take(of_catalogue(batch))
            intake.write()
        library.store.refresh()
        library.finish()

    def held() -> Counter[str]:
        return Counter(library.store.rows("clips")["caption"].to_pylist())

    at_once("dabc")
    both = held()
    assert {caption: both[caption] for caption in said.values() if caption} == {RUN: 1200, JUGGLE: 1200}
    ids = library.store.ids()
    assert len(np.unique(ids)) == len(ids)
    assert [library.search(prompt).results[0].clip.caption for prompt in (RUN, JUGGLE)] == [RUN, JUGGLE]
    at_once("ab")  # as one after the other would find them
    assert held() == both
    gone = [clip for clip in library.clips(5000) if clip.caption == JUGGLE][:2]
    assert library.remove([clip.id for clip in gone]) == 2
    at_once("ab")
    assert held()[JUGGLE] == 1198
    one = next(clip for clip in library.clips(5000) if clip.caption == RUN)
    library.caption(one.id, "a dog is sleeping")
    at_once("ab")
    assert held() == both - Counter({JUGGLE: 2, RUN: 1}) + Counter({"a dog is sleeping": 1})


def test_rows_of_another_form_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "library", create=True)
    with pytest.raises(LibraryError):
        store.add("clips", pa.table({"id": ["text"]}))
    assert store.count("clips") == 0
    assert store.rows("clips").schema.names == schemas()["clips"].names


def test_numbers_are_the_same_tomorrow() -> None:
    assert numbers(["a", "b"]).tolist() == [numbers(["a"])[0], numbers(["b"])[0]]
    assert numbers(["a"])[0] == 3405396810240292928


def test_copies_are_dropped_while_another_process_optimises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which moves rows, so that their numbers are others than those just read."""
    store = Store(tmp_path / "library", create=True)
    for first in (0, 5, 3):
        rows = [{"action": f"{number}", "verb": "run", "lemmas": []} for number in range(first, first + 5)]
        store.add("actions", pa.Table.from_pylist(rows, schemas()["actions"]))
    store.remove("actions", "action = '0'")
    remove, moves = Store.remove, iter([True, False, False])

    def moved_before(self: Store, name: str, where: str) -> None:
        if next(moves):
            Store(tmp_path / "library").table("actions").optimize()
        remove(self, name, where)

    monkeypatch.setattr(Store, "remove", moved_before)
    assert store.drop_copies("actions", "action") == 5
    assert sorted(store.rows("actions")["action"].to_pylist()) == [str(number) for number in range(1, 10)]


OTHERS = {
    "clips, a column less": ("clips", lambda: schemas()["clips"].remove(3), "need other columns for path"),
    "clips, other kinds": (
        "clips",
        lambda: schemas()["clips"].set(0, pa.field("id", pa.string())),
        "need other columns for id",
    ),
    "clips of a later version": (
        "clips",
        lambda: schemas()["clips"].with_metadata({"version": "9"}),
        "has version '9', need '1'",
    ),
    "clips of nobody": ("clips", lambda: schemas()["clips"].remove_metadata(), "has version '', need '1'"),
    "actions": ("actions", lambda: pa.schema([("a", pa.int8())]), "need other columns for action, verb"),
    "encoded": ("encoded", lambda: pa.schema([("id", pa.int64())]), "`library embed` makes it again"),
    "vectors": ("vectors", lambda: pa.schema([("vector", pa.float32())]), "need vectors of one width"),
    "no actions": ("actions", lambda: schemas()["actions"], "lacks actions of clips; if it stays so, move"),
}


@pytest.mark.parametrize(("name", "schema", "message"), OTHERS.values(), ids=OTHERS)
def test_tables_of_another_form_are_named(tmp_path: Path, name: str, schema: Any, message: str) -> None:
    place = tmp_path / "library"
    add_catalogue(place, tmp_path)
    lancedb.connect(place).create_table(name, schema=schema(), mode="overwrite")
    with pytest.raises(LibraryError, match=message) as told:
        use(place)
    assert f"library/{name}.lance: " in str(told.value)


DAMAGE = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "noise": lambda data: bytes(byte ^ 0x5A for byte in data),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("part", ["clips.lance/data", "actions.lance/data", "clips.lance/_versions"])
def test_damaged_files_of_a_table_are_named(tmp_path: Path, part: str, damage: Any) -> None:
    place = tmp_path / "library"
    add_catalogue(place, tmp_path)
    for file in (place / part).iterdir():
        changed = damage(file.read_bytes())
        file.unlink()
        if changed is not None:
            file.write_bytes(changed)
    with pytest.raises(LibraryError, match=r"(clips|actions)\.lance: .*; if it stays so|there is no library"):
        use(place)


def test_data_that_is_gone_is_told_wherever_rows_are_read_one_after_the_other(tmp_path: Path) -> None:
    place = tmp_path / "library"
    add_catalogue(place, tmp_path)
    for file in (place / "clips.lance/data").iterdir():
        file.unlink()
    library = ReferenceLibrary.open(place, embedder="none")
    mine = ReferenceLibrary.open(tmp_path / "mine", True, "none")
    for work in (
        library.clips,
        library.update,
        lambda: library.check(quiet=True),
        lambda: library.export(tmp_path / "out", library.clips()),
        lambda: mine.add([place], quiet=True),
    ):
        with pytest.raises(LibraryError, match=r"clips\.lance: .*; if it stays so"):
            work()


def add_catalogue(place: Path, folder: Path) -> None:
    (folder / "c.jsonl").write_text('{"path": "a.mp4", "caption": "a man is opening a box"}\n')
    ReferenceLibrary.open(place, True, "none").add([folder / "c.jsonl"], quiet=True)


def use(place: Path) -> None:
    """All that a library is used for."""
    library = ReferenceLibrary.open(place)
    assert library.clips()
    assert library.take("opening a box").answer.results
    library.store.rows("encoded")
    library.store.embedder()


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
    with writer(library, paths[0], 20) as first, writer(library, paths[1], 20) as second:
        store, seen = Store(library, create=True), [0]
        while first.poll() is None or second.poll() is None:
            store.refresh()
            seen.append(len(store.ids()))
            assert seen[-1] >= seen[-2]
            time.sleep(0.02)
    assert (first.returncode, second.returncode) == (0, 0)
    store.refresh()
    store.drop_copies("clips", "id")
    assert store.count("clips") == 700
    assert {*store.rows("actions")["action"].to_pylist()} == {f"{verb} a box" for verb in VERBS}


def test_three_commands_at_once_add_to_one_new_library(tmp_path: Path) -> None:
    captions = ("a man running", "a woman dancing", "a boy jumping")
    for caption in captions:
        (tmp_path / f"{caption}.jsonl").write_text(json.dumps({"path": f"{caption}.mp4", "caption": caption}))
    command = [sys.executable, "-m", "echoreel", "library", "add", "library", "--embedder", "none"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    options: Any = {"cwd": tmp_path, "env": environment, "text": True, "stderr": subprocess.PIPE}
    jobs = [subprocess.Popen([*command, f"{caption}.jsonl"], **options) for caption in captions]
    assert [(job.communicate()[1].count("error"), job.returncode) for job in jobs] == [(0, 0)] * 3
    store = Store(tmp_path / "library")
    assert {*store.rows("clips")["caption"].to_pylist()} == {*captions}
    assert store.indexed("clips") == {"caption", "verb", "action"}


def test_tables_are_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    """LanceDB lets two that make the same table at once both succeed, and the first one's rows are gone."""
    tmp_path.joinpath("library").mkdir()
    arguments = tmp_path / "library", catalogue(tmp_path, 20), 20
    with FileLock(tmp_path / "library" / LOCK) as lock, writer(*arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not is_library(str(tmp_path / "library"))
        lock.release()
    assert process.returncode == 0
    assert Store(tmp_path / "library").count("clips") == 20


def test_killed_writers_leave_whole_writes_and_the_next_goes_on(tmp_path: Path) -> None:
    """Four times, at moments spread over the run; benchmarks/library_crash.py does it fifty times."""
    library, path = tmp_path / "library", catalogue(tmp_path, 3000)
    Store(library, create=True)
    before = 0
    for number in range(4):
        with writer(library, path, 20) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.1 * number)
            process.send_signal(signal.SIGKILL)
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


@pytest.mark.parametrize("clips", [0, 1])
@pytest.mark.parametrize("note", [False, True])
def test_a_library_that_was_begun_and_got_no_clip_is_removed(tmp_path: Path, clips: int, note: bool) -> None:
    folder = tmp_path / "new" / "library"

    def refused() -> None:
        with unmade_if_empty(str(folder)):
            store = Store(folder, create=True)
            rows = [{"id": 1, "video": 1, "root": "", "path": "a.mp4"}] * clips
            store.add("clips", pa.Table.from_pylist(rows, schemas()["clips"]))
            store.table("files")
            if note:
                (folder / "note.txt").write_text("mine")
            raise LibraryError("No space left on device")

    with pytest.raises(LibraryError, match="No space"):
        refused()
    assert {path.name for path in folder.glob("*.lance")} == (
        {"clips.lance", "files.lance"} if clips else set()
    )
    assert (folder / "note.txt").exists() == note
    assert folder.parent.exists() == (note or clips > 0)
    if clips:
        return
    Store(folder, create=True)  # one that was there before stays
    with pytest.raises(LibraryError), unmade_if_empty(str(folder)):
        raise LibraryError("No space left on device")
    assert (folder / "clips.lance").exists()
