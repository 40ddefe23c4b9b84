"""What a table's manifest of LanceDB says of other places, which LanceDB would read without a word."""

from pathlib import Path

from echoreel.common.places import small_file
from echoreel.library.protobuf import fields

SUFFIX = ".manifest"
LARGEST = 16 * 2**20  # bytes: of over 100,000 writes that nobody has joined
END = 16  # bytes: where the manifest begins (8), versions, "LANC"
OTHER_PLACES = 18  # the number of its field `base_paths`, of protobuf


def names_other_places(manifest: Path) -> bool:
    """Whether rows of the table lie elsewhere, as in a shallow clone; not for a file that is damaged.

    Raises OSError, also for one of giant size or without end.
    """
    held = small_file(manifest, LARGEST)
    first = int.from_bytes(held[-END : 8 - END], "little")
    length = int.from_bytes(held[first : first + 4], "little")
    try:
        return OTHER_PLACES in (name for name, _ in fields(held[first + 4 : first + 4 + length]))
    except IndexError:  # LanceDB tells what is wrong with it
        return False
