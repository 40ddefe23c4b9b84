"""Folders of videos: good ones, and one of every kind that cannot be used."""

import os
from pathlib import Path

import numpy as np

from echoreel.media.images import Frames
from helpers.make_videos import counting, film, sound


def moving(seed: int, frames: int = 24, size: tuple[int, int] = (48, 64)) -> Frames:
    """A bright square that moves over a background of its own colours."""
    random = np.random.default_rng(seed)
    video = np.tile(random.integers(0, 128, (1, *size, 3)), (frames, 1, 1, 1)).astype(np.uint8)
    for t in range(frames):
        video[t, 8:24, 2 * t : 2 * t + 16] = 200 + seed % 50
    return video


def good_folder(folder: Path) -> Path:
    """Three clips with captions, beside it, by its name, by its folder's name; and a copy of the first."""
    (folder / "juggling balls").mkdir(parents=True)
    film(folder / "one.mp4", moving(1))
    (folder / "one.txt").write_text("a man is carving a stone statue in a garden\n")
    film(folder / "woman_kicking_a_ball.mp4", moving(2))
    film(folder / "juggling balls" / "0003.mp4", moving(3))
    (folder / "copy.mp4").write_bytes((folder / "one.mp4").read_bytes())
    return folder


def bad_folder(folder: Path) -> Path:
    """Twelve things that are named as videos, a link to the folder itself, and one good clip."""
    folder.mkdir(parents=True)
    film(folder / "good.mp4", moving(4))
    (folder / "good.txt").write_text("a woman is painting a wall")
    (folder / "empty.mp4").touch()
    (folder / "random.mp4").write_bytes(os.urandom(4096))
    (folder / "text.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    long = film(folder / "truncated.mp4", counting(64), container_options={"movflags": "faststart"})
    long.write_bytes(long.read_bytes()[: long.stat().st_size // 3])
    (folder / "truncated-copy.mp4").write_bytes(long.read_bytes())
    sound(folder / "sound.mp4")
    film(folder / "one-frame.mp4", counting(1))
    header = film(folder / "header.mp4", counting(8)).read_bytes()
    (folder / "header.mp4").write_bytes(header[:64])
    film(folder / "jpeg.webm", counting(8), codec="libvpx").rename(folder / "zero.webm")
    whole = (folder / "zero.webm").read_bytes()
    (folder / "zero.webm").write_bytes(whole[: whole.find(b"\x1f\x43\xb6\x75")])  # before the first cluster
    with (folder / "huge.mp4").open("wb") as file:
        file.truncate(5 * 2**30)  # sparse
    (folder / "gone.mp4").symlink_to(folder / "nothing.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop").symlink_to(folder)
    return folder


BAD = 12  # files in `bad_folder` that cannot be used
