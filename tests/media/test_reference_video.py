"""What `ReferenceVideo` takes from a file, and what it tells about it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.make_videos import counting, film, numbers
from numpy.testing import assert_allclose

from echoreel.common.errors import ClipTooShort, SettingsError, VideoMissing
from echoreel.evaluation.measure.subjects import subjects
from echoreel.media.images import dimmed_outside
from echoreel.media.reference_video import (
    CAPTION_BYTES,
    DEFAULT_FPS,
    DEFAULT_FRAMES,
    LONGEST_SIDE,
    ReferenceVideo,
)


def test_by_default_the_first_two_seconds_at_eight_a_second(tmp_path: Path) -> None:
    reference = ReferenceVideo.from_file(film(tmp_path / "cartwheel.mp4", counting(100), fps=10))
    assert (len(reference.frames), reference.fps, reference.strength) == (DEFAULT_FRAMES, DEFAULT_FPS, 1.0)
    assert reference.describe() == (
        "16 frames, 0.00 s to 1.80 s of cartwheel.mp4 at 8 fps "
        "(it is 10.00 s long; start and end choose another part), stretched over the video made"
    )


def test_a_short_clip_gives_what_there_is(tmp_path: Path) -> None:
    reference = ReferenceVideo.from_file(film(tmp_path / "a.mp4", counting(10), fps=10))
    assert numbers(reference.frames) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert (
        reference.describe() == "8 frames, 0.00 s to 0.80 s of a.mp4 at 8 fps, stretched over the video made"
    )


@pytest.mark.parametrize(
    ("asked", "taken", "fps"),
    [
        ({"start": 0.5}, [5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18], 8),
        ({"start": 0.5, "frames": 3}, [5, 6, 7], 8),
        ({"fps": 5, "frames": 4}, [0, 2, 4, 6], 5),
        ({"start": 1, "end": 1.5}, [10, 11, 12, 13], 8),
        ({"end": 2, "frames": 4}, [0, 5, 10, 15], 2),
        ({"end": 2, "fps": 10}, list(range(20)), 10),
    ],
)
def test_a_part_can_be_chosen(tmp_path: Path, asked: dict[str, Any], taken: list[int], fps: float) -> None:
    reference = ReferenceVideo.from_file(film(tmp_path / "a.mp4", counting(20), fps=10), **asked)
    assert numbers(reference.frames) == taken
    assert reference.fps == fps
    assert_allclose(reference.timestamps, np.array(taken) / 10)


def test_a_long_part_is_spread_over_the_frames(tmp_path: Path) -> None:
    reference = ReferenceVideo.from_file(film(tmp_path / "a.mp4", counting(80), fps=10), start=2, end=6)
    assert len(reference.frames) == DEFAULT_FRAMES
    assert reference.fps == 4
    assert reference.timestamps[0] == 2
    assert reference.timestamps[-1] == pytest.approx(5.7, abs=0.1)


def test_the_caption_comes_from_the_caller_or_the_file_beside(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(8))
    assert ReferenceVideo.from_file(path).caption == ""
    (tmp_path / "a.txt").write_text(" a man\n doing a cartwheel \n")
    assert ReferenceVideo.from_file(path).caption == "a man doing a cartwheel"
    assert ReferenceVideo.from_file(path, "a dog").caption == "a dog"
    assert ReferenceVideo.from_file(path, "").caption == ""


def test_a_caption_file_of_another_system_is_read_and_what_is_guessed_is_told(tmp_path: Path) -> None:
    path, text = film(tmp_path / "a.mp4", counting(8)), tmp_path / "a.txt"
    text.write_text("a man is running\u2028in a park", encoding="utf-16")
    assert ReferenceVideo.from_file(path).caption == "a man is running in a park"
    text.write_bytes(b"in a caf\xe9")
    with pytest.warns(UserWarning, match=r"a\.txt: read as Windows-1252"):
        assert ReferenceVideo.from_file(path).caption == "in a caf\u00e9"
    text.write_text("x" * (CAPTION_BYTES + 1))
    with pytest.raises(SettingsError, match=r"a\.txt: over 65536 bytes, no caption; shorten it"):
        ReferenceVideo.from_file(path)
    assert ReferenceVideo.from_file(path, "mine").caption == "mine"
    text.rename(tmp_path / "a.TXT").write_text("upper")
    assert ReferenceVideo.from_file(path).caption == "upper"


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "a pipe or a device"), (os.mkdir, "a folder")])
def test_a_caption_beside_a_video_that_is_no_file_is_told(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    path = film(tmp_path / "a.mp4", counting(8))
    make(tmp_path / "a.txt")
    told = rf"a\.txt: this is {what}; give the path of a text file in its place, or"
    with pytest.raises(SettingsError, match=f"{told} a caption"):
        ReferenceVideo.from_file(path)
    assert ReferenceVideo.from_file(path, "mine").caption == "mine"
    with pytest.raises(SettingsError, match=f"{told} --prompt"):
        subjects([path], [], [])
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    (tmp_path / "a.txt").symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"a\.txt: there is no such file"):
        ReferenceVideo.from_file(path)


def test_large_videos_are_read_smaller(tmp_path: Path) -> None:
    reference = ReferenceVideo.from_file(film(tmp_path / "a.mp4", counting(2, 540, 2048), rotation=90))
    assert reference.frames.shape[1:3] == (LONGEST_SIDE, 270)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": -1}, "start: got -1"),
        ({"start": float("nan")}, "start: got nan"),
        ({"start": 2, "end": 1}, "end: got 1, need seconds after the start at 2"),
        ({"fps": 0}, "fps: got 0"),
        ({"frames": 1}, "frames: got 1, need at least 2"),
        ({"strength": -0.5}, "strength: got -0.5"),
        ({"strength": float("inf")}, "strength: got inf"),
    ],
)
def test_values_that_cannot_be_are_named(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ReferenceVideo.from_file(film(tmp_path / "a.mp4", counting(8)), **asked)


def test_too_short_and_missing_files_are_named(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(8))
    with pytest.raises(ClipTooShort, match=r"a\.mp4: 1 frame, need at least 2"):
        ReferenceVideo.from_file(path, start=0.9)
    with pytest.raises(ClipTooShort, match="need at least 2"):
        ReferenceVideo.from_file(film(tmp_path / "one.mp4", counting(1), fps=1))
    with pytest.raises(VideoMissing, match=r"missing\.mp4"):
        ReferenceVideo.from_file(tmp_path / "missing.mp4")


def test_frames_in_memory_are_a_reference_too() -> None:
    reference = ReferenceVideo(counting(6), fps=4, caption="waving")
    assert_allclose(reference.timestamps, [0, 0.25, 0.5, 0.75, 1, 1.25])
    assert reference.describe() == (
        "6 frames, 0.00 s to 1.25 s of frames in memory at 4 fps, stretched over the video made"
    )
    with pytest.raises(SettingsError, match=r"got a str, .*ReferenceVideo.from_file\(path\) reads a file"):
        ReferenceVideo("clip.mp4")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="need uint8"):
        ReferenceVideo(counting(6)[..., 0], fps=4)


def test_the_sheet_shows_every_frame_taken() -> None:
    film_ = counting(11, 32, 32)
    sheet = ReferenceVideo(film_, fps=8).sheet(columns=4)
    assert sheet.shape[1] == 4 * (96 + 8)
    assert {int(frame[16, 20, 0]) for frame in film_} <= set(np.unique(sheet[..., 0]).tolist())


def test_the_sheet_greys_what_a_square_base_cuts_away() -> None:
    frames = np.full((2, 32, 64, 3), 250, np.uint8)
    shown = dimmed_outside(frames, (16, 16))
    assert (shown[:, :, 16:48] == 250).all()
    assert (shown[:, :, :16] < 170).all()
    assert (shown[:, :, 48:] < 170).all()
    assert (dimmed_outside(frames, (10, 20)) == 250).all()
    reference = ReferenceVideo(frames)
    assert (reference.sheet(size=(16, 16)) != reference.sheet()).any()
