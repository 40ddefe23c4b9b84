"""Actor clips as ordinary files, `000007.mp4` beside `000007.txt`: every other part meets them as videos."""

import json
import os
from hashlib import sha256
from pathlib import Path

from echoreel.actors.actor_clips import ActorDomain
from echoreel.common.errors import OutputError, VideoError
from echoreel.common.files import write_atomic
from echoreel.common.places import small_file
from echoreel.media.video_files import read_frames, read_notes, video_beside


def write_clips(domain: ActorDomain, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write clips `seed` to `seed + count - 1` and their captions; those of an earlier call are kept.

    One that a disk damaged is made again. Raises OutputError, before it films, for another video in a clip's
    place, and for another caption in a caption's: somebody else may have made it.
    """
    made_of = _digest(domain)
    notes = {number: json.dumps({"clip": number, "of": made_of}) for number in range(seed, seed + count)}
    paths = {number: folder / f"{number:06d}.mp4" for number in notes}
    made = {number for number, path in paths.items() if _is_made(path, notes[number])}
    for number, path in paths.items():
        is_whole = number in made and _is_whole(path, domain.settings.frames)
        caption = path.with_suffix(".txt")
        if is_whole and os.path.lexists(caption):
            continue
        clip = domain.clip(number)
        text = f"{clip.caption}\n".encode()
        if is_whole:
            write_caption(caption, text)
            continue
        try:
            with video_beside(
                path, clip.frames, domain.settings.fps, overwrite=number in made, notes=notes[number]
            ):
                write_caption(caption, text)
        except OutputError:
            if number in made or not _is_made(path, notes[number]):  # else another process has just made it
                raise
    return [*paths.values()]


def write_caption(path: Path, text: bytes) -> None:
    """Raises OutputError where something else is in its place."""
    try:
        is_other = os.path.lexists(path) and small_file(path) != text
    except OSError:
        is_other = True
    if is_other:
        raise OutputError(f"{path}: already exists and holds something else; choose another folder")
    write_atomic(path, text)


def _is_made(path: Path, note: str) -> bool:
    """Whether the clip is there, as what is noted in it tells. Raises OutputError for another file."""
    if not os.path.lexists(path):
        return False
    try:
        is_ours = read_notes(path) == note
    except VideoError:
        is_ours = False
    if not is_ours:
        raise OutputError(
            f"{path}: already exists, and is not this clip of these motions and settings; move it away, or "
            "choose another folder"
        )
    return True


def _is_whole(path: Path, frames: int) -> bool:
    """Whether a clip of ours holds all that was filmed."""
    try:
        return len(read_frames(path).frames) == frames
    except VideoError:
        return False


def _digest(domain: ActorDomain) -> str:
    """Of all that a clip is made of, but for its number."""
    digest = sha256(f"{domain.settings.model_dump_json()} {domain.library.fps}".encode())
    for recording in domain.library.recordings:
        digest.update(f"{recording.action} {recording.joints.shape}".encode() + recording.joints.tobytes())
    return digest.hexdigest()[:16]
