"""Files are whole or not there, and only what EchoReel wrote is ever removed."""

import errno
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from helpers.damage import full_disk
from safetensors import SafetensorError
from safetensors.torch import save_file

from echoreel.common.errors import OutputError
from echoreel.common.files import (
    locked,
    remove_folder,
    remove_leftovers,
    remove_lock,
    turn,
    write_atomic,
    write_together,
    written_beside,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    path = (
        tmp_path / "new" / ("long-" * 40 + "name.txt")
    )  # 208 characters: no room for a suffix of ours twice
    with written_beside(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == {path.name}
    with written_beside(path):
        pass  # writes nothing
    assert path.read_text() == "whole"


def test_weights_have_the_permissions_of_other_new_files(tmp_path: Path) -> None:
    """safetensors itself writes them for their owner alone."""
    (tmp_path / "usual").touch()
    with written_beside(tmp_path / "adapter") as partial:
        partial.mkdir()
        save_file({"a": torch.zeros(1)}, partial / "weights.safetensors")
    usual = (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "adapter" / "weights.safetensors").stat().st_mode == usual
    assert names(tmp_path / "adapter") == {"weights.safetensors"}


def write(path: Path, text: str, error: Exception | None = None) -> None:
    """A folder with one file, or half of one."""
    with written_beside(path) as partial:
        (partial / "inner").mkdir(parents=True)
        (partial / "inner" / "weights").write_text(text)
        if error is not None:
            raise error


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left"),
    ):
        with pytest.raises(OutputError, match=r"file: cannot be written: No space left.*; free some space"):
            write(path, "half", error)
    with pytest.raises(KeyError):
        write(path, "half", KeyError())
    assert path.read_text() == "before"
    assert names(tmp_path) == {"file"}
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(path / "below-a-file", b"")


def test_a_folder_replaces_only_a_folder_of_the_same_files(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    write(folder, "first")
    write(folder, "second")
    assert (folder / "inner" / "weights").read_text() == "second"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write, notes\.txt"):
        write(folder, "third")
    assert (folder / "inner" / "weights").read_text() == "second"
    assert names(tmp_path) == {"adapter"}


def test_a_folder_with_other_files_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "weights").touch()
    (tmp_path / "step" / "mine").touch()
    with pytest.raises(OutputError, match="mine"):
        remove_folder(tmp_path / "step", ["weights", "state"])
    assert names(tmp_path / "step") == {"weights", "mine"}
    remove_folder(tmp_path / "step", ["weights", "mine", "state"])
    assert names(tmp_path) == set()


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    mine = {"holiday.mp4.partial", "my.partial.results", ".step-3.partial", ".other.0123abcd.partial"}
    for name in (*mine, ".step-12.0123abcd.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").touch()
    (tmp_path / ".settings.89abcdef.partial.json").touch()
    remove_leftovers(tmp_path, r"step-\d+|settings")
    assert names(tmp_path) == mine
    remove_leftovers(tmp_path / "nowhere", "any")


@pytest.mark.parametrize("room", [0, 4, 9])
def test_files_that_belong_together_are_all_written_or_none(tmp_path: Path, room: int) -> None:
    files = {tmp_path / "new" / "deep" / "a.json": b"12345", tmp_path / "new" / "other" / "b.json": b"12345"}
    with full_disk(room), pytest.raises(OutputError, match=r"No space left on device; free some space"):
        write_together(files)
    assert names(tmp_path) == set()
    write_together(files)
    with full_disk(room), pytest.raises(OutputError, match="No space left"):
        write_together(dict.fromkeys(files, b"67890"))
    assert {path: path.read_bytes() for path in files} == files
    assert [path.name for path in sorted(tmp_path.rglob("*.json"))] == ["a.json", "b.json"]


@pytest.mark.parametrize("theirs", ["a.json", "b.json"])
def test_where_one_file_has_a_folder_in_its_place_none_is_written(tmp_path: Path, theirs: str) -> None:
    files = {tmp_path / "a.json": b"new", tmp_path / "b.json": b"new"}
    write_together(dict.fromkeys(files, b"old"))
    (tmp_path / theirs).unlink()
    (tmp_path / theirs / "mine").mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"{theirs}: cannot be written: Is a directory"):
        write_together(files)
    assert [path.read_bytes() for path in files if path.is_file()] == [b"old"]
    assert len([*tmp_path.rglob("*")]) == 3


@pytest.mark.parametrize("error", [None, OutputError("refused")])
def test_a_lock_leaves_only_what_was_there(tmp_path: Path, error: Exception | None) -> None:
    """Of a folder that was made meanwhile, what others put there."""
    for name in ("new/deep", "."):
        lock, more = tmp_path / name / "run.lock", tmp_path / name / "more"
        for keep in (False, True):
            refused = nullcontext() if error is None else pytest.raises(OutputError, match="refused")
            with refused, locked(lock, "taken"):
                with pytest.raises(OutputError, match="taken; wait for it"), locked(lock, "taken"):
                    pass
                if keep:
                    more.touch()
                if error is not None:
                    raise error
            assert more.parent.exists() == (keep or name == ".")
            assert not lock.exists()
    lock.touch()
    with locked(lock, "taken"):
        pass
    assert lock.exists()  # it was there before


HOLDER = """
import sys; from pathlib import Path; from echoreel.common.files import turn
print("begun", flush=True)
with turn(Path(sys.argv[1]), 1, wait=True):
    print("mine", flush=True); sys.stdin.read()
"""


def test_a_lock_is_not_removed_while_others_have_it_and_who_waits_gets_the_next(tmp_path: Path) -> None:
    lock = tmp_path / "pairs.lock"
    with turn(lock, 1):
        command = [sys.executable, "-c", HOLDER, str(lock)]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        time.sleep(0.3)  # it waits
        lock.unlink()  # as a refused one does
    assert other.stdout.readline() == "mine\n"
    remove_lock(lock)
    assert lock.exists()
    with turn(lock, 1) as mine:
        assert not mine
    other.communicate()
    remove_lock(lock)
    assert names(tmp_path) == set()
    remove_lock(lock)  # none
