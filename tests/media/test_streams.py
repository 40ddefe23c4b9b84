"""What a stream declares is asked: transfer, default, start, fields, time base. Moving WebP, AVIF."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from helpers.make_videos import counting, film, numbers
from numpy.testing import assert_allclose
from PIL import Image

from echoreel.common.errors import VideoTooLarge, VideoUnreadable
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import Span, VideoLimits, probe, read_frames, write_video

DATA = Path(__file__).parents[1] / "data"
CHART = [(200, 30, 30), (30, 150, 40), (30, 40, 190), (224, 172, 140), (90, 60, 40), (235, 235, 235)]


@pytest.mark.parametrize("name", ["hlg.mov", "pq.mp4"])
def test_hdr_is_tone_mapped_to_the_colours_of_its_sdr_master(name: str) -> None:
    """Charts graded from SDR by FFmpeg's zscale at 203 cd/m2."""
    frame = ReferenceVideo.from_file(DATA / name).frames[1].astype(int)
    shown = [frame[60, 40 * place + 20] for place in range(len(CHART))]
    assert_allclose(shown, CHART, atol=3)
    white = frame[-10, -1]
    assert (white >= 235).all()
    assert np.ptp(white) <= 2
    assert (np.diff(frame[-10].mean(1)) >= -2).all()  # the grey ramp rises


def test_a_large_hdr_video_has_the_same_colours_when_read_small() -> None:
    small = read_frames(DATA / "pq.mp4", Span(frames=1), (90, 160)).frames[0].astype(int)
    assert_allclose([small[30, 20 * place + 10] for place in range(4)], CHART[:4], atol=4)


def tagged(path: Path, frames: np.ndarray, **tags: int) -> Path:
    return film(path, frames, pix_fmt="yuv420p", **tags)


def test_wide_primaries_are_brought_to_bt709(tmp_path: Path) -> None:
    patch = np.full((2, 32, 32, 3), (200, 60, 60), np.uint8)
    plain = read_frames(tagged(tmp_path / "a.mp4", patch, color_primaries=1, color_trc=1, colorspace=1))
    wide = read_frames(tagged(tmp_path / "b.mp4", patch, color_primaries=9, color_trc=1, colorspace=1))
    linear = (plain.frames[0, 16, 16] / 255) ** 2.4
    red = 1.660491 * linear[0] - 0.587641 * linear[1] - 0.072850 * linear[2]
    assert wide.frames[0, 16, 16, 0] == pytest.approx(min(1, red) ** (1 / 2.4) * 255, abs=5)
    assert wide.frames[0, 16, 16, 1] < plain.frames[0, 16, 16, 1] - 15


def two_streams(path: Path, default: int) -> Path:
    """A white preview of 64x36 and the film of 128x72, one of them the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=8, options={"crf": "8"}) for _ in range(2)]
        for index, (stream, size) in enumerate(zip(streams, ((36, 64), (72, 128)), strict=True)):
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = Disposition.default if index == default else Disposition(0)
        for frame in counting(12, 72, 128):
            white = np.full((36, 64, 3), 255, np.uint8)
            for stream, picture in zip(streams, (white, frame), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_default_stream_is_read(tmp_path: Path, suffix: str) -> None:
    clip = read_frames(two_streams(tmp_path / f"a.{suffix}", 1))
    assert clip.frames.shape[1:3] == (72, 128)
    assert numbers(clip.frames) == list(range(12))
    assert probe(two_streams(tmp_path / f"b.{suffix}", 0)).width == 64


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "webm"])
def test_a_film_that_starts_late_is_timed_from_its_first_frame(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    options = {"g": "8"} if suffix == "webm" else {"crf": "8", "g": "8"}
    late = [5 + index / 8 for index in range(20)]
    path = film(tmp_path / f"a.{suffix}", counting(20), times=late, codec=codec, options=options)
    assert probe(path).duration == pytest.approx(2.5, abs=0.15)
    assert_allclose(read_frames(path, Span(fps=8)).timestamps, np.arange(20) / 8, atol=0.002)
    assert numbers(read_frames(path, Span(start=1.5, fps=8, frames=3)).frames) == [12, 13, 14]


@pytest.mark.parametrize("fps", [24, Fraction(30000, 1001)])
def test_avi_with_frames_out_of_order_keeps_its_rate(tmp_path: Path, fps: float) -> None:
    """h264 in AVI: no times are stored, and packets lie in the order of decoding."""
    path = film(tmp_path / "a.avi", counting(24), fps=fps, options={"crf": "8", "g": "12", "bf": "3"})
    clip = read_frames(path)
    assert numbers(clip.frames) == list(range(24))
    assert_allclose(clip.timestamps, np.arange(24) / float(fps), atol=0.001)
    assert numbers(read_frames(path, Span(fps=float(fps), start=14 / fps, frames=4)).frames) == [
        14,
        15,
        16,
        17,
    ]
    assert probe(path).fps == pytest.approx(float(fps), abs=0.01)


def test_avi_with_a_clock_in_milliseconds_has_the_rate_of_its_frames(tmp_path: Path) -> None:
    times = [index / 8 for index in range(20)]
    path = film(tmp_path / "a.avi", counting(20), times=times, codec="mpeg4", options={"g": "12"})
    assert probe(path).fps == pytest.approx(8, abs=0.5)
    assert_allclose(read_frames(path).timestamps, times, atol=0.002)


def interlaced(path: Path) -> Path:
    """A bright bar that moves 8 pixels from field to field, top rows first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"x264-params": "tff=1:interlaced=1", "crf": "4"}
        )
        stream.height, stream.width, stream.pix_fmt = 64, 256, "yuv420p"
        for index in range(12):
            frame = np.full((64, 256, 3), 40, np.uint8)
            for field in range(2):
                left = 8 * (2 * index + field)
                frame[field::2, left : left + 24] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_interlaced_frames_show_one_moment(tmp_path: Path) -> None:
    clip = read_frames(interlaced(tmp_path / "a.mkv"))
    assert len(clip.frames) == 12
    assert_allclose(clip.timestamps, np.arange(12) / 25, atol=0.002)
    for frame in clip.frames[2:-2].astype(int):
        comb = np.abs(frame[1::2] - frame[::2]).mean()  # before: rows of two moments side by side
        assert comb < 2
    assert len(read_frames(tmp_path / "a.mkv", Span(start=0.2, frames=3)).frames) == 3


def moving(path: Path, **options: object) -> Path:
    first, *rest = [Image.fromarray(frame) for frame in counting(24)]
    first.save(path, save_all=True, append_images=rest, duration=125, **options)
    return path


@pytest.mark.parametrize("name", ["a.webp", "a.avif"])
def test_what_moves_in_a_picture_file_is_a_reference(tmp_path: Path, name: str) -> None:
    path = moving(tmp_path / name)
    clip = read_frames(path)
    assert numbers(clip.frames) == list(range(24))
    assert_allclose(clip.timestamps, np.arange(24) / 8, atol=0.002)
    assert numbers(read_frames(path, Span(fps=8, start=1, frames=4)).frames) == [8, 9, 10, 11]
    assert probe(path).duration == pytest.approx(3, abs=0.01)
    assert len(ReferenceVideo.from_file(path).frames) == 16


def test_our_own_webp_is_read_back_and_alpha_lies_over_grey(tmp_path: Path) -> None:
    frames = counting(8, 32, 32)
    write_video(tmp_path / "a.webp", frames, fps=8)
    assert numbers(read_frames(tmp_path / "a.webp").frames) == list(range(8))
    clear = Image.new("RGBA", (32, 32), (255, 0, 255, 0))
    clear.save(
        tmp_path / "b.webp", save_all=True, append_images=[Image.new("RGBA", (32, 32), "red")], lossless=True
    )
    assert read_frames(tmp_path / "b.webp").frames[:, 5, 5].tolist() == [[128] * 3, [255, 0, 0]]


def test_webp_has_the_limits_of_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = moving(tmp_path / "a.webp")
    with pytest.raises(VideoTooLarge, match=r"a\.webp: 24 frames of 64x48 are too many"):
        read_frames(path, limits=VideoLimits(decoded_frames=20))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VideoUnreadable, match=r"a\.webp"):
        read_frames(path)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(VideoTooLarge, match=r"b\.webp: its pixels are too many to decode"):
        read_frames(moving(tmp_path / "b.webp"))


def test_pixels_of_absurd_shape_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", counting(4), sample_aspect_ratio=Fraction(40, 1))
    with pytest.raises(VideoUnreadable, match="pixels are 40 times as wide as high"):
        read_frames(path)
    with pytest.raises(VideoTooLarge, match="more than 2 frames to decode"):
        read_frames(film(tmp_path / "b.mp4", counting(4)), limits=VideoLimits(decoded_pixels=2 * 48 * 64))


def with_claim(path: Path, box: bytes, after: int, claim: int) -> Path:
    """A film one of whose tables claims another number, so many bytes after the name of its box."""
    data = bytearray(film(path, counting(8)).read_bytes())
    at = data.index(box) + 4 + after
    data[at : at + 4] = claim.to_bytes(4, "big")
    path.write_bytes(data)
    return path


CLAIMS: dict[str, tuple[bytes, int, int]] = {  # FFmpeg would make 24 bytes or more in memory for each
    "samples": (b"stsz", 8, 89_000_000),
    "a chunk": (b"stsc", 12, 89_000_000),
    "edits": (b"elst", 4, 10_000_000),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_samples_that_a_file_only_claims_are_refused(tmp_path: Path, claim: str) -> None:
    box, after, number = CLAIMS[claim]
    with pytest.raises(VideoTooLarge, match=r"a\.mp4: claims \d+ samples in \d+ bytes; export it again"):
        read_frames(with_claim(tmp_path / "a.mp4", box, after, number))
    path = film(tmp_path / "b.mp4", counting(8))
    path.write_bytes(path.read_bytes().replace(b"stsz", b"cmov"))  # tables that are unpacked
    with pytest.raises(VideoTooLarge, match=r"b\.mp4: its tables are compressed"):
        read_frames(path)


def test_samples_that_fragments_claim_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in counting(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert len(read_frames(path).frames) == 8
    data = bytearray(path.read_bytes())
    at = data.index(b"trun") + 4
    data[at : at + 8] = b"\0\0\0\0" + (89_000_000).to_bytes(4, "big")  # nothing is told of each
    path.write_bytes(data)
    with pytest.raises(VideoTooLarge, match=r"a\.mp4: claims 89000000 samples"):
        read_frames(path)
