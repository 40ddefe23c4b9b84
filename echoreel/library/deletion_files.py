"""What a file of deleted rows unpacks to, of which LanceDB reads the whole.

It is an Arrow file with one batch of numbers, which are packed by zstd, its places told by flatbuffers; or,
where they are many, a bitmap of Roaring.
"""

import struct
from pathlib import Path
from typing import Any

from echoreel.common.places import check_ends
from echoreel.library.data_files import PAGES, TooLarge

MAGIC, END = b"ARROW1", 10  # bytes at the end: of how many the footer has, and the magic
BLOCK, BUFFER = struct.Struct("<qi4xq"), struct.Struct("<qq")
DICTIONARIES, BATCHES = 2, 3  # fields of the footer
HEADER, BUFFERS, PACKED = 2, 2, 3  # of a message, and of a batch
ZSTD = 1
RUNS, BITMAP = 12347, 8192  # how a bitmap with runs begins; bytes of 65,536 rows of it
LARGEST, RATIO = 2**26, 20  # bytes of numbers: of any file, as of 500 million rows in a row; from one byte


def check_deletion_file(path: Path) -> None:
    """Raises TooLarge, OSError; IndexError, struct.error for damage. Other files are left to LanceDB."""
    check_ends(path)
    if (size := path.stat().st_size) > PAGES:
        raise TooLarge(f"has {size} bytes about deleted rows")
    held = path.read_bytes()
    cookie = int.from_bytes(held[:4], "little")
    unpacked = BITMAP * ((cookie >> 16) + 1)  # of runs each
    if cookie & 0xFFFF == RUNS and unpacked > max(LARGEST, RATIO * size):
        raise TooLarge(f"has deleted rows of {unpacked} bytes")
    if held[-len(MAGIC) :] != MAGIC:
        return
    length = _read("<i", held, len(held) - END)
    footer = held[len(held) - END - length : len(held) - END]
    table = _at(footer, 0)
    blocks = _items(footer, _field(footer, table, BATCHES), BLOCK)
    if len(blocks) != 1 or _items(footer, _field(footer, table, DICTIONARIES), BLOCK):
        raise TooLarge(f"has {len(blocks)} batches of deleted rows")
    start, before, _ = blocks[0]
    if _read("<i", held, start) != -1:
        raise TooLarge("has deleted rows in an old form")
    message = held[start + 8 : start + before]
    batch = _at(message, _field(message, _at(message, 0), HEADER))
    buffers = _items(message, _field(message, batch, BUFFERS), BUFFER)
    packing = _field(message, batch, PACKED)
    body = start + before
    _check(held, [(body + at, count) for at, count in buffers if count], _codec(message, packing))


def _check(held: bytes, buffers: list[tuple[int, int]], codec: int | None) -> None:
    """Raises TooLarge where buffers, at these places, unpack to more than numbers of rows can."""
    import pyarrow as pa

    most, unpacked = max(LARGEST, RATIO * len(held)), 0
    for at, count in buffers:
        size = count if codec is None else _read("<q", held, at)
        is_packed = codec is not None and size != -1
        unpacked += size if is_packed else count
        if size < -1 or unpacked > most or (is_packed and codec != ZSTD):
            raise TooLarge(f"has deleted rows of {unpacked} bytes")
        if is_packed:
            try:
                pa.Codec("zstd").decompress(held[at + 8 : at + count], size)  # it may hold more than it says
            except (OSError, pa.ArrowException) as error:
                raise TooLarge(f"has deleted rows that are not of {size} bytes") from error


def _codec(message: bytes, packing: int) -> int | None:
    """The number of what the buffers are packed by, None where they are not."""
    if not packing:
        return None
    kind = _field(message, _at(message, packing), 0)
    return message[kind] if kind else 0


def _field(held: bytes, table: int, number: int) -> int:
    """Where a field of a table is, 0 where it has none."""
    facts = table - int(_read("<i", held, table))
    if 4 + 2 * number >= _read("<H", held, facts):
        return 0
    offset = int(_read("<H", held, facts + 4 + 2 * number))
    return table + offset if offset else 0


def _items(held: bytes, at: int, of: struct.Struct) -> list[tuple[Any, ...]]:
    """Those of a vector, none where there is none."""
    if not at:
        return []
    first = _at(held, at)
    count = _read("<I", held, first)
    if first + 4 + count * of.size > len(held):
        raise IndexError(first)
    return [of.unpack_from(held, first + 4 + number * of.size) for number in range(count)]


def _at(held: bytes, at: int) -> int:
    """Where an offset leads."""
    return at + int(_read("<I", held, at))


def _read(form: str, held: bytes, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    return int(struct.unpack_from(form, held, at)[0])
