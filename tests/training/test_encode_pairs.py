"""A manifest of ordinary videos becomes cached pairs."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.make_videos import counting, film
from helpers.toy_bases import TOYS
from helpers.toy_models import toy_pipeline

from echoreel.bases.encoding import encode_video
from echoreel.bases.lookup import base_of
from echoreel.common.errors import CheckpointError, EchoReelError, SettingsError, VideoMissing
from echoreel.media.video_files import Span, read_frames
from echoreel.method.adapter import ActionAdapter
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_task import AdapterTask
from echoreel.training.autoencoder_probe import check_pairs, probe_of, same_probe
from echoreel.training.clip_shape import ClipShape, bucket_named, buckets_around, clip_shape, nearest_first
from echoreel.training.encode_pairs import Encoded, Preparation, prepare_pairs
from echoreel.training.manifest import read_manifest
from echoreel.training.pair_cache import PairSet, PairSetError, PairSetWriter
from echoreel.training.prepare_settings import PrepareSettings

SETTINGS = PrepareSettings(frames=4, shard=2)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three lines over three films of 2 s, one of them upright."""
    for name, size in (("a", (48, 64)), ("b", (64, 48)), ("c", (40, 40))):
        film(tmp_path / f"{name}.mp4", counting(16, *size))
    rows = [
        {
            "target": "a.mp4",
            "caption": "a man dancing",
            "references": [{"path": "b.mp4", "caption": "a woman"}],
        },
        {
            "target": "b.mp4",
            "caption": "",
            "start": 0.5,
            "references": [{"path": "c.mp4"}, {"path": "a.mp4"}],
        },
        {"target": "c.mp4", "caption": "a person", "references": [{"path": "a.mp4", "start": 1.0}]},
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_videos_become_latents_of_the_bases_size(manifest: Path, tmp_path: Path) -> None:
    pipe = toy_pipeline()
    pairs = prepare_pairs(pipe, manifest, tmp_path / "pairs", SETTINGS).pairs
    assert (len(pairs), pairs.shape) == (3, (1, 4, 4, 8, 8))
    batch = pairs.batch([1])
    assert (batch.captions, batch.reference_captions) == ([""], [[""]])
    frames = read_frames(tmp_path / "b.mp4", Span(start=0.5, fps=8, frames=4), size=(32, 32)).frames
    torch.testing.assert_close(batch.targets, encode_video(pipe, frames), atol=5e-3, rtol=1e-2)  # float16


def test_a_killed_preparation_goes_on_where_it_was(manifest: Path, tmp_path: Path) -> None:
    pipe = toy_pipeline()
    prepare_pairs(pipe, manifest, tmp_path / "pairs", SETTINGS)
    first, second = sorted((tmp_path / "pairs").glob("*.safetensors"))
    before, written = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    prepare_pairs(pipe, manifest, tmp_path / "pairs", SETTINGS)
    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == written
    with pytest.raises(CheckpointError, match="frames was 4, is 8"):
        prepare_pairs(pipe, manifest, tmp_path / "pairs", PrepareSettings(frames=8, shard=2))


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ('{"target": "a.mp4"', PairSetError, r"line 4: not JSON"),
        (
            '{"target": "a.mp4", "captoin": "", "references": []}',
            SettingsError,
            r"line 4.*did you mean caption",
        ),
        ('{"target": "a.mp4", "caption": "", "references": []}', SettingsError, r"line 4.*references"),
        (
            '{"target": "../a.mp4", "caption": "", "references": [{"path": "a.mp4"}]}',
            PairSetError,
            r"points outside",
        ),
        (
            '{"target": "/a.mp4", "caption": "", "references": [{"path": "a.mp4"}]}',
            PairSetError,
            r"points outside",
        ),
        (
            '{"target": "no.mp4", "caption": "", "references": [{"path": "a.mp4"}]}',
            VideoMissing,
            r"line 4: .*no\.mp4",
        ),
        (
            '{"target": "a.mp4", "start": 1.0, "end": 0.5, "caption": "", "references": [{"path": "a.mp4"}]}',
            SettingsError,
            r"line 4: .*the end 0\.5 s is not after the start 1 s",
        ),
    ],
)
def test_a_wrong_line_is_named(
    manifest: Path, tmp_path: Path, row: str, error: type[Exception], message: str
) -> None:
    with manifest.open("a") as file:
        file.write(row + "\n")
    with pytest.raises(error, match=message):
        prepare_pairs(toy_pipeline(), manifest, tmp_path / "pairs", SETTINGS)


def changed(manifest: Path, old: str, new: str) -> None:
    manifest.write_text(manifest.read_text().replace(old, new))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.safetensors")}


def test_what_changed_is_made_anew_and_told(manifest: Path, tmp_path: Path) -> None:
    """Two shards, of lines 1 and 2, and of line 3."""
    pipe, folder = toy_pipeline(), tmp_path / "pairs"
    first = prepare_pairs(pipe, manifest, folder, SETTINGS)
    assert first.counts() == {"pairs": 3, "made": 3, "remade": 0, "removed": 0, "left_out": 0}
    before = stamps(folder)
    assert prepare_pairs(pipe, manifest, folder, SETTINGS).counts() == first.counts() | {"made": 0}
    assert stamps(folder) == before
    changed(manifest, "a person", "a person jumping")  # a caption of line 3
    again = prepare_pairs(pipe, manifest, folder, SETTINGS)
    assert (again.made, again.remade) == (0, 1)
    assert "encoded 1 pairs again" in " ".join(again.told())
    assert again.pairs.batch([2]).captions == ["a person jumping"]
    film(tmp_path / "b.mp4", counting(17, 64, 48))  # a file of both lines of the first shard
    assert prepare_pairs(pipe, manifest, folder, SETTINGS).remade == 2
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:2]))
    shorter = prepare_pairs(pipe, manifest, folder, SETTINGS)
    assert (shorter.removed, len(shorter.pairs)) == (1, 2)
    assert not (folder / "shard-00001.captions.json").exists()


def other_autoencoder() -> Any:
    pipe = toy_pipeline()
    torch.manual_seed(5)
    with torch.no_grad():
        weight = pipe.vae.encoder.conv_in.weight
        weight.copy_(torch.randn_like(weight) * weight.std())
    return pipe


def test_pairs_of_another_base_are_made_anew_and_refused_in_training(manifest: Path, tmp_path: Path) -> None:
    pipe, other, folder = toy_pipeline(), other_autoencoder(), tmp_path / "pairs"
    pairs = prepare_pairs(pipe, manifest, folder, SETTINGS).pairs
    check_pairs(pairs, pipe, channels=4)
    half = toy_pipeline()
    half.vae.to(torch.bfloat16)
    check_pairs(pairs, half, channels=4)  # the same weights, rounded
    with pytest.raises(PairSetError, match="made by another base's autoencoder"):
        check_pairs(pairs, other, channels=4)
    made = prepare_pairs(other, manifest, folder, SETTINGS)
    assert made.remade == 3
    assert not torch.equal(made.pairs.batch([0]).targets, pairs.batch([0]).targets)
    check_pairs(made.pairs, other, channels=4)
    with pytest.raises(PairSetError, match="made by another base's autoencoder"):
        AdapterTask(ActionAdapter.for_base(pipe), pipe, made.pairs, AdapterTaskSettings())


@pytest.mark.parametrize("make", [*TOYS.values()], ids=[*TOYS])
def test_every_base_has_a_probe_and_buckets(make: Callable[[], Any]) -> None:
    """Buckets are of as many tokens as its usual clip, or hardly fewer."""
    base = base_of(make())
    found = probe_of(base)
    assert len(found) > 8
    assert same_probe(found, probe_of(make()))
    assert not same_probe(found, tuple(-number for number in found))
    shape = clip_shape(base, (96, 160))
    buckets = buckets_around(base, shape)
    assert buckets[0] == shape
    lengths = {each.frames for each in buckets} - {shape.frames}
    assert all(abs(length - shape.frames / 2) <= base.frames_per_place for length in lengths)
    assert all(0.8 < each.height * each.width / (96 * 160) <= 1 for each in buckets)
    assert [bucket_named(base, each.name, each.fps) for each in buckets] == buckets


def test_a_clip_that_is_too_short_is_left_out_and_counted(manifest: Path, tmp_path: Path) -> None:
    """Three more lines: the file ends, the cut ends, the file ends before the cut begins."""
    rows = [
        {"target": "a.mp4", "start": 1.8, "caption": "", "references": [{"path": "a.mp4"}]},
        {"target": "a.mp4", "caption": "", "references": [{"path": "b.mp4", "start": 0.5, "end": 0.8}]},
        {"target": "a.mp4", "caption": "", "references": [{"path": "b.mp4", "start": 90}]},
    ]
    with manifest.open("a") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    made = prepare_pairs(toy_pipeline(), manifest, tmp_path / "pairs", SETTINGS)
    assert (len(made.pairs), made.left_out) == (3, 3)
    reasons = "; ".join(made.too_short)
    assert "line 4: a.mp4 gives 2 frames from 1.8 s, need 4" in reasons
    assert "line 5: b.mp4 gives 3 frames from 0.5 s to 0.8 s, need 4" in reasons
    assert "line 6: " in reasons
    again = prepare_pairs(toy_pipeline(), manifest, tmp_path / "pairs", SETTINGS)
    assert (again.made, again.left_out) == (0, 3)
    manifest.write_text(json.dumps(rows[0]))
    with pytest.raises(PairSetError, match=r"no pair is left; manifest\.jsonl line 1: a\.mp4 gives 2 frames"):
        prepare_pairs(toy_pipeline(), manifest, tmp_path / "alone", SETTINGS)


def test_after_a_missing_clip_and_a_corrupt_shard_the_same_command_goes_on(
    manifest: Path, tmp_path: Path
) -> None:
    """Line 3, the second shard, names a film that comes later."""
    pipe, folder = toy_pipeline(), tmp_path / "pairs"
    changed(manifest, '"target": "c.mp4"', '"target": "d.mp4"')
    with pytest.raises(VideoMissing, match=r"line 3: .*d\.mp4"):
        prepare_pairs(pipe, manifest, folder, SETTINGS)
    before = stamps(folder)
    film(tmp_path / "d.mp4", counting(16, 40, 40))
    assert prepare_pairs(pipe, manifest, folder, SETTINGS).made == 1
    assert {name: stamp for name, stamp in stamps(folder).items() if name in before} == before != {}
    whole = (folder / "shard-00000.safetensors").read_bytes()
    (folder / "shard-00000.safetensors").write_bytes(whole[:-10])
    with pytest.raises(PairSetError, match=r"shard-00000\.safetensors is damaged .*; delete it and run"):
        PairSet.open(folder)
    assert prepare_pairs(pipe, manifest, folder, SETTINGS).made == 2
    assert (folder / "shard-00000.safetensors").read_bytes() == whole


@pytest.mark.parametrize("old", ["new/pairs", "here"])
def test_a_refused_preparation_leaves_nothing(manifest: Path, tmp_path: Path, old: str) -> None:
    """Of a clip that is missing, too short, or outside; a folder that was there stays."""
    (tmp_path / "here").mkdir()
    before = {*tmp_path.rglob("*")}
    lines = manifest.read_text()
    manifest.write_text(lines.splitlines()[0])
    for target in ("gone.mp4", "manifest.jsonl"):
        changed(manifest, '"target": "a.mp4"', f'"target": "{target}"')
        with pytest.raises(EchoReelError, match="line 1"):
            prepare_pairs(toy_pipeline(), manifest, tmp_path / old, SETTINGS)
        assert {*tmp_path.rglob("*")} == before
        changed(manifest, f'"target": "{target}"', '"target": "a.mp4"')
    manifest.write_text(lines)
    other = Preparation(toy_pipeline(), manifest, tmp_path / old, SETTINGS)
    (tmp_path / old / "settings.json").unlink()  # as a refused one does that began with it
    other.encode(0, wait=True)
    assert PairSet.open(tmp_path / old)
    assert (tmp_path / old / "settings.json").exists()


@pytest.mark.parametrize("wrong", ["no settings", "other settings"])
def test_a_preparation_that_is_refused_by_pairs_leaves_no_lock(
    manifest: Path, tmp_path: Path, wrong: str
) -> None:
    folder, settings = tmp_path / "pairs", SETTINGS
    prepare_pairs(toy_pipeline(), manifest, folder, SETTINGS)
    (folder / "pairs.lock").unlink()  # such as of a copy
    if wrong == "no settings":
        (folder / "settings.json").unlink()
    else:
        settings = SETTINGS.model_copy(update={"fps": 3.0})
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="settings"):
        prepare_pairs(toy_pipeline(), manifest, folder, settings)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_too_few_references_and_missing_manifests_are_named(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(PairSetError, match="line 1: got 1 references, need 2"):
        read_manifest(manifest, references=2)
    with pytest.raises(PairSetError, match="there is no such file"):
        read_manifest(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(PairSetError, match="is empty"):
        read_manifest(tmp_path / "empty.jsonl")


ROW = {"target": "a.mp4", "caption": "a man running\u2028in\x85a park", "references": [{"path": "b.mp4"}]}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_of_other_systems_and_inside_captions_are_none_of_a_manifest(
    tmp_path: Path, mark: str, end: str
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes((mark + (json.dumps(ROW, ensure_ascii=False) + end) * 2).encode())
    assert [line.caption for line in read_manifest(path)] == [ROW["caption"]] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"a.mp4"', '"a\\u0000.mp4"', "target: got .* need a name without null bytes"),
        ('"a.mp4"', '"a\\ud800.mp4"', "target: got .* need text in UTF-8"),
        ('"b.mp4"', '"b.mp4", "caption": "\\ud800"', "caption: got .* need text in UTF-8"),
        ('"b.mp4"', '"b.mp4", "start": ' + "9" * 5000, "start"),
        ('"b.mp4"', '"b.mp4", "start": NaN', "start"),
        ('"b.mp4"', '"b.mp4", "end": 1e999', "end"),
        ('"b.mp4"', '"b.mp4", "end": -1', "end"),
        ('"b.mp4"', "[" * 60_000, "not JSON: nested too deep"),
        ("{", "", "not JSON"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path, row = tmp_path / "m.jsonl", json.dumps(ROW)
    path.write_text(f"{row}\n\n{row.replace(old, new, 1)}\n")
    with pytest.raises((PairSetError, SettingsError), match=rf"m\.jsonl line 3: .*{message}"):
        read_manifest(path)


def test_a_manifest_that_is_a_pipe_or_no_utf8_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.jsonl")
    with pytest.raises(PairSetError, match="this is a pipe or a device"):
        read_manifest(tmp_path / "m.jsonl")
    (tmp_path / "n.jsonl").write_bytes(json.dumps(ROW).encode("utf-16"))
    with pytest.raises(PairSetError, match="need JSON lines in UTF-8"):
        read_manifest(tmp_path / "n.jsonl")


def test_two_that_begin_at_once_with_other_settings_do_not_mix(manifest: Path, tmp_path: Path) -> None:
    pipe, folder = toy_pipeline(), tmp_path / "pairs"
    first = Preparation(pipe, manifest, folder, SETTINGS)
    second = Preparation(pipe, manifest, folder, SETTINGS.model_copy(update={"fps": 4.0}))
    with pytest.raises(
        CheckpointError, match=r"pairs was started with other settings: fps was 4\.0, is 8\.0"
    ):
        first.encode(0, wait=True)
    with pytest.raises(CheckpointError, match="other settings"):
        first.finish(Encoded([0]))
    done = [second.encode(number, wait=True) for number in second.shards]
    assert sum(each.made for each in done if each) == len(second.finish(Encoded([0, 1])).pairs)


@pytest.fixture
def mixed(manifest: Path, tmp_path: Path) -> Path:
    """Wide, upright and square targets of 2 s with references of another aspect, and one of 1 s."""
    film(tmp_path / "short.mp4", counting(9, 48, 64))
    row = {"target": "a.mp4", "caption": "", "references": [{"path": "short.mp4"}]}
    manifest.write_text(manifest.read_text() + json.dumps(row))
    return manifest


def test_a_pair_goes_to_the_nearest_bucket_that_its_clips_fill(mixed: Path, tmp_path: Path) -> None:
    made = prepare_pairs(toy_pipeline(), mixed, tmp_path / "pairs", PrepareSettings(buckets="auto"))
    captions = {
        name: made.pairs.batch(bucket.numbers.tolist()).captions
        for name, bucket in made.pairs.buckets.items()
    }
    wide, short, upright, square = "40x24x16", "40x24x8", "24x40x8", "32x32x8"
    assert captions == {wide: ["a man dancing"], short: [""], upright: [""], square: ["a person"]}
    assert made.buckets() == dict.fromkeys(captions, 1)
    assert made.pairs.buckets[short].shape == (1, 4, 8, 6, 10)
    wider, taller = 40 / 24 / (64 / 48), 64 / 48 * 40 / 24
    assert made.pairs.cropped(wide) == pytest.approx((1 - 1 / wider, 1 - 1 / taller), abs=1e-3)
    assert (
        f"{short}: 1 pairs; cropping cut away 20% of a target's picture and 20% of a reference's"
        in made.told()
    )
    again = prepare_pairs(toy_pipeline(), mixed, tmp_path / "pairs", PrepareSettings(buckets="auto"))
    assert again.made == again.remade == 0
    with pytest.raises(CheckpointError, match="buckets was"):
        prepare_pairs(toy_pipeline(), mixed, tmp_path / "pairs", PrepareSettings(buckets="32x32x4"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buckets": "auto,32x32x4"}, "need auto alone"),
        ({"buckets": ",,"}, "buckets: .*,, is none"),
        ({"buckets": "99984x32x4"}, "99984x32x4 is too large; need at most 16384 pixels a side"),
        ({"buckets": "32x32x4", "frames": 8}, "leave out frames and size"),
        ({"buckets": "32x32x4,32x32"}, "buckets: .*32x32 is none; need auto, or width x height x frames"),
        (
            {"buckets": "36x32x4"},
            "got 36x32x4, need width and height in steps of this base's 8 pixels; take 32x32x4",
        ),
    ],
)
def test_wrong_buckets_are_told(
    manifest: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        prepare_pairs(toy_pipeline(), manifest, tmp_path / "pairs", PrepareSettings(**settings))


def test_a_clip_takes_the_nearest_aspect_then_the_longest_then_the_largest_without_enlarging() -> None:
    shapes = [
        ClipShape(*each)
        for each in [(9, 8.0, 32, 64), (17, 8.0, 32, 64), (17, 8.0, 64, 128), (33, 8.0, 64, 64)]
    ]
    names = [each.name for each in nearest_first(shapes, (50, 98))]
    assert names == ["64x32x17", "128x64x17", "64x32x9", "64x64x33"]


@pytest.mark.parametrize(("killed", "made"), [(True, 3), (False, 1)])
def test_processes_side_by_side_encode_each_shard_once(
    manifest: Path, tmp_path: Path, killed: bool, made: int
) -> None:
    """Another one is at the first of two shards; when this one has made the second, it dies or is done."""
    prepare_pairs(toy_pipeline(), manifest, tmp_path / "alone", SETTINGS)
    folder, shards = tmp_path / "pairs", sorted((tmp_path / "alone").glob("shard-00000.*"))
    ready, begun = os.pipe()
    if (child := os.fork()) == 0:
        with PairSetWriter(folder).turn(0):
            os.write(begun, b"1")
            while not (folder / "shard-00001.safetensors").exists():
                time.sleep(0.01)
            for shard in [] if killed else shards:
                shutil.copy(shard, folder)
            os._exit(9)
    os.read(ready, 1)
    assert prepare_pairs(toy_pipeline(), manifest, folder, SETTINGS).made == made
    assert [(folder / shard.name).read_bytes() for shard in shards] == [
        shard.read_bytes() for shard in shards
    ]
    os.waitpid(child, 0)
