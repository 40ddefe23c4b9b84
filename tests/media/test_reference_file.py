"""Reference files: what is saved comes back; a file of others is refused in one sentence, whatever it is."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damage import flipped
from helpers.make_videos import counting, film
from safetensors.numpy import load, load_file, save, save_file

from echoreel.common.errors import OutputError, SettingsError, VideoError, VideoMissing, VideoUnreadable
from echoreel.media.reference_file import FACTS, KEY, EncodedFrames, is_reference_file
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import Span, probe, read_frames


@pytest.fixture
def video(tmp_path: Path) -> Path:
    film(tmp_path / "cartwheel.mp4", counting(40), fps=10)
    (tmp_path / "cartwheel.txt").write_text("a man doing a cartwheel\n")
    return tmp_path / "cartwheel.mp4"


def encoded(maker: str = "0123456789abcdef") -> EncodedFrames:
    rng = np.random.default_rng(0)
    latents, caption = rng.random((4, 16, 4, 4), np.float32), rng.random((7, 8), np.float32)
    return EncodedFrames(latents, caption, maker, "AnimateDiff", "embedded", (32, 32))


def saved(path: Path, video: Path, **options: Any) -> ReferenceVideo:
    taken = replace(ReferenceVideo.from_file(video, **options), encoded=(encoded(), encoded("another")))
    taken.save(path)
    return taken


def test_what_is_saved_comes_back(video: Path, tmp_path: Path) -> None:
    taken = saved(tmp_path / "a.safetensors", video, start=1.0, end=2.5)
    found = ReferenceVideo.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found.frames, taken.frames)
    assert found.caption == "a man doing a cartwheel"
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.times, taken.timestamps)
    assert (found.stored.source, found.fps, found.stored.duration) == ("cartwheel.mp4", 8.0, 4.0)
    assert [each.maker for each in found.encoded] == ["0123456789abcdef", "another"]
    np.testing.assert_array_equal(found.encoded[0].latents, encoded().latents)
    np.testing.assert_array_equal(found.encoded[0].caption, encoded().caption)
    assert (found.encoded[0].family, found.encoded[0].size) == ("AnimateDiff", (32, 32))
    found.save(tmp_path / "b.safetensors")  # once more, nothing is lost
    again = ReferenceVideo.load(tmp_path / "b.safetensors")
    assert again.stored is not None
    assert (again.caption, again.stored.source) == (found.caption, "cartwheel.mp4")
    np.testing.assert_array_equal(again.stored.times, taken.timestamps)
    assert [each.maker for each in again.encoded] == [each.maker for each in found.encoded]


def test_a_file_goes_where_a_video_goes(video: Path, tmp_path: Path) -> None:
    taken = saved(tmp_path / "a.safetensors", video)
    path = tmp_path / "a.safetensors"
    info = probe(path)
    assert (info.frames, info.fps, info.duration) == (16, 8.0, 2.0)
    np.testing.assert_array_equal(read_frames(path, Span(fps=8.0)).frames, taken.frames)
    part = ReferenceVideo.from_file(path, start=0.5, end=1.5)
    np.testing.assert_array_equal(part.frames, taken.frames[4:12])
    assert (part.encoded, part.caption) == ((), "a man doing a cartwheel")
    assert ReferenceVideo.from_file(path, caption="someone").encoded == ()  # encoded with another caption
    assert len(ReferenceVideo.from_file(path, end=2.0).encoded) == 2


def test_boxes_of_a_moving_crop_are_kept(video: Path, tmp_path: Path) -> None:
    frames = np.full((16, 64, 96, 3), 40, np.uint8)
    for number, frame in enumerate(frames):
        frame[20:36, 4 * number : 4 * number + 16] = 220
    film(tmp_path / "moving.mp4", frames, fps=8)
    taken = saved(tmp_path / "a.safetensors", tmp_path / "moving.mp4", crop="moving")
    found = ReferenceVideo.load(tmp_path / "a.safetensors")
    assert taken.crop is not None
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.boxes, taken.crop.boxes)


def test_a_bit_that_flips_is_told_and_a_file_without_checksum_is_read(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    saved(path, video)
    data = path.read_bytes()
    caption = data.index(b"a man doing")
    for place in (caption, len(data) // 2, len(data) - 1):
        path.write_bytes(flipped(data, place))
        with pytest.raises(
            VideoUnreadable, match=r"^a\.safetensors: is damaged: its frames or facts are not as"
        ):
            ReferenceVideo.from_file(path)
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    path.write_bytes(save(load(flipped(data)), header))  # by another program, which keeps the metadata
    ReferenceVideo.load(path)
    path.write_bytes(save(load(data), {key: header[key] for key in (KEY, FACTS)}))  # of an older version
    ReferenceVideo.load(path)


def test_large_frames_are_kept_smaller(tmp_path: Path) -> None:
    ReferenceVideo(np.zeros((2, 300, 1024, 3), np.uint8)).save(tmp_path / "a.safetensors")
    assert ReferenceVideo.load(tmp_path / "a.safetensors").frames.shape == (2, 150, 512, 3)


def test_a_model_manager_sees_it(video: Path, tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", video)
    data = (tmp_path / "a.safetensors").read_bytes()
    metadata = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    assert metadata["modelspec.title"] == "cartwheel"
    assert metadata["modelspec.description"] == "a man doing a cartwheel"
    assert metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")


def test_names_and_places(video: Path, tmp_path: Path) -> None:
    taken = saved(tmp_path / "a.safetensors", video)
    with pytest.raises(SettingsError, match=r"b\.mp4: a reference file ends in \.safetensors"):
        taken.save(tmp_path / "b.mp4")
    with pytest.raises(OutputError, match="already exists"):
        taken.save(tmp_path / "a.safetensors", overwrite=False)
    with pytest.raises(VideoMissing):
        ReferenceVideo.load(tmp_path / "none.safetensors")


def test_other_safetensors_are_no_reference(tmp_path: Path) -> None:
    save_file({"lora": np.zeros(3, np.float32)}, tmp_path / "lora.safetensors")
    assert not is_reference_file(tmp_path / "lora.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")  # which nobody writes to
    assert not is_reference_file(tmp_path / "pipe.safetensors")
    with pytest.raises(VideoUnreadable, match=r"lora\.safetensors: not a reference file .*another kind"):
        ReferenceVideo.from_file(tmp_path / "lora.safetensors")


def facts(**changes: Any) -> str:
    plain = {"fps": 8.0, "caption": "", "source": "", "duration": None, "frames": 4, "encoded": []}
    return json.dumps(plain | changes)


TENSORS = {"frames": np.zeros((4, 8, 8, 3), np.uint8), "times": np.arange(4.0)}
DEEP = "[" * 100_000 + "]" * 100_000
MADE = {
    "version": ({KEY: "2", FACTS: facts()}, TENSORS),
    "no facts": ({KEY: "1"}, TENSORS),
    "deep facts": ({KEY: "1", FACTS: DEEP}, TENSORS),
    "unknown fact": ({KEY: "1", FACTS: facts(more=1)}, TENSORS),
    "rate": ({KEY: "1", FACTS: facts(fps=float("nan"))}, TENSORS),
    "frames told": ({KEY: "1", FACTS: facts(frames=5)}, TENSORS),
    "one frame": ({KEY: "1", FACTS: facts(frames=1)}, {k: v[:1] for k, v in TENSORS.items()}),
    "encoded told": (
        {KEY: "1", FACTS: facts(encoded=[{"maker": "m", "family": "f", "base": "b", "size": [8, 8]}])},
        TENSORS,
    ),
    "another tensor": ({KEY: "1", FACTS: facts()}, TENSORS | {"more": np.zeros(2, np.float32)}),
    "type": ({KEY: "1", FACTS: facts()}, TENSORS | {"frames": np.zeros((4, 8, 8, 3), np.float32)}),
    "shape": ({KEY: "1", FACTS: facts()}, TENSORS | {"frames": np.zeros((4, 8, 8, 4), np.uint8)}),
    "times": ({KEY: "1", FACTS: facts()}, TENSORS | {"times": np.zeros(4)}),
    "nan": ({KEY: "1", FACTS: facts()}, TENSORS | {"times": np.full(4, np.nan)}),
    "nan latents": (
        {KEY: "1", FACTS: facts(encoded=[{"maker": "m", "family": "f", "base": "b", "size": [8, 8]}])},
        TENSORS
        | {
            "encoded.0.latents": np.full((4, 1, 1, 1), np.nan, np.float32),
            "encoded.0.caption": np.zeros((1, 4), np.float32),
        },
    ),
    "wide": ({KEY: "1", FACTS: facts()}, TENSORS | {"frames": np.zeros((4, 1, 5000, 3), np.uint8)}),
}


@pytest.mark.parametrize("name", MADE)
def test_a_wrong_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    metadata, tensors = MADE[name]
    (tmp_path / "a.safetensors").write_bytes(save(tensors, metadata))
    with pytest.raises(VideoError) as caught:
        ReferenceVideo.from_file(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 2**20 + 1, 2**63])
def test_a_header_of_any_size_is_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", size) + b"{}" * 600_000)
    with pytest.raises(VideoUnreadable):
        ReferenceVideo.load(tmp_path / "a.safetensors")


def test_a_file_cut_anywhere_is_refused(video: Path, tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", video)
    data = (tmp_path / "a.safetensors").read_bytes()
    for length in [1, 7, 8, 9, 500, len(data) // 2, len(data) - 1]:
        (tmp_path / "cut.safetensors").write_bytes(data[:length])
        with pytest.raises(VideoError):
            ReferenceVideo.from_file(tmp_path / "cut.safetensors")


def test_offsets_beyond_the_file_are_refused(tmp_path: Path) -> None:
    header = {
        "__metadata__": {KEY: "1", FACTS: facts()},
        "frames": {"dtype": "U8", "shape": [4, 4096, 4096, 3], "data_offsets": [0, 4 * 4096 * 4096 * 3]},
        "times": {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(32))
    with pytest.raises(VideoUnreadable):
        ReferenceVideo.load(tmp_path / "a.safetensors")


def test_the_format_is_as_documented(video: Path, tmp_path: Path) -> None:
    """docs/reference-file.md: read by safetensors alone."""
    saved(tmp_path / "a.safetensors", video)
    tensors = load_file(tmp_path / "a.safetensors")
    shapes = {name: (tensor.dtype.name, tensor.ndim) for name, tensor in tensors.items()}
    assert shapes == {
        "frames": ("uint8", 4),
        "times": ("float64", 1),
        **{f"encoded.{i}.latents": ("float32", 4) for i in (0, 1)},
        **{f"encoded.{i}.caption": ("float32", 2) for i in (0, 1)},
    }
