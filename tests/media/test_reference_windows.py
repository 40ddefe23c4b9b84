"""Which moment of a reference a frame of a video reads, and that those frames are what is read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.make_videos import counting, film, numbers

from echoreel.common.errors import SettingsError
from echoreel.media.reference_times import Align, VideoTime, aligned, reference_moments
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.reference_windows import TimedReference

WHOLE = (0.0, 1.0)


@pytest.mark.parametrize(
    ("seconds", "align", "speed", "during", "read"),
    [
        (2.0, "stretch", 1, WHOLE, [0.25, 0.75, 1.25, 1.75]),
        (8.0, "stretch", 1, WHOLE, [1, 3, 5, 7]),
        (2.0, "stretch", 1, (0.5, 1), [None, None, 0.5, 1.5]),
        (9.0, "start", 1, WHOLE, [0.5, 1.5, 2.5, 3.5]),
        (9.0, "start", 2, WHOLE, [1, 3, 5, 7]),
        (2.0, "start", 1, WHOLE, [0.5, 1.5, None, None]),
        (2.0, "start", 0.5, WHOLE, [0.25, 0.75, 1.25, 1.75]),
        (9.0, "start", 1, (0.25, 0.75), [None, 0.5, 1.5, None]),
        (2.0, "loop", 1, WHOLE, [0.5, 1.5, 0.5, 1.5]),
        (2.0, "loop", 1, (0.25, 1), [None, 0.5, 1.5, 0.5]),
        (2.0, "ping-pong", 1, WHOLE, [0.5, 1.5, 1.5, 0.5]),
    ],
)
def test_the_moment_that_each_frame_of_four_seconds_reads(
    seconds: float, align: Align, speed: float, during: tuple[float, float], read: Sequence[float | None]
) -> None:
    video = VideoTime(4, 1.0)
    found = reference_moments(video, (0, 4), seconds, align, speed, during)
    np.testing.assert_allclose(found, np.array(read, float))
    for window in ((0, 2), (1, 3), (2, 4)):  # a window reads what its frames read in the whole
        part = reference_moments(video, window, seconds, align, speed, during)
        np.testing.assert_array_equal(part, found[slice(*window)])
    beyond = reference_moments(video, (2, 6), seconds, align, speed, during)
    np.testing.assert_array_equal(beyond[2:], found[[3, 3]])


def test_a_speed_alone_plays_once_and_what_cannot_be_is_told() -> None:
    assert aligned(None, None) == ("stretch", 1)
    assert aligned(None, 2) == ("start", 2)
    assert aligned("loop", None) == ("loop", 1)
    for align, speed, why in (
        ("stretch", 2, "sets the speed itself"),
        ("end", None, "need stretch, start, loop, ping-pong"),
        (None, 0, "speed: got 0"),
        (None, float("nan"), "speed: got nan"),
    ):
        with pytest.raises(SettingsError, match=why):
            aligned(align, speed)


def test_two_seconds_of_a_minute_are_read_at_the_video_s_rate(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4", counting(600, 16, 16), fps=10)
    reference = ReferenceVideo.from_file(path, start=3.0, end=58.0, align="start")
    assert reference.describe() == (
        "3.00 s to 58.00 s of long.mp4 at the video's frame rate, once from the start of the video made"
    )
    timed = TimedReference.read(reference, VideoTime(20, 10.0))
    read = timed.window(0, 20)
    assert read is not None
    assert (len(timed.frames), read.fps, read.during, read.align) == (20, 10, (0, 1), "stretch")
    assert numbers(read.frames) == [number % 24 for number in range(30, 50)]
    np.testing.assert_allclose(timed.taken().timestamps[[0, -1]], [3.05, 4.95])
    assert len(timed.beside()) == 20
    late = timed.window(10, 20)
    assert late is not None
    assert numbers(late.frames) == [number % 24 for number in range(40, 50)]
    fast = TimedReference.read(replace(reference, speed=2.0), VideoTime(4, 10.0)).window(0, 4)
    assert fast is not None
    assert numbers(fast.frames) == [number % 24 for number in (31, 33, 35, 37)]


def test_a_short_reference_of_a_long_video(tmp_path: Path) -> None:
    path = film(tmp_path / "short.mp4", counting(4, 16, 16), fps=4)
    for align, shown, during in (
        ("start", [0, 1, 2, 3], (0, 0.5)),
        ("loop", [0, 1, 2, 3] * 2, WHOLE),
        ("ping-pong", [0, 1, 2, 3, 3, 2, 1, 0], WHOLE),
        ("stretch", [0, 0, 1, 1, 2, 2, 3, 3], WHOLE),
    ):
        reference = ReferenceVideo.from_file(path, end=1.0, align=align)
        timed = TimedReference.read(reference, VideoTime(8, 4.0))
        read = timed.window(0, 8)
        assert read is not None
        assert (numbers(read.frames), read.during) == (shown, during)
        beside = timed.beside()
        assert numbers(beside[: len(shown)]) == shown
        assert not beside[len(shown) :].any()
        second = timed.window(4, 8)
        assert (None if second is None else numbers(second.frames)) == (shown[4:] or None)


def test_frames_in_memory_are_chosen_from(tmp_path: Path) -> None:
    reference = ReferenceVideo(counting(8, 16, 16), fps=4.0, align="loop")
    read = TimedReference.read(reference, VideoTime(12, 2.0)).window(0, 12)
    assert read is not None
    assert numbers(read.frames) == [1, 3, 5, 7] * 3
    every = ReferenceVideo.from_file(
        film(tmp_path / "a.mp4", counting(12, 16, 16)), end=1.0, fps=8, speed=1.0
    )
    assert not every.first_look
    assert len(every.frames) == 8


def test_what_a_reference_file_keeps_of_its_timing(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4", counting(40, 16, 16), fps=8)
    ReferenceVideo.from_file(path, end=4.0, align="loop", speed=0.5).save(tmp_path / "a.safetensors")
    loaded = ReferenceVideo.load(tmp_path / "a.safetensors")
    assert (len(loaded.frames), loaded.align, loaded.speed) == (32, "loop", 0.5)
    assert ReferenceVideo.load(tmp_path / "a.safetensors", align="ping-pong").align == "ping-pong"
    ReferenceVideo.from_file(path).save(tmp_path / "b.safetensors")
    assert b"align" not in (tmp_path / "b.safetensors").read_bytes()  # older versions read it


@pytest.mark.parametrize(
    ("align", "speed", "during"), [("loop", 1, (0, 0.001)), ("start", 1, (0.5, 0.6)), ("start", 100, WHOLE)]
)
def test_a_reference_for_less_than_two_frames_is_told(
    align: Align, speed: float, during: tuple[float, float]
) -> None:
    """The video would silently be the base's own."""
    reference = ReferenceVideo(counting(20), 10.0, align=align, speed=speed, during=during)
    with pytest.raises(SettingsError, match=r"acts in [01] of the video's 8 frames, need 2 or more"):
        TimedReference.read(reference, VideoTime(8, 10.0))
