"""What disks do to files."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def flipped(data: bytes, place: int = -1) -> bytes:
    """The same with one bit changed, by default in the last byte."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Within, the disk is full once so many bytes were written by `Path.write_bytes`."""
    write, left = Path.write_bytes, room

    def write_bytes(path: Path, data: bytes) -> int:
        nonlocal left
        fitting = write(path, data[:left])
        left -= fitting
        if fitting < len(data):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return fitting

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_bytes)
        yield
