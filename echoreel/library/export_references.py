"""Clips of a library as reference files, to share without their videos."""

import re
from collections.abc import Sequence
from pathlib import Path

from echoreel.bases.base import BaseLike
from echoreel.bases.encoding import encoded_for
from echoreel.bases.loading import model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError, OutputError
from echoreel.common.files import absent, undone
from echoreel.common.progress import tracked
from echoreel.library.clips import LibraryClip, check_any
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.reference_file import SUFFIX


def export_references(
    library: ReferenceLibrary,
    folder: Path,
    clips: Sequence[LibraryClip],
    base: BaseLike | None = None,
    size: tuple[int, int] = (0, 0),
) -> tuple[list[Path], list[tuple[str, str]]]:
    """Write a file for each clip, named by its action and id; with `base`, encoded for it.

    size: pixels (height, width) to encode at. Files that are there are left as they are. Returns those
    written, and (place, what is wrong) of clips that could not be. Raises OSError for an impossible folder,
    OutputError where no clip can be written.
    """
    written, problems = list[Path](), list[tuple[str, str]]()
    with undone(absent((folder, *folder.parents)), lambda: bool(written)):
        folder.mkdir(parents=True, exist_ok=True)
        for clip in tracked(clips, f"writing {len(clips)} references"):
            action = re.sub(r"\W+", "-", clip.phrase).strip("-")[:60] or "clip"
            target = folder / f"{action}-{clip.id}{SUFFIX}"
            if target.exists():
                continue
            try:
                reference = library.reference(clip)
                if base is not None:
                    reference = encoded_for(base, reference, size, model_name(base_of(base).pipe))
            except (EchoReelError, OSError) as error:
                problems.append((clip.place, str(error)))
                continue
            try:
                reference.save(target, overwrite=False)
            except OutputError:
                if not target.exists():  # else another process has just written it
                    raise
                continue
            written.append(target)
        check_any(range(len(clips) - len(problems)), "written", problems)
    return written, problems
