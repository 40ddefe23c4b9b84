"""Actor clips as ordinary files, `000007.mp4` beside `000007.txt`: every other part meets them as videos."""

from pathlib import Path

from echoreel.actors.actor_clips import ActorDomain
from echoreel.media.video_files import write_video


def write_clips(domain: ActorDomain, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write clips `seed` to `seed + count - 1` and their captions; clips that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed + index:06d}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        if path.exists():
            continue
        clip = domain.clip(seed + index)
        path.with_suffix(".txt").write_text(clip.caption + "\n", encoding="utf-8")
        write_video(path, clip.frames, domain.settings.fps)
    return paths
