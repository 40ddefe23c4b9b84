"""Files that are there whole or not at all."""

import os
import sys
from pathlib import Path

PARTIAL = ".partial"


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(data)
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """fsync a file or, where the system can, a folder."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
