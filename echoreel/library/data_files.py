"""What a data file of LanceDB repeats or packs: a few bytes of it may be unpacked to gigabytes.

A file is read in batches of rows, so what it stores for each row costs what its size tells. A page may also
hold one value for all rows, a dictionary of values, or values that are packed each by itself. Here is looked
how long those are before LanceDB unpacks any. Pages are as `lance.encodings21` in protobuf tells them.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from echoreel.common.places import check_ends
from echoreel.library.protobuf import fields, numbers, part

LONGEST_VALUE = 32_768  # bytes; a caption of 4,000 characters has 16,000
REPEATED = 64 * 2**20  # bytes of a dictionary, or of the same words in lists
ITEMS, RATIO = 2**20, 100  # words in the lists of a page of any size; bytes of them that one stands for
PAGES = 16 * 2**20  # bytes that tell of the pages
FORMS = {(2, 1), (2, 2)}  # of files that LanceDB writes for us
FOOTER = struct.Struct("<QQQIIHH4s")
MINI_BLOCKS, CONSTANT, FULL_ZIP = 1, 2, 3  # layouts of a page
TEXT, FSST, PACKED = 2, 6, 10  # encodings of values
FIXED_WIDTH = {1, 3, 4, 5, 8, 9, 11}
FSST_RATIO = 8  # bytes that one of FSST stands for, at most
LZ4, ZSTD = 1, 2
UNPACK = {LZ4: ("lz4_raw", 4), ZSTD: ("zstd", 8)}  # the codec, and bytes before it that tell its length


class TooLarge(Exception):
    """A few bytes of a data file stand for more than anybody writes; says for what."""


class OtherForm(TooLarge):
    """Nobody can say for how much: it is stored as EchoReel does not, though a later LanceDB might."""


class _Page(NamedTuple):
    starts: list[int]  # of its buffers, in the file
    sizes: list[int]
    layout: int
    told: bytes


def check_data_file(path: Path) -> None:
    """Raises TooLarge, OSError; IndexError, struct.error for damage, by which LanceDB may end the process.

    What has not the end of such a file, as where a writer was killed, is left to LanceDB.
    """
    check_ends(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < FOOTER.size:
            return
        stored = unpacked = 0
        for page in _pages(file):
            stored += sum(page.sizes)
            if stored > size:
                raise TooLarge("has pages that lie at one place")
            unpacked += _check(page, file)
            if unpacked > max(REPEATED, RATIO * size):
                raise TooLarge(f"has dictionaries of {unpacked} bytes")


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Pages of every column, whatever they hold. Raises as `check_data_file` for a damaged file."""
    size = os.fstat(file.fileno()).st_size
    footer = FOOTER.unpack(_read(file, size - FOOTER.size, FOOTER.size))
    told, columns_at, others_at, others, columns, *form, magic = footer
    if magic != b"LANC":
        return
    if tuple(form) not in FORMS:
        raise OtherForm(f"is a file of form {form[0]}.{form[1]} of Lance, which EchoReel does not write")
    if (about := max(size - told, 16 * columns)) > PAGES:
        raise TooLarge(f"has {about} bytes about its pages")
    _read(file, others_at, 16 * others)  # LanceDB takes the memory for as many before it looks
    read = 0
    for place in struct.iter_unpack("<QQ", _read(file, columns_at, 16 * columns)):
        column = _read(file, *place)
        if (read := read + len(column)) > PAGES:
            raise TooLarge("has columns that lie at one place")
        for name, page in fields(column):
            if name == 2 and isinstance(page, bytes):
                yield _page(page)


def _page(held: bytes) -> _Page:
    values = dict(fields(held))
    starts, sizes = (numbers(_bytes(values.get(name, b""))) for name in (1, 2))
    encoding = part(held, 4, 2, 1, 2)
    if encoding is None:
        raise OtherForm("has a page that does not tell how it is stored")
    layout, told = _first(encoding)
    return _Page(starts, sizes, layout, told)


def _check(page: _Page, file: BinaryIO) -> int:
    """How many bytes a page's dictionary has, unpacked. Raises as `check_data_file`."""
    told, longest, items, unpacked = dict(fields(page.told)), 0, 0, 0
    if page.layout == CONSTANT:
        longest = page.sizes[0] if page.sizes else len(_bytes(told.get(6, b"")))
        items = page.sizes[1] // 2 if len(page.sizes) > 1 else 0
    elif page.layout == MINI_BLOCKS:
        _check_unpacked(_bytes(told.get(3, b"")))
        if dictionary := _bytes(told.get(4, b"")):
            longest, unpacked = _longest_of(dictionary, _read(file, page.starts[2], page.sizes[2]))
        if told.get(8) and isinstance(count := told.get(9, 0), int):  # lists
            items = count
    elif page.layout == FULL_ZIP:
        _check_unpacked(_bytes(told.get(7, b"")))
    else:
        raise OtherForm("has a page of blobs")
    if longest > LONGEST_VALUE:
        raise TooLarge(f"repeats a value of {longest} bytes")
    stored = sum(page.sizes)
    if items > max(ITEMS, stored) or items * longest > max(REPEATED, RATIO * stored):
        raise TooLarge(f"repeats words {items} times in lists")
    return unpacked


def _check_unpacked(encoding: bytes) -> None:
    """Raises OtherForm for texts that are packed, of which a byte may stand for any number."""
    for kind, told in fields(encoding):
        inner = _bytes(told)
        if kind == PACKED and _is_text(part(inner, 3)):
            raise OtherForm("has texts that are packed")
        if kind == TEXT and part(inner, 2):
            raise OtherForm("has texts that are packed")
        if kind == FSST:
            _check_unpacked(part(inner, 2) or b"")
        elif kind not in FIXED_WIDTH | {TEXT, PACKED}:
            raise OtherForm(f"has values of an encoding ({kind}) which EchoReel does not write")


def _is_text(encoding: bytes | None) -> bool:
    """Whether values have any length."""
    return encoding is None or any(kind not in FIXED_WIDTH for kind, _ in fields(encoding))


def _longest_of(encoding: bytes, held: bytes) -> tuple[int, int]:
    """Bytes of the longest value of a dictionary that is stored as `held` (0 if all are of one width), and of
    all that was unpacked."""
    kind, told = _first(encoding)
    if kind == PACKED:
        scheme = dict(fields(part(told, 1) or b"")).get(1, 0)
        kind, _ = _first(part(told, 3) or b"")
        if kind not in FIXED_WIDTH:
            held = _unpacked(held, scheme)
    if kind in FIXED_WIDTH:
        return 0, 0
    if kind not in (TEXT, FSST):
        raise OtherForm(f"has a dictionary of an encoding ({kind}) which EchoReel does not write")
    width = held[0] // 8  # of an offset; these come first, after it and where the values begin
    if width not in (4, 8):
        raise OtherForm(f"has a dictionary whose values are told by {held[0]} bits each")
    stored = held[2 * width : int.from_bytes(held[width : 2 * width], "little")]
    offsets = np.frombuffer(stored[: len(stored) // width * width], f"<i{width}").astype(np.int64)
    return int(np.diff(offsets).max(initial=0)) * (FSST_RATIO if kind == FSST else 1), len(held)


def _unpacked(held: bytes, scheme: int | bytes) -> bytes:
    import pyarrow as pa

    if not isinstance(scheme, int) or scheme not in UNPACK:
        raise OtherForm("has a dictionary that is packed in another way than EchoReel does")
    codec, before = UNPACK[scheme]
    size = int.from_bytes(held[:before], "little")
    if size > REPEATED:
        raise TooLarge(f"has a dictionary of {size} bytes")
    try:
        unpacked: bytes = pa.Codec(codec).decompress(held[before:], size).to_pybytes()
    except (OSError, pa.ArrowException) as error:
        raise TooLarge(f"has a dictionary that is not of {size} bytes") from error
    return unpacked


def _first(held: bytes) -> tuple[int, bytes]:
    """The only field of a message that is one of several kinds; (0, nothing) where there is none."""
    kind, told = next(iter(fields(held)), (0, b""))
    return kind, _bytes(told)


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    """Raises IndexError where the file has no such place."""
    if start < 0 or size > REPEATED or start + size > os.fstat(file.fileno()).st_size:
        raise IndexError(start)
    file.seek(start)
    return file.read(size)
