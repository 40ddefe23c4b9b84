"""Promises of media/: video files, decoding and images, on files made here."""

import gc
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from helpers.make_videos import counting, film, numbers, sound
from helpers.places import ROOT
from numpy.testing import assert_allclose
from PIL import Image

from echoreel.common.errors import (
    ClipTooShort,
    OutputError,
    VideoEmpty,
    VideoError,
    VideoMissing,
    VideoTooLarge,
    VideoUnreadable,
)
from echoreel.media.images import fitted
from echoreel.media.video_files import Span, VideoLimits, probe, read_frames, write_image, write_video

RED, GREEN = (220, 30, 30), (30, 200, 30)


def near(pixel: np.ndarray, colour: tuple[int, int, int], within: int = 25) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= within)


# --- which frames ---


def test_probe_tells_size_rate_and_length(tmp_path: Path) -> None:
    info = probe(film(tmp_path / "a.mp4", counting(20), fps=8))
    assert (info.height, info.width, info.frames, info.codec) == (48, 64, 20, "h264")
    assert (info.fps, info.duration, info.rotation, info.has_alpha) == (8.0, 2.5, 0, False)


def test_all_frames_as_filmed(tmp_path: Path) -> None:
    clip = read_frames(film(tmp_path / "a.mp4", counting(20), fps=8))
    assert clip.frames.shape == (20, 48, 64, 3)
    assert clip.frames.dtype == np.uint8
    assert numbers(clip.frames) == list(range(20))
    assert_allclose(clip.timestamps, np.arange(20) / 8)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(start=0.5, frames=3), [4, 5, 6]),
        (Span(start=0.5, end=1.0), [4, 5, 6, 7]),
        (Span(stride=5), [0, 5, 10, 15]),
        (Span(start=0.26, stride=2, frames=2), [3, 5]),
        (Span(fps=4), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        (Span(fps=4, start=1.0, end=2.0), [8, 10, 12, 14]),
        (Span(fps=3, frames=4), [0, 2, 5, 8]),
        (Span(fps=16, start=1.0, frames=5), [8, 8, 9, 9, 10]),
        (Span(fps=8, start=2.3), [18, 19]),
    ],
)
def test_a_span_names_its_frames(tmp_path: Path, span: Span, expected: list[int]) -> None:
    clip = read_frames(film(tmp_path / "a.mp4", counting(20), fps=8), span)
    assert numbers(clip.frames) == expected
    assert_allclose(clip.timestamps, np.array(expected) / 8)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov", "ts"])
@pytest.mark.parametrize("fps", [24, 30, Fraction(30000, 1001)])
def test_the_rate_it_was_filmed_at_takes_each_frame_once(tmp_path: Path, suffix: str, fps: float) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"  # avi cannot hold the timestamps of h264
    path = film(tmp_path / f"a.{suffix}", counting(24), fps=fps, codec=codec, options={"g": "12"})
    assert numbers(read_frames(path, Span(fps=float(fps))).frames) == list(range(24))
    assert numbers(read_frames(path, Span(fps=float(fps), start=10 / fps, frames=3)).frames) == [10, 11, 12]
    assert numbers(read_frames(path, Span(start=10 / fps, frames=3)).frames) == [10, 11, 12]


def test_a_variable_rate_is_read_by_time_not_by_index(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 1.3, 1.4, 2.9, 3.0]  # rests on frame 3 for a second, on frame 5 for 1.5
    path = film(tmp_path / "a.mp4", counting(8), fps=10, times=times)
    clip = read_frames(path, Span(fps=2, frames=6))
    assert numbers(clip.frames) == [0, 3, 3, 5, 5, 5]
    assert_allclose(clip.timestamps, [0.0, 0.3, 0.3, 1.4, 1.4, 1.4], atol=0.002)


def test_a_gif_is_read_by_time_from_its_middle_on(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", counting(12), fps=8)
    assert numbers(read_frames(tmp_path / "a.gif", Span(fps=8, start=0.75, frames=4)).frames) == [6, 7, 8, 9]
    assert probe(tmp_path / "a.gif").duration == pytest.approx(1.5, abs=0.01)


# --- what they look like ---


@pytest.mark.parametrize(
    ("rotation", "size", "red", "green"),
    [  # where the corners that were top left and bottom left are seen, as (row, column)
        (0, (48, 64), (2, 2), (-3, 2)),
        (90, (64, 48), (-3, 2), (-3, -3)),
        (180, (48, 64), (-3, -3), (2, -3)),
        (270, (64, 48), (2, -3), (2, 2)),
    ],
)
def test_rotation_metadata_is_applied(
    tmp_path: Path, rotation: int, size: tuple[int, int], red: tuple[int, int], green: tuple[int, int]
) -> None:
    path = film(tmp_path / "a.mp4", counting(4), rotation=rotation)
    info, frames = probe(path), read_frames(path).frames
    assert (info.rotation, info.height, info.width) == (rotation, *size)
    assert frames.shape[1:3] == size
    assert near(frames[0][red], RED)
    assert near(frames[0][green], GREEN)


def test_a_long_vertical_phone_clip(tmp_path: Path) -> None:
    """Stored lying, shown standing, 30 s: one part is read, at the asked size, without decoding the rest."""
    path = film(tmp_path / "phone.mov", counting(900, 36, 64), fps=30, rotation=270, options={"g": "60"})
    clip = read_frames(
        path, Span(start=20, fps=10, frames=4), (32, 32), limits=VideoLimits(decoded_frames=90)
    )
    assert clip.frames.shape == (4, 32, 32, 3)
    assert numbers(clip.frames) == [600 % 24, 603 % 24, 606 % 24, 609 % 24]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "png", "rgba")]
)
def test_alpha_lies_over_grey(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    film4 = np.full((3, 32, 32, 4), 255, np.uint8)
    film4[:, :16, :, 3] = 0
    path = film(tmp_path / name, film4, codec=codec, pix_fmt=pix_fmt, options={})
    assert probe(path).has_alpha
    frames = read_frames(path).frames
    assert near(frames[1, 4, 16], (128, 128, 128), 4)
    assert near(frames[1, 28, 16], (255, 255, 255), 4)


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(2, 48, 32), sample_aspect_ratio=Fraction(2, 1))
    assert (probe(path).height, probe(path).width) == (48, 64)
    assert read_frames(path).frames.shape == (2, 48, 64, 3)


@pytest.mark.parametrize("odd", [(33, 47), (1, 1), (20, 31)])
def test_odd_sizes_are_written_and_read(tmp_path: Path, odd: tuple[int, int]) -> None:
    frames = counting(3, 40, 60)[:, : odd[0], : odd[1]]
    write_video(tmp_path / "a.mp4", frames, fps=8)
    read = read_frames(tmp_path / "a.mp4").frames
    assert read.shape[1:3] == (odd[0] + odd[0] % 2, odd[1] + odd[1] % 2)


def test_a_frame_fills_the_size_and_what_hangs_over_is_cut() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 255  # the middle square is white
    assert (fitted(image, (20, 20)) == 255).all()


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(fitted(stripes, (20, 20))) <= 100  # picking pixels would give 0 and 200
    assert np.ptp(fitted(stripes, (13, 13))) <= 60


# --- errors and limits ---


def truncated(path: Path, share: float) -> Path:
    whole = film(
        path.with_name("whole.mp4"), counting(80, 64, 64), container_options={"movflags": "+faststart"}
    )
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    return path


def test_a_truncated_file_is_read_up_to_the_break_and_named_after_it(tmp_path: Path) -> None:
    path = truncated(tmp_path / "a.mp4", 0.6)
    assert numbers(read_frames(path, Span(frames=16)).frames) == list(range(16))
    for span in (Span(), Span(fps=8), Span(start=9.0, frames=4), Span(stride=20)):
        with pytest.raises(VideoUnreadable, match=r"a\.mp4: (cut off|damaged)"):
            read_frames(path, span)


def files(folder: Path) -> dict[str, tuple[Path, type[VideoError]]]:
    """Name -> (a file that cannot be used, the error that says why)."""
    made = {
        name: folder / name
        for name in ("empty.mp4", "text.mp4", "noise.mp4", "list.m3u8", "still.png", "cut.mp4")
    }
    made["empty.mp4"].touch()
    made["text.mp4"].write_text("a cartwheel, honestly\n" * 50)
    made["noise.mp4"].write_bytes(np.random.default_rng(0).bytes(5000))
    made["list.m3u8"].write_text("#EXTM3U\n#EXTINF:2,\nwhole.mp4\n#EXT-X-ENDLIST\n")
    write_image(made["still.png"], counting(1)[0])
    whole = film(folder / "whole.mp4", counting(40))
    made["cut.mp4"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # without its index
    return {
        "missing": (folder / "missing.mp4", VideoMissing),
        "folder": (folder, VideoMissing),
        "address": (Path("http://127.0.0.1/a.mp4"), VideoMissing),
        "empty": (made["empty.mp4"], VideoEmpty),
        "sound": (sound(folder / "sound.m4a"), VideoEmpty),
        "no frames": (film(folder / "none.mp4", counting(1)[:0]), VideoEmpty),
        "text": (made["text.mp4"], VideoUnreadable),
        "noise": (made["noise.mp4"], VideoUnreadable),
        "playlist": (made["list.m3u8"], VideoUnreadable),
        "picture": (made["still.png"], VideoUnreadable),
        "index cut off": (made["cut.mp4"], VideoUnreadable),
    }


def test_each_bad_file_has_its_error_by_name(tmp_path: Path) -> None:
    for kind, (path, error) in files(tmp_path).items():
        for read in (probe, read_frames):
            with pytest.raises(error) as caught:
                read(path)
            assert type(caught.value) is error, kind
            assert path.name in str(caught.value), kind
            assert "\n" not in str(caught.value), kind


def test_damaged_files_raise_only_our_errors(tmp_path: Path) -> None:
    """Random bytes changed, some files cut: a frame or an `EchoReelError`, never another exception."""
    rng = np.random.default_rng(0)
    sources = [
        film(tmp_path / "a.mp4", counting(12), rotation=90, container_options={"movflags": "+faststart"}),
        film(tmp_path / "a.mkv", counting(12)),
        film(tmp_path / "a.ts", counting(12)),
        film(tmp_path / "a.webm", counting(6), codec="libvpx-vp9", options={}),
    ]
    outcomes = set()
    for index in range(80):
        content = bytearray(sources[index % len(sources)].read_bytes())
        for place in rng.integers(min(len(content), 2000), size=rng.integers(1, 30)):
            content[place] = rng.integers(256)
        damaged = tmp_path / f"damaged{sources[index % len(sources)].suffix}"
        damaged.write_bytes(content[: rng.integers(len(content))] if index % 3 == 0 else content)
        for span in (Span(fps=8), Span(start=0.7, frames=3)):
            try:
                outcomes.add(len(read_frames(damaged, span, (16, 16)).frames) > 0)
            except VideoError:
                outcomes.add(False)
    assert outcomes == {True, False}


def test_an_unknown_codec_is_unreadable(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(4))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoUnreadable, match=r"a\.mp4: .*codec"):
        probe(path)


def test_a_start_after_the_end_is_too_short(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(8))
    for span in (Span(start=5), Span(start=5, fps=8)):
        with pytest.raises(ClipTooShort, match=r"1\.00 s: no frame from 5\.00 s on"):
            read_frames(path, span)


@pytest.mark.parametrize(
    "limits",
    [{"file_bytes": 100}, {"seconds": 0.5}, {"pixels": 1000}, {"decoded_frames": 5}, {"kept_bytes": 20_000}],
)
def test_each_limit_refuses(tmp_path: Path, limits: dict[str, float]) -> None:
    path = film(tmp_path / "a.mp4", counting(8))
    assert len(read_frames(path).frames) == 8
    with pytest.raises(VideoTooLarge, match=r"a\.mp4"):
        read_frames(path, limits=VideoLimits(**limits))


# --- writing ---


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    frames = counting(16, 32, 32)
    write_video(tmp_path / f"a.{suffix}", frames, fps=8, enlarge=4)
    clip = read_frames(tmp_path / f"a.{suffix}", Span(fps=8), (32, 32))
    assert probe(tmp_path / f"a.{suffix}").width == 128
    assert numbers(clip.frames) == list(range(16))
    assert np.abs(clip.frames.astype(int) - frames).mean() < 3
    assert_allclose(clip.timestamps, np.arange(16) / 8, atol=0.006)


def test_mp4_can_be_watched_while_it_loads_and_everywhere(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", counting(4), fps=8)
    whole = (tmp_path / "a.mp4").read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


WRITE = """
import hashlib, sys
from pathlib import Path
import numpy as np
from echoreel.media.video_files import write_video
for width in (8, 40, 60):
    blocks = np.random.default_rng(width).integers(0, 255, (12, 8, width, 3), dtype=np.uint8)
    write_video(Path(sys.argv[1]), blocks.repeat(8, 1).repeat(8, 2), 8)
    print(hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest())
"""


def test_the_same_frames_are_the_same_mp4_whatever_was_in_memory(tmp_path: Path) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", WRITE, tmp_path / "a.mp4"],
            env=os.environ | {"MALLOC_PERTURB_": filled, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for filled in ("1", "170")
    ]
    assert len(told[0].splitlines()) == 3
    assert len({*told}) == 1


def test_frames_that_were_read_are_gone_at_once(tmp_path: Path) -> None:
    """PyAV's side data kept them, each with its pixels and threads, until the garbage collector came by."""
    path = film(tmp_path / "a.mp4", counting(12), rotation=90)
    read_frames(path)
    gc.collect()
    gc.disable()
    try:
        before = {thread.id for thread in psutil.Process().threads()}  # of which others may end meanwhile
        for _ in range(3):
            read_frames(path)
        assert {thread.id for thread in psutil.Process().threads()} <= before
        assert not [each for each in gc.get_objects() if isinstance(each, av.VideoFrame)]
    finally:
        gc.enable()


def test_webp_is_animated(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webp", counting(6), fps=8)
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames == 6


def test_writing_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_video(tmp_path / "new" / "a.mp4", counting(2), fps=8)
    write_image(tmp_path / "new" / "a.png", counting(1)[0])
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.mp4", "a.png"]


def test_wrong_ways_to_write_are_refused_and_keep_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(VideoError, match=r"end the name in \.mp4, \.gif or \.webp"):
        write_video(tmp_path / "a.avi", counting(2), fps=8)
    with pytest.raises(VideoError, match="need uint8"):
        write_video(tmp_path / "a.mp4", counting(2)[0], fps=8)
    with pytest.raises(VideoError, match=r"need 0\.001 or more"):
        write_video(tmp_path / "a.mp4", counting(2), fps=0)
    with pytest.raises(OutputError, match="cannot be written"):
        write_video(tmp_path / "file" / "a.mp4", counting(2), fps=8)
    with pytest.raises(VideoError, match=r"end the name in \.png"):
        write_image(tmp_path / "a.tiff", counting(1)[0])
    assert (tmp_path / "a.mp4").read_text() == "old"


@pytest.mark.parametrize("fps", [1e-9, 0.0004])
def test_a_rate_that_no_mp4_holds_is_told(tmp_path: Path, fps: float) -> None:
    """FFmpeg would take 24 in its place."""
    with pytest.raises(VideoError, match=r"need 0\.001 or more"):
        write_video(tmp_path / "a.mp4", counting(4), fps)
    write_video(tmp_path / "a.mp4", counting(4), 0.001)
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(0.001)
