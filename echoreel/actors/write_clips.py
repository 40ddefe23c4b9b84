"""Actor clips as ordinary files, `000007.mp4` beside `000007.txt`: every other part meets them as videos."""

import os
from pathlib import Path

from echoreel.actors.actor_clips import ActorDomain
from echoreel.common.errors import OutputError
from echoreel.common.files import write_atomic
from echoreel.common.places import small_file
from echoreel.media.video_files import write_video


def write_clips(domain: ActorDomain, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write clips `seed` to `seed + count - 1` and their captions; clips that are there already are kept.

    Raises OutputError for another caption in a caption's place: somebody else may have written it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed + index:06d}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        if path.exists():
            continue
        clip = domain.clip(seed + index)
        write_caption(path.with_suffix(".txt"), f"{clip.caption}\n".encode())
        write_video(path, clip.frames, domain.settings.fps, overwrite=False)
    return paths


def write_caption(path: Path, text: bytes) -> None:
    """Raises OutputError where something else is in its place."""
    try:
        is_other = os.path.lexists(path) and small_file(path) != text
    except OSError:
        is_other = True
    if is_other:
        raise OutputError(f"{path}: already exists and holds something else; choose another folder")
    write_atomic(path, text)
