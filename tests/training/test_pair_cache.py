"""Cached pairs: written by shards, read as written, every pair once per epoch."""

import json
import re
from bisect import bisect
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.damage import full_disk
from pydantic import PositiveInt
from safetensors.numpy import save_file

from echoreel.common.errors import CheckpointError, OutputError
from echoreel.common.settings import Settings
from echoreel.training.pair_cache import Origin, PairSet, PairSetError, PairSetWriter
from echoreel.training.pair_shards import Part
from echoreel.training.step_pairs import TrainingPairs, step_indices

SHAPE = (4, 3, 2, 2)  # C, T, h, w


class MakerSettings(Settings):
    """What made the pairs."""

    size: PositiveInt = 32


def write_shard(writer: PairSetWriter, number: int, pairs: int, references: int = 2) -> None:
    """Pair i of shard n holds n + i / 16 everywhere, its reference r that plus r + 1."""
    base = (number + np.arange(pairs) / 16).reshape(-1, 1, 1, 1, 1)
    targets = np.broadcast_to(base, (pairs, *SHAPE)).astype(np.float16)
    clips = np.stack([targets + r + 1 for r in range(references)], axis=1)
    captions = [[f"{number} {i} {clip}" for clip in range(1 + references)] for i in range(pairs)]
    writer.write(number, targets, clips, captions)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = PairSetWriter(tmp_path / "pairs")
    write_shard(writer, 1, 2)  # in any order
    write_shard(writer, 0, 3)
    return tmp_path / "pairs"


def test_pairs_are_read_as_written(folder: Path) -> None:
    pairs = PairSet.open(folder)
    assert (len(pairs), pairs.shape) == (5, (2, *SHAPE))
    batch = pairs.batch([4, 0, 2])
    assert batch.targets.dtype == torch.float32
    assert batch.targets.shape == (3, *SHAPE)
    assert batch.targets[:, 0, 0, 0, 0].tolist() == [1 + 1 / 16, 0, 2 / 16]
    assert batch.references[0, :, 0, 0, 0, 0].tolist() == [2 + 1 / 16, 3 + 1 / 16]
    assert batch.captions == ["1 1 0", "0 0 0", "0 2 0"]
    assert batch.reference_captions[0] == ["1 1 1", "1 1 2"]
    with pytest.raises(IndexError):
        pairs.batch([5])


def test_all_clips_come_target_first_with_their_captions(folder: Path) -> None:
    pairs = PairSet.open(folder)
    latents, captions = pairs.all_latents(), pairs.all_captions()
    assert latents.shape == (15, *SHAPE)
    assert captions[9:12] == ["1 0 0", "1 0 1", "1 0 2"]
    assert latents[9:12, 0, 0, 0, 0].tolist() == [1, 2, 3]


def test_a_killed_preparation_goes_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = folder / ".shard-00002.0123abcd.partial.safetensors"
    left.write_bytes(b"half")
    (folder / "holiday.mp4.partial").write_bytes(b"of somebody else")
    (folder / "shard-00002.captions.json").write_text("[]")
    writer = PairSetWriter(folder)
    assert [writer.made_of(n) is not None for n in range(3)] == [True, True, False]
    assert len(PairSet.open(folder)) == 5
    assert "the pairs of shard-00002.captions.json have no latents and are left out" in caplog.text
    with writer.locked():
        write_shard(writer, 2, 1)
        with pytest.raises(OutputError, match="another process prepares pairs"), writer.locked():
            pass
    assert len(PairSet.open(folder)) == 6
    assert not left.exists()
    assert (folder / "holiday.mp4.partial").exists()


def test_a_disk_that_is_full_after_the_captions_leaves_none(tmp_path: Path) -> None:
    with full_disk(8), pytest.raises(OutputError, match="No space left"):
        write_shard(PairSetWriter(tmp_path), 0, 1)
    assert [*tmp_path.iterdir()] == []
    write_shard(PairSetWriter(tmp_path), 0, 1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(300), pytest.raises(OutputError, match="No space left"):
        write_shard(PairSetWriter(tmp_path), 0, 2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_shard_says_what_it_was_made_of(folder: Path) -> None:
    writer, latents = PairSetWriter(folder), np.zeros((1, *SHAPE), np.float16)
    origin = Origin("a digest", (0.5, -1.25))
    writer.write(2, latents, np.stack([latents] * 2, 1), [["a", "b", "c"]], origin)
    found = writer.made_of(2)
    assert found is not None
    assert (found.sources, found.probe) == (origin.sources, origin.probe)
    assert PairSet.open(folder).probes == {(), (0.5, -1.25)}
    assert writer.keep([0, 2]) == 1
    assert (
        sorted(path.name[:11] for path in folder.glob("shard-*")) == ["shard-00000"] * 2 + ["shard-00002"] * 2
    )


def test_pairs_made_otherwise_do_not_mix(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    PairSetWriter(folder).bind(MakerSettings())
    write_shard(PairSetWriter(folder), 0, 1)
    with pytest.raises(CheckpointError, match="size was 32, is 64"):
        PairSetWriter(folder).bind(MakerSettings(size=64))
    (folder / "settings.json").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is damaged .*; delete it to go on"):
        PairSetWriter(folder).bind(MakerSettings())


def test_wrong_parts_and_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    writer = PairSetWriter(folder)
    targets = np.zeros((2, *SHAPE), np.float16)
    with pytest.raises(PairSetError, match="do not fit each other"):
        writer.write(3, targets, targets, [["a"], ["b"]])
    with pytest.raises(PairSetError, match="need 2 captions for each of 2 pairs"):
        writer.write(3, targets, targets[:, None], [["a"], ["b"]])
    with pytest.raises(PairSetError, match="holds no pairs"):
        PairSet.open(tmp_path / "nowhere")
    with pytest.raises(
        PairSetError, match=r"32 leaves 1 to train on; set held_back in \[task\] to 2, or prep"
    ):
        TrainingPairs(PairSet.open(folder), None, held_back=32, batch=2, seed=0)
    write_shard(writer, 4, 1, references=1)
    with pytest.raises(PairSetError, match="several shapes"):
        PairSet.open(folder)
    (folder / "shard-00004.safetensors").write_bytes(b"broken")
    with pytest.raises(PairSetError, match=r"shard-00004\.safetensors is damaged"):
        PairSet.open(folder)
    (folder / "shard-00004.safetensors").unlink()
    with pytest.raises(PairSetError, match="NaN or beyond float16"):
        writer.write(4, targets + np.float16("inf"), targets[:, None], [["a", "b"]] * 2)
    shard = folder / "shard-00001.safetensors"
    whole, pairs = shard.read_bytes(), PairSet.open(folder)
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit of the last pair's latents
    with pytest.raises(PairSetError, match="its latents are not those that were written"):
        PairSet.open(folder).batch([len(pairs) - 1])
    shard.write_bytes(whole)
    captions = folder / "shard-00000.captions.json"
    other = captions.read_text().replace("0 1 0", "0 1 9")
    for damage in ("null", "{}", "[[1]]", "[" * 100_000, other):
        captions.write_text(damage)
        with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is damaged"):
            PairSet.open(folder)
    save_file({"targets": targets}, folder / "shard-00000.safetensors")
    with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is not a shard of pairs that"):
        PairSet.open(folder)


@pytest.mark.parametrize("shape", [(2, 0, *SHAPE), (2, 1, 4, 0, 2, 2), (2, 1, 4, 3, 2, 0)])
def test_pairs_without_numbers_are_told(folder: Path, shape: tuple[int, ...]) -> None:
    clips = {
        "targets": np.zeros((shape[0], *shape[2:]), np.float16),
        "references": np.zeros(shape, np.float16),
    }
    save_file(clips, folder / "shard-00000.safetensors")
    (folder / "shard-00000.captions.json").write_text(json.dumps([["a"] * (1 + shape[1])] * shape[0]))
    with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is not a shard of pairs that"):
        PairSet([folder / "shard-00000.safetensors"])


@pytest.mark.parametrize("key", ["targets", "references"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_latents_that_are_no_numbers_are_told(folder: Path, key: str, value: float) -> None:
    """Another program may have written the shard: its pairs, held back, would only make a validation NaN."""
    clips = {"targets": np.zeros((3, *SHAPE), np.float16), "references": np.zeros((3, 2, *SHAPE), np.float16)}
    clips[key][1].flat[0] = value
    save_file(clips, folder / "shard-00000.safetensors")
    pairs = PairSet.open(folder)
    pairs.batch([0])
    with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is not .*\(its latents hold NaN"):
        pairs.batch([1])
    with pytest.raises(PairSetError, match="its latents hold NaN"):
        pairs.all_latents()


OTHERS: dict[str, tuple[dict[str, np.ndarray] | bytes, dict[str, str] | None, str]] = {
    "a LoRA": ({"lora.up": np.zeros(2, np.float32)}, {"format": "pt"}, "or EchoReel before 0.2, of lora.up;"),
    "other latents": ({"latents": np.zeros((2, *SHAPE), np.float16)}, None, "before 0.2, of latents;"),
    "other facts": ({"targets": np.zeros(2, np.float16)}, {"origin": "a webpage"}, "or another version of"),
    "text": (b"pairs of a man and a woman", None, "file of safetensors, since it begins with b'pairs of a"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", None, "it begins with b'version http'"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_shard_of_another_program_is_not_called_damaged_and_stays(folder: Path, kind: str) -> None:
    held, metadata, told = OTHERS[kind]
    path, writer = folder / "shard-00000.safetensors", PairSetWriter(folder)
    (folder / "settings.json").write_text(MakerSettings().model_dump_json())
    if isinstance(held, bytes):
        path.write_bytes(held)
    else:
        save_file(held, path, metadata)
    before = path.read_bytes()
    told = rf"shard-00000\.safetensors is not a shard .*: .*{re.escape(told)}.*move it away, or choose"
    for use in (
        lambda: PairSet.open(folder),
        lambda: writer.made_of(0),
        lambda: PairSetWriter(folder).bind(MakerSettings()),
    ):
        with pytest.raises(PairSetError, match=told):
            use()
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", [0, 5, 60, -9])
def test_a_part_of_a_shard_is_damaged(folder: Path, left: int) -> None:
    path, writer = folder / "shard-00000.safetensors", PairSetWriter(folder)
    whole = path.read_bytes()
    for spoilt in (whole[:left], bytes(len(whole)), whole[:20] + b"}" + whole[21:]):
        path.write_bytes(spoilt)
        with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is damaged .*; delete it and run"):
            PairSet.open(folder)
        assert writer.made_of(0) is None


def test_every_pair_comes_once_per_epoch_in_another_order() -> None:
    drawn = [index for step in range(10) for index in step_indices(step, 2, (5,), seed=3)]
    epochs = [drawn[first : first + 5] for first in range(0, 20, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert step_indices(7, 2, (5,), seed=3) == drawn[14:16]


def test_batches_are_of_one_bucket_and_pairs_come_equally_often() -> None:
    """Of 9, 4 and 1 pairs: the last fills a batch of its own every third epoch."""
    steps = [step_indices(step, 3, (9, 4, 1), seed=3) for step in range(28)]  # six epochs
    edges = [9, 13]
    assert all(len({bisect(edges, index) for index in step}) == 1 for step in steps)
    assert {*Counter(index for step in steps for index in step).values()} == {6}
    assert steps[:14] != steps[14:]
    firsts = [index for step in steps for index in step if index < 9][:9]
    assert sorted(firsts) == [*range(9)]


def test_buckets_of_a_folder(tmp_path: Path) -> None:
    """Two shards of a wide and a long bucket, one of which has a wide pair alone."""

    def part(count: int, first: int, *size: int) -> Part:
        clips = np.full((count, 2, 4, *size), first, np.float16)
        captions = [[f"target {first + i}", "reference"] for i in range(count)]
        return Part(clips[:, 0], clips[:, 1:], captions, np.full((count, 2), (0.25, 0.5), np.float16))

    writer = PairSetWriter(tmp_path)
    writer.write_parts(0, {"32x16x1": part(2, 0, 1, 2, 4), "16x16x2": part(3, 2, 2, 2, 2)})
    writer.write_parts(1, {"32x16x1": part(1, 5, 1, 2, 4)})
    pairs = PairSet.open(tmp_path)
    numbers = {name: bucket.numbers.tolist() for name, bucket in pairs.buckets.items()}
    assert numbers == {"16x16x2": [0, 1, 2], "32x16x1": [3, 4, 5]}
    assert pairs.batch([4, 5]).captions == ["target 1", "target 5"]
    assert (pairs.shape, pairs.cropped("16x16x2")) == ((1, 4, 2, 2, 2), (0.25, 0.5))
    steps = TrainingPairs(pairs, None, held_back=2, batch=2, seed=0)
    assert steps.held_back.captions == ["target 2", "target 3"]
    assert {*steps.numbers(0), *steps.numbers(1)} <= {2, 3, 4, 5}
    save_file({"x/targets": np.zeros((1, 4, 1, 2, 2), np.float16)}, tmp_path / "shard-00002.safetensors")
    with pytest.raises(PairSetError, match=r"shard-00002\.safetensors is not a shard of pairs that"):
        PairSet.open(tmp_path)
