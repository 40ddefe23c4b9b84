"""The .json beside a video that tells how it was made."""

import os
from pathlib import Path
from typing import Any

from echoreel.common.places import small_file
from echoreel.common.text import json_value

VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
MOST_FILES = 1000  # of a .json, which may be somebody else's
NOTES_BYTES = 4 * 2**20  # of the .json beside a video


def is_notes(notes: Path) -> bool:
    """Whether a .json beside a video tells of a generation."""
    return {"prompt", "seeds"} <= read_details(notes).keys()


def read_details(notes: Path) -> dict[str, Any]:
    """As `GenerationResult.details`; empty for a file that is none, or over `NOTES_BYTES`."""
    try:
        told = json_value(small_file(notes, NOTES_BYTES).decode())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def tells_of(details: dict[str, Any], video: Path) -> bool:
    """Whether a .json beside a video tells of this one, not of another that it names and that is there, too.

    out.json is that of out.mp4 or of out.gif; both may have been renamed since.
    """
    files = details.get("files")
    if not isinstance(files, list) or video.name in files:
        return True
    others = (each for each in files[:MOST_FILES] if isinstance(each, str))
    return not any(os.path.isfile(os.path.join(video.parent, each)) for each in others)


def notes_of(video: Path) -> dict[str, Any]:
    """What the last generation that wrote a video told of it; empty where there is none.

    It is in NAME.json or, for NAME-SEED.mp4 of several seeds, in the NAME.json that lists it.
    """
    own, of_all = (
        video.with_name(f"{video.stem}.json"),
        video.with_name(f"{video.stem.rpartition('-')[0]}.json"),
    )
    alone, together = read_details(own), read_details(of_all)
    files = together.get("files")
    listed = isinstance(files, list) and video.name in files
    if alone and tells_of(alone, video) and not (listed and _written(of_all) > _written(own)):
        return alone
    return together if listed else {}


def _written(notes: Path) -> float:
    try:
        return notes.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
