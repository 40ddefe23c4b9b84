"""Checksums of the safetensors that EchoReel writes and ships: what a disk changes later is told, not used.

In a file's metadata under `echoreel.crc32`: a CRC-32 of how its tensors lie, and one of their bytes and of our
other entries. A file of another layout was written anew by a program that kept the metadata, for example in
half precision; it is not checked, and neither is a file without the entry. What the package brings has its
checksums in `weights/sums.json`, which `scripts/weight_sums.py` writes.
"""

import json
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from echoreel.common.errors import CheckpointError
from echoreel.common.files import file_sum, written_beside
from echoreel.common.places import WEIGHTS, small_file
from echoreel.common.text import json_value

OURS, KEY = "echoreel.", "echoreel.crc32"
METADATA = "__metadata__"
HEADER_BYTES = 2**22  # of some ten thousand tensors; a file with a longer header is not checked
BLOCK = 2**20
SUM = re.compile("[0-9a-f]{16}")
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
    header = _Header.read(file)
    if header is None or (told := header.metadata.get(KEY)) is None or not SUM.fullmatch(told):
        return False
    try:
        return told[:8] == f"{header.layout():08x}" and told[8:] != f"{_sum(file, header.ours()):08x}"
    except RecursionError:  # a header that nests: whoever reads the file tells
        return False


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


@dataclass(frozen=True)
class _Header:
    """Of a file of safetensors. tensors: type, shape and place of each."""

    metadata: dict[str, str]
    tensors: dict[str, Any]

    @classmethod
    def read(cls, file: BinaryIO) -> "_Header | None":
        """The file is at its tensors' first byte then. None for what is no header, or too long."""
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= HEADER_BYTES:
            return None
        try:
            tensors = json_value(file.read(size).decode())
        except ValueError:
            return None
        metadata = tensors.pop(METADATA, {}) if isinstance(tensors, dict) else None
        if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
            return None
        return cls(metadata, tensors)

    def layout(self) -> int:
        return crc32(json.dumps(self.tensors, sort_keys=True).encode())

    def ours(self) -> int:
        """Where the sum of the tensors' bytes begins: other programs may change their own entries."""
        entries = {key: text for key, text in self.metadata.items() if key.startswith(OURS) and key != KEY}
        return crc32(json.dumps(entries, sort_keys=True).encode())

    def size(self) -> int:
        """Bytes of all tensors. Raises LookupError, TypeError, ValueError for what is no header."""
        return max((int(entry["data_offsets"][1]) for entry in self.tensors.values()), default=0)

    def bytes_with(self, found: int) -> bytes:
        """As it stands in a file, for tensors of this sum; equally long for each."""
        told = {**self.metadata, KEY: f"{self.layout():08x}{found:08x}"}
        text = json.dumps({METADATA: told, **self.tensors}, separators=(",", ":"), ensure_ascii=False)
        data = text.encode()
        data += b" " * (-len(data) % 8)
        return len(data).to_bytes(8, "little") + data


def _copied(source: BinaryIO, target: BinaryIO) -> bool:
    """Copy with a checksum, in one pass; False for what has one, or is not whole."""
    header = _Header.read(source)
    if header is None or KEY in header.metadata:
        return False
    target.write(header.bytes_with(0))
    begin, found = target.tell(), header.ours()
    while block := source.read(BLOCK):
        found = crc32(block, found)
        target.write(block)
    whole = target.tell() - begin == header.size()
    target.seek(0)
    target.write(header.bytes_with(found))
    return whole


def _sum(file: BinaryIO, found: int) -> int:
    while block := file.read(BLOCK):
        found = crc32(block, found)
    return found
