"""`echoreel measure`: what tiny CLIPs and VideoMAEs see, what is read beside a video, what is left out."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.make_videos import counting, film
from helpers.moving_squares import HEIGHT, arc, moving, noisy, rest, right
from helpers.toy_measures import toy_clip, toy_videomae
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEImageProcessorPil
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common.errors import ModelMissing, SettingsError, VideoMissing
from echoreel.evaluation.measure.clip_and_videomae import (
    ClipEncoder,
    VideoEncoder,
    frame_consistency,
    spread,
    text_alignment,
)
from echoreel.evaluation.measure.measure import measure
from echoreel.evaluation.measure.subjects import Part, subjects, videos_of
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import Clip, write_video

PROMPT = "a man doing a cartwheel"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, three videos, two real ones, and a video that moves like one of them."""
    folder = tmp_path_factory.mktemp("measured")
    toy_clip(folder / "clip")
    toy_videomae(folder / "videomae")
    for name, clip in {
        "ours/arc": moving(arc),
        "ours/right": moving(right),
        "ours/rest": moving(rest),
        "real/a": noisy(moving(arc)),
        "real/b": noisy(moving(right)),
        "arc": moving(arc, square=24),
        "still": moving(rest, frames=4),
    }.items():
        write_video(folder / f"{name}.mp4", clip.frames, 8)
    (folder / "ours" / "arc.txt").write_text(f"{PROMPT}\n")
    (folder / "ours" / "notes.md").write_text("no video")
    return folder


@pytest.fixture
def call(world: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(world)
    return lambda *arguments: CliRunner().invoke(app, ["measure", *arguments])


def test_the_whole_of_it(call: Any) -> None:
    models = ("--clip", "clip", "--videomae", "videomae")
    done = call("ours", "--prompt", PROMPT, "-r", "arc.mp4", "--real", "real", *models, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    found = {Path(video["file"]).stem: video for video in facts["videos"]}
    assert list(found) == ["arc", "rest", "right"]
    assert found["rest"]["motion"] < 0.001 < found["right"]["motion"]
    assert found["right"]["peak_motion"] * HEIGHT == pytest.approx(40, rel=0.1)
    assert found["right"]["motion_pixels"] == pytest.approx(found["right"]["motion"] * HEIGHT)
    assert found["arc"]["trajectory_fidelity"] > 0.9 > 0.8 > found["right"]["trajectory_fidelity"]
    assert found["rest"]["trajectory_fidelity"] == 0
    assert found["rest"]["frame_consistency"] > 0.9999 > found["right"]["frame_consistency"]
    assert len({video["text_alignment"] for video in found.values()}) == 3
    assert (found["arc"]["seconds"], found["arc"]["frames"], found["arc"]["width"]) == (2, 16, 160)
    assert facts["frechet_distance"] > 0
    assert facts["left_out"] == []
    assert facts["means"]["trajectory_fidelity"] == pytest.approx(
        np.mean([video["trajectory_fidelity"] for video in found.values()])
    )
    assert facts["notes"] == [
        "a Fréchet distance of 16 features from so few videos is too large; "
        "compare it only with one of as many"
    ]


def test_what_was_not_given_is_left_out_and_said(call: Any) -> None:
    done = call("ours/arc.mp4", "ours/rest.mp4", "--clip", "clip")
    assert (done.exit_code, done.stderr) == (0, "")
    head, first, second, mean, *left_out = done.stdout.splitlines()
    assert " ".join(head.split()) == (
        "video text alignment frame consistency motion (px/s) motion (sides/s) peak (sides/s)"
    )
    assert [line.split()[0] for line in (first, second, mean)] == ["arc.mp4", "rest.mp4", "mean"]
    assert first.split()[1] == mean.split()[1] != "-" == second.split()[1]
    assert left_out == [
        "left out: text alignment of rest.mp4: no prompt; give --prompt, or NAME.txt beside it",
        "left out: trajectory fidelity of arc.mp4, rest.mp4: no reference; give --reference",
        "left out: Fréchet distance: no real videos; give --real FOLDER",
    ]


def test_without_its_usual_clip_the_rest_is_measured(call: Any) -> None:
    done = call("ours/right.mp4", "-r", "arc.mp4", "-r", "still.mp4", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["clip"] is None
    assert facts["videos"][0]["frame_consistency"] is None
    assert facts["videos"][0]["trajectory_fidelities"][1] is None
    assert facts["left_out"][0].startswith(
        "text alignment and frame consistency: --clip openai/clip-vit-base-patch32: not on this machine, and "
    )
    assert facts["left_out"][1] == "trajectory fidelity to still.mp4: no moving point can be followed in it"
    ReferenceVideo.from_file("still.mp4").save("still.safetensors")
    done = call("ours/right.mp4", "-r", "still.safetensors", "--json")
    assert json.loads(done.stdout)["left_out"][1].endswith("that a reference file keeps; give the video")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("ours", "--clip", "nobody/no-clip"),
            "--clip nobody/no-clip: not on this machine, and the hub cannot",
        ),
        (("ours", "--clip", "nowhere"), "--clip nowhere: there is no such folder; give a folder or a hub id"),
        (("ours", "--clip", "real"), "--clip real: cannot be loaded: "),
        (("ours", "--real", "real"), "--videomae MCG-NJU/videomae-base-finetuned-ssv2: not on this machine"),
        (
            ("ours/arc.mp4", "--real", "real"),
            "Fréchet distance: got 1 videos and 2 real ones, need 2 of each",
        ),
        (("ours", "--real", "clip"), "clip: no videos in this folder; give one that holds some, or files"),
        (("nowhere.mp4",), "nowhere.mp4: there is no such file; give the path of a video file"),
        (("ours", "arc.mp4", "--prompt", "a", "--prompt", "b"), "--prompt: got 2 for 4 videos, need one, or"),
        (("ours", "--prompt", " "), "--prompt: got an empty one"),
        (("ours", "-r", "real"), "real: 0 videos named arc, need 1, the reference of arc.mp4"),
        (("ours", "--seconds", "0.1"), "arc.mp4: 1 frames in 0.00 s, need 2 that are 1/8 s apart"),
    ],
)
def test_a_wrong_call_is_one_sentence(call: Any, arguments: tuple[str, ...], sentence: str) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1


def test_what_moves_and_cannot_be_followed_is_not_called_unfaithful(tmp_path: Path) -> None:
    """As pictures of 8x8 pixels, enlarged."""
    blobs = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3), dtype=np.uint8)
    film(tmp_path / "blobs.mp4", blobs.repeat(16, 1).repeat(16, 2))
    write_video(tmp_path / "arc.mp4", moving(arc).frames, 8)
    found = measure(tmp_path / "blobs.mp4", "a blob", tmp_path / "arc.mp4")
    assert found.videos[0].motion > 0.1
    assert found.videos[0].trajectory_fidelities == (None,)
    assert any(
        line.startswith("trajectory fidelity of blobs.mp4: too few points can be followed")
        for line in found.left_out
    )


def test_without_opencv_the_sentence_names_the_extra(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = call("ours")
    assert done.exit_code == 2
    assert "pip install 'echoreel[eval]'" in done.stderr


def test_what_generate_wrote_is_read(tmp_path: Path) -> None:
    film(tmp_path / "guitar.mp4", counting(8))
    taken = {"file": "guitar.mp4", "timestamps": [1.0, 1.125], "fps": 8.0}
    notes = {
        "prompt": "a raccoon",
        "references": [taken, {"file": None}],
        "files": ["out-7.mp4", "out-8.mp4"],
    }
    (tmp_path / "out.json").write_text(json.dumps(notes))
    (tmp_path / "other-7.json").write_text("{broken")
    for name in ("out-7", "out-8", "out-9", "out-compare", "other-7"):
        film(tmp_path / f"{name}.mp4", counting(4))
    videos = videos_of([tmp_path])
    assert [video.stem for video in videos] == ["guitar", "other-7", "out-7", "out-8", "out-9"]
    found = {subject.path.stem: subject for subject in subjects(videos)}
    assert [name for name, subject in found.items() if subject.prompt == "a raccoon"] == ["out-7", "out-8"]
    assert found["out-7"].references == (Part(tmp_path / "guitar.mp4", 1.0, 1.25),)
    assert found["out-9"].references == found["other-7"].references == ()
    given = subjects(videos[:2], ["one", "two"], [tmp_path])
    assert [(subject.prompt, subject.references[0].path) for subject in given] == [
        ("one", videos[0]),
        ("two", videos[1]),
    ]


ODD_NOTES: list[Any] = [
    *("[" * 100_000, 5, {"files": 5}, {"references": 5}, {"references": {"a": 1}}, {"prompt": 5}),
    *({"references": [{"file": file, "timestamps": [0, 1], "fps": 8}]} for file in ("x" * 5000, "a\0b", 5)),
    *(
        {"references": [{"file": "out.mp4", "timestamps": times, "fps": 8}]}
        for times in ([10**400, 1], [float("nan"), 1], [0, "1e999"], [5, 1], [-5, -3])
    ),
]


@pytest.mark.parametrize("notes", ODD_NOTES, ids=lambda notes: str(notes)[:40])
def test_what_is_beside_a_video_may_be_anything(tmp_path: Path, notes: Any) -> None:
    for name in ("out.mp4", "out-1.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "out.json").write_text(notes if isinstance(notes, str) else json.dumps(notes))
    for subject in subjects(videos_of([tmp_path])):
        assert (subject.prompt, subject.references) == (None, ())


def test_a_folder_of_references_stands_alone(world: Path) -> None:
    with pytest.raises(SettingsError, match="one folder"):
        subjects([world / "arc.mp4"], (), [world / "ours", world / "arc.mp4"])
    with pytest.raises(VideoMissing, match="0 videos named right"):
        subjects([world / "ours" / "right.mp4"], (), [world / "real"])


def test_clip_alignment_and_consistency_are_mean_cosines(world: Path) -> None:
    clip = ClipEncoder(str(world / "clip"))
    pictures, prompt = clip.pictures(moving(right, frames=5).frames), clip.prompt(PROMPT)
    assert pictures.shape == (5, 8)
    assert np.linalg.norm(pictures, axis=1) == pytest.approx(1)
    assert text_alignment(pictures, prompt) == pytest.approx(np.mean([row @ prompt for row in pictures]))
    pairs = [pictures[i] @ pictures[i - 1] for i in range(1, 5)]
    assert frame_consistency(pictures) == pytest.approx(np.mean(pairs))
    assert not clip.too_long(PROMPT)
    assert clip.too_long(f"{PROMPT} " * 5)
    assert clip.prompt(f"{PROMPT} " * 5).shape == (8,)


def test_a_batch_of_pictures_is_each_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, frames = ClipEncoder(str(world / "clip")), moving(right, frames=5).frames
    whole = clip.pictures(frames)
    monkeypatch.setattr("echoreel.evaluation.measure.clip_and_videomae.BATCH", 2)
    assert clip.pictures(frames) == pytest.approx(whole, abs=1e-5)


def test_videomae_features_are_what_its_classifier_reads(world: Path) -> None:
    encoder, clip = VideoEncoder(str(world / "videomae")), moving(arc)
    features = encoder.features(clip)
    frames = list(clip.frames[spread(clip, 4)])
    pixels = VideoMAEImageProcessorPil.from_pretrained(world / "videomae")(frames, return_tensors="pt")
    model = VideoMAEForVideoClassification.from_pretrained(world / "videomae").eval()
    with torch.inference_mode():
        logits = model(pixels["pixel_values"]).logits[0]
        ours = model.classifier(torch.from_numpy(features))
    torch.testing.assert_close(ours, logits, atol=1e-5, rtol=1e-4)


def test_a_videomae_that_names_no_actions_is_refused(tmp_path: Path) -> None:
    toy_videomae(tmp_path, VideoMAEForPreTraining)
    with pytest.raises(ModelMissing, match="not fine-tuned to name actions"):
        VideoEncoder(str(tmp_path))


def test_frames_are_spread_over_all_the_time() -> None:
    def of(times: Any) -> Clip:
        return Clip(np.zeros((len(times), 2, 2, 3), np.uint8), np.asarray(times))

    assert spread(of(np.arange(16) / 8), 4).tolist() == [2, 6, 10, 14]
    assert spread(of(np.arange(2) / 8), 4).tolist() == [0, 0, 1, 1]
    assert spread(of([0, 0.9, 1.0, 1.1]), 4).tolist() == [0, 0, 1, 3]


def test_no_other_service_is_asked_to_convert_weights(world: Path) -> None:
    ClipEncoder(str(world / "clip"))
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"
