"""What the tables of an mp4 or mov claim, before FFmpeg makes an entry in memory for each sample they claim.

A few bytes can claim millions: a count of samples that all have one size, chunks of many samples, or edits
that each show all of them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from echoreel.common.errors import VideoTooLarge

HOLDERS = {  # boxes whose content FFmpeg reads as boxes
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"udta", b"wave"),
    *(b"dinf", b"tref", b"ipro"),
}
MOST_BOXES = 2**20
MOST_DEPTH = 16
SHOWN_TWICE = 2**24  # samples over all edits of a film: a film of an hour has some 100 000
SOUND_OF = 64  # samples of sound that a byte holds at most
CHUNKS_READ = 2**16  # entries of a table of chunks


@dataclass
class _Track:
    """What the tables of a track claim."""

    samples: int = 0
    edits: int = 0
    chunks: int = 0
    in_a_chunk: int = 0  # samples, at most
    is_sound: bool = False
    is_plain: bool = False  # each sample is a tick long, as in sound that is not compressed


def check_claims(path: Path) -> None:
    """Raises VideoTooLarge for an mp4 or mov that claims more samples than its bytes can hold, OSError."""
    size, count, tracks = path.stat().st_size, 0, [_Track()]
    with path.open("rb") as file:
        for kind, length in _boxes(file, size, 0):
            count += 1
            if kind == b"trak":
                tracks.append(_Track())
            _note(tracks[-1], kind, file, length)
            if count > MOST_BOXES or kind == b"cmov":
                what = "its tables are compressed" if kind == b"cmov" else f"it has over {MOST_BOXES} boxes"
                raise VideoTooLarge(f"{path.name}: {what}; export it again, for example as mp4")
    # Sound that is not compressed has an entry for many samples.
    samples = sum(each.samples for each in tracks if not (each.is_sound and each.is_plain))
    chunked = sum(each.chunks * each.in_a_chunk for each in tracks)
    shown = sum(each.samples * each.edits for each in tracks if each.edits > 1)
    if samples > size or chunked > SOUND_OF * size or shown > SHOWN_TWICE:
        raise VideoTooLarge(
            f"{path.name}: claims {max(samples, chunked, shown)} samples in {size} bytes; export it again"
        )


def _boxes(file: BinaryIO, end: int, depth: int) -> Iterator[tuple[bytes, int]]:
    """Kind and bytes of content of every box, the file standing at its content."""
    at = file.tell()
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        inside = 8
        if length == 1:
            length, inside = int.from_bytes(file.read(8), "big"), 16
        stop = end if length == 0 else min(at + length, end)
        if stop < at + inside:
            return
        yield kind, stop - at - inside
        if kind in HOLDERS and depth < MOST_DEPTH:
            file.seek(at + inside)
            yield from _boxes(file, stop, depth + 1)
        at = stop


def _note(track: _Track, kind: bytes, file: BinaryIO, length: int) -> None:
    """Add what a table claims."""
    if kind in (b"stsz", b"stz2"):
        track.samples += _number(file, 8)
    elif kind in (b"trun", b"elst", b"stco", b"co64"):
        name = {b"trun": "samples", b"elst": "edits"}.get(kind, "chunks")
        setattr(track, name, getattr(track, name) + _number(file, 4))
    elif kind == b"hdlr":
        track.is_sound = file.read(12)[8:] == b"soun"
    elif kind == b"stts":
        told = file.read(16)[4:]
        track.is_plain = told[:4] == b"\0\0\0\1" and told[8:] == b"\0\0\0\1"
    elif kind == b"stsc":
        count = min(_number(file, 4), CHUNKS_READ, length // 12)
        told = file.read(12 * count)
        entries = struct.iter_unpack(">III", told[: len(told) // 12 * 12])
        track.in_a_chunk = max([track.in_a_chunk, *(samples for _, samples, _ in entries)])


def _number(file: BinaryIO, after: int) -> int:
    """The whole number of four bytes that lies so many bytes on; 0 behind the end of the file."""
    return int.from_bytes(file.read(after + 4)[after:], "big")
