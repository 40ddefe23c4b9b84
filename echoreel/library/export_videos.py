"""Clips of a library as copies of their videos with a catalogue of them, manifest.jsonl."""

import filecmp
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from echoreel.common.errors import EchoReelError, OutputError
from echoreel.common.files import absent, undone, why_not_written, write_atomic, written_beside
from echoreel.common.places import check_ends
from echoreel.common.text import json_value
from echoreel.library.clips import LibraryClip, check_any
from echoreel.media.decoding import SUFFIXES
from echoreel.media.video_files import probe

MANIFEST_LINE = 1_000_000  # characters read of the first line
KEYS = {"path", "caption", "start", "action", "id"}  # of each line


def export_videos(
    folder: Path, clips: Sequence[LibraryClip], file_of: Callable[[LibraryClip], Path]
) -> tuple[list[Path], list[tuple[str, str]]]:
    """As `ReferenceLibrary.export`; raises OutputError for a full disk, and if no clip can be exported, too.

    file_of: the video of a clip; raises EchoReelError, OSError.
    """
    written = list[Path]()
    with undone(absent((folder, *folder.parents)), lambda: bool(written)):
        return written, _exported(folder, clips, file_of, written)


def _exported(
    folder: Path, clips: Sequence[LibraryClip], file_of: Callable[[LibraryClip], Path], written: list[Path]
) -> list[tuple[str, str]]:
    """Copies into `folder`, noting them in `written`. Returns (place, what is wrong) of the others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {why_not_written(error)}") from error
    manifest = folder / "manifest.jsonl"
    if manifest.exists() and not _is_ours(manifest):
        raise OutputError(f"{manifest}: already exists, and no export wrote it; choose another folder")
    lines, problems = list[dict[str, object]](), list[tuple[str, str]]()
    source_of: dict[Path, Path] = {}
    for clip in clips:
        try:
            source = file_of(clip)
            suffix = source.suffix.lower()
            target = folder / f"{clip.video}{suffix if suffix in SUFFIXES else '.mp4'}"
            if source_of.setdefault(target, source) != source:
                raise OutputError(
                    f"{source}: has the video id of another file, {source_of[target]}; export one of them"
                )
            missing = not target.exists()
            if missing:
                probe(source)  # what is no video is not copied, whatever the library's rows say
            elif not filecmp.cmp(target, source, shallow=False):  # of another size, or spoilt by a disk
                raise OutputError(f"{target}: already exists, and is another file; choose another folder")
        except (EchoReelError, OSError) as error:
            reason = isinstance(error, OSError) and error.strerror
            problems.append((clip.place, f"cannot be read ({reason})" if reason else str(error)))
            continue
        if missing:
            with written_beside(target) as partial:
                shutil.copyfile(source, partial)
            written.append(target)
        end = {} if clip.end is None else {"end": clip.end}
        line = {"path": target.name, "caption": clip.caption, "start": clip.start, **end}
        lines.append(line | {"action": clip.phrase, "id": clip.id})
    check_any(lines, "exported", problems)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomic(manifest, text.encode())
    return problems


def _is_ours(manifest: Path) -> bool:
    """Whether an export wrote it, as its first line tells; one of no clips is empty."""
    try:
        check_ends(manifest)
        with manifest.open(encoding="utf-8") as file:
            line = file.readline(MANIFEST_LINE)
            told = json_value(line) if line else dict.fromkeys(KEYS)
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.keys() >= KEYS
