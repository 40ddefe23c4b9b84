"""The actor domain: seeded, reproducible, and pairs that share the motion and nothing else."""

import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.places import MOTIONS
from helpers.skips import NEEDS_MOTIONS

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.disturb_references import DISTURBANCES, Disturbance, disturbed, other_style
from echoreel.actors.looks import HIDDEN_ACTIONS, PLACES, full_caption, sample_look
from echoreel.actors.motion_library import JOINTS, MotionLibrary, standing_pose, synthetic_library
from echoreel.actors.renderer import Camera, Frames, Light, Style, camera_joints, render
from echoreel.actors.takes import Take, grounded, mirror, reverse, splice, window
from echoreel.common.errors import MotionLibraryError
from echoreel.embedded_base.tokenizer import MAX_TOKENS, load_tokenizer


@pytest.fixture(scope="module")
def domain() -> ActorDomain:
    return ActorDomain(synthetic_library(), ActorSettings(frames=6, size=16))


def write_library(folder: Path, **changes: str) -> Path:
    positions = np.stack([standing_pose()] * 12).astype(np.float16)
    np.savez(folder / "motions.npz", positions=positions, joints=np.array(JOINTS), fps=30)
    row = {
        "id": "0",
        "action": "standing",
        "split": "train",
        "first_frame": "0",
        "frames": "12",
        "source": "s",
        "recording": "r",
    }
    with (folder / "motions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*row, "licence"])
        writer.writeheader()
        writer.writerow(row | {"licence": "CC0"} | changes)
    return folder


def test_a_library_is_read_from_its_two_files(tmp_path: Path) -> None:
    library = MotionLibrary.load(write_library(tmp_path))
    assert library.actions == ("standing",)
    assert library.recordings[0].joints.shape == (12, 18, 3)
    assert library.fps == 30


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": "13"}, "inside 0 to 12"),
        ({"frames": "many"}, "whole numbers"),
        ({"first_frame": "-1"}, "inside 0 to 12"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, change: dict[str, str], says: str) -> None:
    write_library(tmp_path, **change)
    with pytest.raises(MotionLibraryError, match=says):
        MotionLibrary.load(tmp_path)


def test_a_missing_library_and_an_unknown_split_are_named(tmp_path: Path) -> None:
    with pytest.raises(MotionLibraryError, match="does not exist"):
        MotionLibrary.load(tmp_path)
    with pytest.raises(MotionLibraryError, match="heldout, train"):
        synthetic_library().split("test")


def test_a_clip_is_a_pure_function_of_its_seed(domain: ActorDomain) -> None:
    first, again, other = domain.clip(3), domain.clip(3), domain.clip(4)
    assert np.array_equal(first.frames, again.frames)
    assert first.caption == again.caption
    assert first.frames.shape == (6, 16, 16, 3)
    assert not np.array_equal(first.frames, other.frames)


def test_a_pair_shares_the_motion_and_nothing_of_the_look(domain: ActorDomain) -> None:
    for seed in range(20):
        target, references = domain.pair(seed, references=2)
        for reference in references:
            assert np.array_equal(reference.take.joints, target.take.joints)
            assert abs(reference.camera.azimuth - target.camera.azimuth) <= np.radians(30) + 1e-9
            for part in ("shirt", "trousers", "hair", "place"):
                assert getattr(reference.look, part) != getattr(target.look, part)


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_a_disturbance_changes_its_own_part_and_a_seed_names_it(
    domain: ActorDomain, kind: Disturbance
) -> None:
    clip = domain.clip(3)

    def made(seed: int) -> tuple[Style | None, Frames]:
        rng = np.random.default_rng(seed)
        return other_style((kind,), rng), disturbed(clip.frames, clip.person, (kind,), rng)

    (style, frames), person = made(0), clip.person == 255
    assert frames.shape == clip.frames.shape
    assert frames.dtype == np.uint8
    assert np.array_equal(made(0)[1], frames)
    assert (style is not None) == (kind in ("restyled", "ground"))
    assert np.array_equal(frames, clip.frames) == (style is not None)
    assert np.array_equal(frames[person], clip.frames[person]) == (kind in ("restyled", "ground", "clutter"))
    still = np.repeat(clip.frames[:1], 4, axis=0), np.repeat(clip.person[:1], 4, axis=0)
    rng = np.random.default_rng(1)
    first, *others = disturbed(*still, (kind,), rng)
    assert all(np.array_equal(first, other) for other in others) == (kind != "shaken")


def test_the_set_share_of_references_is_disturbed_and_no_target() -> None:
    settings = ActorSettings(frames=2, size=10)
    plain, half, all_of_them = (
        ActorDomain(synthetic_library(), settings.model_copy(update={"disturb": share}))
        for share in (0, 0.5, 1)
    )
    changed = {0.5: 0, 1: 0}
    for seed in range(16):
        target, (reference,) = plain.pair(seed)
        for share, domain in ((0.5, half), (1, all_of_them)):
            same, (other,) = domain.pair(seed)
            assert np.array_equal(target.frames, same.frames)
            assert (other.camera, other.caption) == (reference.camera, reference.caption)
            changed[share] += not np.array_equal(other.frames, reference.frames)
    assert changed[1] == 16
    assert 4 <= changed[0.5] <= 12


def test_the_action_is_hidden_in_the_set_share_of_captions() -> None:
    domain = ActorDomain(
        synthetic_library(), ActorSettings(frames=2, size=8, hide_action=0.4, splice=0, reverse=0)
    )
    told = [clip.take.action in clip.caption for clip in map(domain.clip, range(400))]
    assert 0.53 < np.mean(told) < 0.67
    assert "" in HIDDEN_ACTIONS


def test_clothes_colour_the_pixels() -> None:
    look = replace(
        sample_look(np.random.default_rng(0)),
        shirt="red",
        trousers="blue",
        place="snow",
        top="sweater",
        build=1.3,
    )
    frames, person = render(standing_pose()[None], look, Camera(azimuth=1.5), Light(), 48)
    frame = frames[0].astype(int)
    assert 100 < (person[0] > 127).sum() < 500
    red = (frame[..., 0] - frame[..., 1:].max(-1)) > 60
    blue = (frame[..., 2] - frame[..., :2].max(-1)) > 40
    assert (person[0][red] > 0).all()
    assert red.sum() > 40
    assert blue.sum() > 30
    assert np.nonzero(red)[0].mean() < np.nonzero(blue)[0].mean()  # the shirt is above the trousers


def test_camera_axes_are_right_up_and_towards() -> None:
    joints = standing_pose()[None]
    seen = camera_joints(joints, Camera(azimuth=np.pi / 2, elevation=0.0))[
        0
    ]  # the camera stands in front, at +y
    assert np.allclose(seen[0], 0)
    assert seen[JOINTS.index("head"), 1] == pytest.approx(0.68, abs=0.01)
    assert seen[JOINTS.index("ltoe"), 2] > 0.1  # toes point at the camera
    assert seen[JOINTS.index("lhand"), 0] * seen[JOINTS.index("rhand"), 0] < 0


def test_mirroring_and_reversing_twice_change_nothing() -> None:
    take = window(synthetic_library().recordings[1], 5, 40, 8)
    assert np.allclose(mirror(mirror(take)).joints, take.joints)
    assert np.array_equal(reverse(reverse(take)).joints, take.joints)
    assert np.allclose(
        mirror(take).joints[:, JOINTS.index("lhand"), 0], -take.joints[:, JOINTS.index("rhand"), 0]
    )


def test_a_splice_has_the_legs_of_one_and_the_arms_of_the_other() -> None:
    library = synthetic_library()
    walking, waving = (window(library.recordings[index], 0, 60, 8) for index in (0, 1))
    both = splice(walking, waving)
    assert both.action == "walking while waving"
    legs, arm = [JOINTS.index("lank"), JOINTS.index("rank")], JOINTS.index("rhand")
    pelvis = both.joints[:, :1]
    assert np.allclose(
        both.joints[:, legs] - pelvis, walking.joints[:, legs] - walking.joints[:, :1], atol=1e-5
    )
    assert np.allclose(
        both.joints[:, arm] - pelvis[:, 0], waving.joints[:, arm] - waving.joints[:, 0], atol=0.15
    )


def test_a_short_recording_plays_slower_and_stands_on_the_ground() -> None:
    recording = replace(
        synthetic_library().recordings[2], joints=synthetic_library().recordings[2].joints[:9] + 3
    )
    take = window(recording, 0, 9, 16)
    assert take.joints.shape == (16, 18, 3)
    assert take.joints[..., 2].min() == pytest.approx(0, abs=1e-5)
    assert np.allclose(grounded(take.joints)[..., 2], take.joints[..., 2], atol=1e-5)


def test_the_tokenizer_reads_known_words_whole_and_any_word_without_failing() -> None:
    tokenizer = load_tokenizer()
    look = sample_look(np.random.default_rng(1))
    assert "[UNK]" not in tokenizer.tokenize(full_caption(look, "walking"))
    assert tokenizer.tokenize("walking") == ["walking"]
    assert tokenizer.tokenize("qwzk")[0] == "q"
    long = tokenizer("naïve 人 " * 50, padding="max_length", truncation=True)["input_ids"]
    assert len(long) == MAX_TOKENS
    assert len(tokenizer("", padding="max_length")["input_ids"]) == MAX_TOKENS


def test_every_word_of_every_training_caption_is_known(domain: ActorDomain) -> None:
    tokenizer = load_tokenizer()
    words = " ".join(clip.caption for clip in map(domain.clip, range(200))).split()
    known = {word for word in words if not any(piece.startswith("##") for piece in tokenizer.tokenize(word))}
    assert set(words) - known <= {"squatting", "leaning"}
    assert all("[UNK]" not in tokenizer.tokenize(place.phrase) for place in PLACES.values())


def test_fields_of_a_look_are_keys_of_the_tables(domain: ActorDomain) -> None:
    look = domain.clip(0).look
    assert [field.name for field in fields(look)] == [
        "hair",
        "skin",
        "shirt",
        "top",
        "trousers",
        "shoes",
        "place",
        "build",
    ]


@pytest.mark.skipif(not MOTIONS.is_dir(), reason=NEEDS_MOTIONS)
def test_the_real_motion_library_reads_and_films() -> None:
    library = MotionLibrary.load(MOTIONS)
    assert len(library.split("heldout").actions) == 16
    assert not set(library.split("heldout").actions) & set(library.split("train").actions)
    clip = ActorDomain(library.split("heldout"), ActorSettings(size=24)).clip(1)
    assert clip.frames.std() > 10
    assert isinstance(clip.take, Take)
