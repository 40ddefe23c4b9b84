"""What disks do to files."""


def flipped(data: bytes, place: int = -1) -> bytes:
    """The same with one bit changed, by default in the last byte."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)
