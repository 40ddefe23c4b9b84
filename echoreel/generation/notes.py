"""The .json beside a video that tells how it was made."""

import json
from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")


def is_notes(notes: Path) -> bool:
    """Whether a .json beside a video tells of a generation."""
    try:
        told = json.loads(notes.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and {"prompt", "seeds"} <= told.keys()
