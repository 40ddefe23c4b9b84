"""Files are whole or not there, and only what EchoReel wrote is ever removed."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from echoreel.common.errors import OutputError
from echoreel.common.files import remove_folder, remove_leftovers, write_atomic, written_beside


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
