"""What a table's manifest of LanceDB says of other places, which LanceDB would read without a word."""

from collections.abc import Iterator
from pathlib import Path

from echoreel.common.places import small_file

SUFFIX = ".manifest"
LARGEST = 16 * 2**20  # bytes: of over 100,000 writes that nobody has joined
END = 16  # bytes: where the manifest begins (8), versions, "LANC"
OTHER_PLACES = 18  # the number of its field `base_paths`, of protobuf
BYTES, FIXED = 2, {1: 8, 5: 4}  # kinds of a field: of any length, and of so many bytes


def names_other_places(manifest: Path) -> bool:
    """Whether rows of the table lie elsewhere, as in a shallow clone; not for a file that is damaged.

    Raises OSError, also for one of giant size or without end.
    """
    held = small_file(manifest, LARGEST)
    first = int.from_bytes(held[-END : 8 - END], "little")
    length = int.from_bytes(held[first : first + 4], "little")
    try:
        return OTHER_PLACES in _fields(held[first + 4 : first + 4 + length])
    except IndexError:  # LanceDB tells what is wrong with it
        return False


def _fields(held: bytes) -> Iterator[int]:
    """Numbers of the fields of a message. Raises IndexError for what is none."""
    at = 0
    while at < len(held):
        told, at = _number(held, at)
        yield told >> 3
        kind = told & 7
        if kind in FIXED:
            at += FIXED[kind]
            continue
        value, at = _number(held, at)
        at += value if kind == BYTES else 0


def _number(held: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises IndexError for none."""
    value = shift = 0
    while held[at] & 128:
        if shift > 63:
            raise IndexError(at)
        value |= (held[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | held[at] << shift, at + 1
