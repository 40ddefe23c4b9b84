"""Messages of protobuf, in which LanceDB tells of its files: numbers of fields and what they hold."""

from collections.abc import Iterator

BYTES, FIXED = 2, {1: 8, 5: 4}  # kinds of a field: of any length, and of so many bytes


def fields(held: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value: a number or, of other kinds, bytes. Raises IndexError for no message."""
    at = 0
    while at < len(held):
        told, at = number(held, at)
        kind = told & 7
        value, at = (0, at) if kind in FIXED else number(held, at)
        if kind not in FIXED and kind != BYTES:
            yield told >> 3, value
            continue
        length = FIXED.get(kind, value)
        yield told >> 3, held[at : at + length]
        at += length


def part(held: bytes, *path: int) -> bytes | None:
    """What lies at the end of these numbers of fields, one in the other; None where nothing does.

    Raises IndexError for no message.
    """
    for wanted in path:
        found = [value for name, value in fields(held) if name == wanted and isinstance(value, bytes)]
        if not found:
            return None
        held = found[-1]
    return held


def numbers(held: bytes) -> list[int]:
    """Varints that follow each other. Raises IndexError for others."""
    found, at = list[int](), 0
    while at < len(held):
        value, at = number(held, at)
        found.append(value)
    return found


def number(held: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises IndexError for none."""
    value = shift = 0
    while held[at] & 128:
        if shift > 63:
            raise IndexError(at)
        value |= (held[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | held[at] << shift, at + 1
