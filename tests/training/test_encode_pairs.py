"""A manifest of ordinary videos becomes cached pairs."""

import json
from pathlib import Path

import pytest
import torch
from helpers.make_videos import counting, film
from helpers.toy_models import toy_pipeline

from echoreel.bases.encoding import encode_video
from echoreel.common.errors import CheckpointError, SettingsError, VideoMissing
from echoreel.media.video_files import Span, read_frames
from echoreel.training.encode_pairs import PrepareSettings, prepare_pairs, read_manifest
from echoreel.training.pair_cache import PairSetError

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
            r"leads out",
        ),
        (
            '{"target": "/a.mp4", "caption": "", "references": [{"path": "a.mp4"}]}',
            PairSetError,
            r"leads out",
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


def test_too_few_references_and_missing_manifests_are_named(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(PairSetError, match="line 1: got 1 references, need 2"):
        read_manifest(manifest, references=2)
    with pytest.raises(PairSetError, match="cannot be read"):
        read_manifest(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(PairSetError, match="is empty"):
        read_manifest(tmp_path / "empty.jsonl")
