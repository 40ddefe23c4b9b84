"""The .json beside a video that tells how it was made."""

from pathlib import Path
from typing import Any

from echoreel.common.places import small_file
from echoreel.common.text import json_value

VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
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
