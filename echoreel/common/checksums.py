"""Checksums of the safetensors that EchoReel writes and ships: what a disk changes later is told, not used.

In a file's metadata under `echoreel.crc32`: CRC-32 of the whole file, with eight zeros in its own place.
Behind the header stand more spaces than programs write. One that changes tensors and keeps the metadata loses
them, so its file is not checked, and neither is one without the entry. The packaged weights have theirs
in `weights/sums.json`, which `scripts/weight_sums.py` writes.
"""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from echoreel.common.errors import CheckpointError
from echoreel.common.files import file_sum, written_beside
from echoreel.common.places import WEIGHTS, small_file
from echoreel.common.text import json_value

KEY = "echoreel.crc32"
METADATA = "__metadata__"
MARK = b" " * 16  # at a header's end; others write seven at most
HEADER_BYTES = 2**22  # of some ten thousand tensors; a file with a longer header is not checked
BLOCK = 2**20
NONE = "0" * 8
ENTRY = re.compile(rb'"echoreel\.crc32":"([0-9a-f]{8})"')
SUMS = "sums.json"  # beside the packaged weights


def with_sum(data: bytes) -> bytes:
    """A whole file of safetensors, with its checksum."""
    made = BytesIO()
    return made.getvalue() if _copied(BytesIO(data), made) else data


def add_sum(path: Path) -> None:
    """Give a file of safetensors its checksum; one that has it, or is not whole, stays as it is.

    Raises OutputError.
    """
    with written_beside(path) as partial:
        with path.open("rb") as source, partial.open("wb") as target:
            copied = _copied(source, target)
        if not copied:
            partial.unlink()


def is_changed(file: BinaryIO) -> bool:
    """Whether the file of safetensors, opened at its start, has a checksum that does not fit."""
    size, header = _header(file)
    entry = ENTRY.search(header)
    if entry is None or not header.endswith(MARK):
        return False
    begin, end = entry.span(1)
    found = crc32(size + header[:begin] + NONE.encode() + header[end:])
    while block := file.read(BLOCK):
        found = crc32(block, found)
    return found != int(entry[1], 16)


def check_sum(path: Path) -> None:
    """Raises CheckpointError where the file's tensors are not those that were written, OSError."""
    with path.open("rb") as file:
        if is_changed(file):
            raise CheckpointError(
                f"its weights are damaged: {path.name} is not as it was written; get the files again"
            )


def check_packaged(kind: str) -> None:
    """Raises CheckpointError where packaged weights are damaged. kind: "base", "adapter" or "judges"."""
    if name := damaged_weights(kind):
        raise CheckpointError(
            f"the packaged weights are damaged: {name} is not as it was released; install EchoReel again "
            "(after a change of your own, run scripts/weight_sums.py)"
        )


def damaged_weights(*kinds: str) -> str | None:
    """The first file of the packaged weights that is not as it was released."""
    try:
        told: dict[str, int] = json_value(small_file(WEIGHTS / SUMS).decode())
        files = [(WEIGHTS / name, crc) for name, crc in told.items() if name.split("/")[0] in kinds]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        return SUMS
    changed = [file for file, crc in files if file.is_file() and file_sum(file) != crc]
    return changed[0].relative_to(WEIGHTS).as_posix() if changed else None


def packaged_sums() -> dict[str, int]:
    """CRC-32 of each file of packaged weights, by its name with slashes."""
    files = sorted(WEIGHTS.rglob("*.safetensors"))
    return {path.relative_to(WEIGHTS).as_posix(): file_sum(path) for path in files}


def _header(file: BinaryIO) -> tuple[bytes, bytes]:
    """Its length as eight bytes, and itself; empty where it is longer than ours are."""
    size = file.read(8)
    length = int.from_bytes(size, "little")
    return size, file.read(length) if length <= HEADER_BYTES else b""


def _copied(source: BinaryIO, target: BinaryIO) -> bool:
    """Copy with a checksum, in one pass; False for what has one, or is not whole."""
    try:
        tensors: dict[str, Any] = json_value(_header(source)[1].decode())
    except ValueError:
        return False
    metadata = tensors.pop(METADATA, {})
    if KEY in metadata:
        return False
    header = _with_entry(metadata, tensors, NONE)
    target.write(header)
    found = crc32(header)
    while block := source.read(BLOCK):
        found = crc32(block, found)
        target.write(block)
    size = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    whole = target.tell() == len(header) + size
    target.seek(0)
    target.write(_with_entry(metadata, tensors, f"{found:08x}"))
    return whole


def _with_entry(metadata: dict[str, str], tensors: dict[str, Any], told: str) -> bytes:
    """Length and header as they stand in a file; equally long whatever is told."""
    header = {METADATA: {**metadata, KEY: told}, **tensors}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8) + MARK
    return len(text).to_bytes(8, "little") + text
