"""Which videos to measure, and what is known of each: prompt and references, given or written beside it."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from echoreel.common.errors import SettingsError, VideoMissing
from echoreel.common.places import regular_file
from echoreel.common.text import one_line
from echoreel.generation.notes import notes_of
from echoreel.media.decoding import named_as_video
from echoreel.media.reference_video import CAPTION_BYTES


class Part(NamedTuple):
    """Part of a video, in seconds; whole without an end."""

    path: Path
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Subject:
    """A video to measure; all of it, or the part from `start` to `end` in seconds."""

    path: Path
    prompt: str | None  # None: not known
    references: tuple[Part, ...]
    start: float = 0.0
    end: float | None = None

    @property
    def part(self) -> Part:
        return Part(self.path, self.start, self.end)


def videos_of(paths: Sequence[Path]) -> list[Path]:
    """Files as given; of a folder the videos in it, by name, without those that `generate --compare` made.

    Raises VideoMissing for a folder without videos.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _is_video(file) and not _is_comparison(file))
            if not inside:
                raise VideoMissing(f"{path}: no videos in this folder; give one that holds some, or files")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def subjects(
    videos: Sequence[Path], prompts: Sequence[str] = (), references: Sequence[Path] = ()
) -> list[Subject]:
    """Each video with its prompt and references.

    prompts: one for all, or one for each; none: from NAME.txt, or the .json that `generate` wrote.
    references: files, for all videos; or one folder with a video of the same name for each; none: from the
    .json, the part that `generate` took. Raises SettingsError, VideoMissing.
    """
    if prompts and len(prompts) not in (1, len(videos)):
        raise SettingsError(
            f"--prompt: got {len(prompts)} for {len(videos)} videos, need one, or one for each"
        )
    if any(not prompt.strip() for prompt in prompts):
        raise SettingsError("--prompt: got an empty one; say what the video should show, or leave it out")
    each = list(prompts) * len(videos) if len(prompts) == 1 else list(prompts)
    found = []
    for index, video in enumerate(videos):
        notes = notes_of(video)
        prompt = each[index] if each else _prompt(video, notes)
        parts = _given(video, references) if references else _noted(video, notes)
        found.append(Subject(video, prompt, parts))
    return found


def _given(video: Path, references: Sequence[Path]) -> tuple[Part, ...]:
    folders = [path for path in references if path.is_dir()]
    if not folders:
        return tuple(Part(path) for path in references)
    if len(references) > 1:
        raise SettingsError("--reference: got a folder and other files; need files, or one folder")
    named = [file for file in sorted(folders[0].iterdir()) if _is_video(file) and file.stem == video.stem]
    if len(named) != 1:
        raise VideoMissing(
            f"{folders[0]}: {len(named)} videos named {video.stem}, need 1, the reference of {video.name}"
        )
    return (Part(named[0]),)


def _noted(video: Path, notes: dict[str, Any]) -> tuple[Part, ...]:
    """The references of `generate`'s notes that are still there, from the first to the last frame taken."""
    parts, told = [], notes.get("references")
    for reference in told if isinstance(told, list) else ():
        try:
            times, path = reference["timestamps"], Path(reference["file"])
            part = Part(path, float(times[0]), float(times[-1]) + 1 / float(reference["fps"]))
        except (TypeError, KeyError, IndexError, ValueError, ArithmeticError):
            continue  # made in memory, or no notes of ours
        places = [path, video.parent / path]
        if part.end is not None and 0 <= part.start < part.end < math.inf:
            parts += [part._replace(path=place) for place in places if os.path.isfile(place)][:1]
    return tuple(parts)


def _prompt(video: Path, notes: dict[str, Any]) -> str | None:
    prompt = notes.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return one_line(prompt)
    beside = video.with_suffix(".txt")
    if os.path.lexists(beside):
        regular_file(beside, SettingsError, "a text file in its place, or --prompt")
    return one_line(_read(beside, CAPTION_BYTES)) or None


def _read(path: Path, most: int) -> str:
    """The text of a small file; empty when there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return stream.read(most).decode("utf-8-sig", errors="replace")


def _is_video(path: Path) -> bool:
    return named_as_video(path) and path.is_file()


def _is_comparison(path: Path) -> bool:
    """`generate --compare` writes NAME-compare.mp4 beside NAME.json."""
    name = path.stem.removesuffix("-compare")
    return name != path.stem and path.with_name(f"{name}.json").is_file()
