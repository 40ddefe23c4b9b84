"""Metrics: what they promise on motions that are known exactly."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel.actors.looks import Look
from echoreel.actors.motion_library import Joints, standing_pose, synthetic_library
from echoreel.actors.renderer import Camera, camera_joints
from echoreel.actors.takes import window
from echoreel.evaluation.actorbench.pose_metrics import (
    TURNS,
    MetricSettings,
    MotionBank,
    amount_of_motion,
    centred,
    distances,
    levelled,
    look_leakage,
    motion_fidelity,
    prompt_appearance,
    similarities,
)
from echoreel.evaluation.frechet_distance import frechet_distance
from echoreel.evaluation.intervals import Interval, bootstrap

SETTINGS = MetricSettings()
LIBRARY = synthetic_library()
LOOK = Look("black", "light", "red", "sweater", "blue", "white", "snow")


def motion(action: str, start: int = 10) -> Joints:
    """Sixteen moments of two seconds of a synthetic action, Z up."""
    recording = next(r for r in LIBRARY.recordings if r.action == action)
    return window(recording, start, 60, 16).joints


def seen(action: str, azimuth: float, start: int = 10) -> Joints:
    return camera_joints(motion(action, start), Camera(azimuth, SETTINGS.elevation))


def turned(points: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    c, s = math.cos(angle), math.sin(angle)
    return (points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T).astype(np.float32)


def test_levelling_takes_the_cameras_elevation_out() -> None:
    true = centred(motion("walking"))
    level = levelled(camera_joints(motion("walking"), Camera(0.7, 0.3)), 0.3)
    np.testing.assert_allclose(turned(level, 0.7), true, atol=1e-5)


def test_the_distance_is_the_least_over_all_turns_about_the_vertical() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 7, 3)).astype(np.float32) for n in (2, 3))
    angles = np.linspace(0, 2 * math.pi, 721)
    tried = [np.sqrt(((turned(a, t)[:, None] - b) ** 2).sum(-1).mean(-1)) for t in angles]
    np.testing.assert_allclose(distances(a, b), np.min(tried, 0), atol=1e-3)
    np.testing.assert_allclose(distances(turned(a, 1.0), a).diagonal(), 0, atol=1e-3)


def test_the_similarity_minds_neither_a_turn_nor_the_size_of_movements() -> None:
    a = np.random.default_rng(0).normal(size=(3, 7, 3)).astype(np.float32)
    tried = similarities(0.5 * turned(a, 2 * math.pi * 23 / TURNS), a)
    np.testing.assert_allclose(tried.diagonal(), 1, atol=1e-5)
    cosines = similarities(0.5 * turned(a, 2.0), a)  # between two of the turns that are tried
    assert np.all(cosines.diagonal() >= math.cos(math.pi / TURNS) - 1e-5)
    assert (cosines - np.eye(3)).max() < 0.99


def test_the_similarity_is_the_best_cosine_over_all_turns_with_depth_weighed() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(n, 7, 3)).astype(np.float32) for n in (2, 3))
    weights = np.array([0.5, 1, 1], np.float32)

    def units(points: Joints) -> Joints:
        flat = (points * weights).reshape(len(points), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    tried = [units(a) @ units(turned(b, t)).T for t in np.linspace(0, 2 * math.pi, 721)]
    np.testing.assert_allclose(similarities(a, b, 0.5), np.max(tried, 0), atol=2e-3)
    assert np.abs(similarities(a, b, 0.5) - similarities(a, b)).max() > 0.02


@pytest.mark.parametrize("azimuth", [0.0, 2.0, 4.5])
def test_retrieval_names_the_action_from_any_side_at_any_moment(azimuth: float) -> None:
    bank = MotionBank(LIBRARY, 16, SETTINGS)
    shown = np.stack([seen(action, azimuth, start=17) for action in LIBRARY.actions])
    assert bank.nearest_actions(shown + 0.02) == list(LIBRARY.actions)


def test_retrieval_reads_recordings_shorter_than_its_windows() -> None:
    short = synthetic_library()
    recordings = tuple(type(r)(r.id, r.action, r.split, r.joints[:20]) for r in short.recordings)
    bank = MotionBank(type(short)(recordings, short.fps), 16, SETTINGS)
    assert bank.actions == [recording.action for recording in recordings]


def test_the_true_motion_has_fidelity_one_from_any_side_and_slightly_late() -> None:
    true = motion("waving")
    assert motion_fidelity(seen("waving", 1.0), true, SETTINGS) == pytest.approx(1, abs=0.01)
    late = np.concatenate([seen("waving", 1.0)[:1].repeat(2, 0), seen("waving", 1.0)[:-2]])
    assert motion_fidelity(late, true, SETTINGS) == pytest.approx(1, abs=0.01)


def test_standing_still_and_other_motions_have_no_fidelity() -> None:
    still = camera_joints(np.tile(standing_pose(), (16, 1, 1)), Camera(0.3, SETTINGS.elevation))
    assert motion_fidelity(still, motion("squatting"), SETTINGS) == pytest.approx(0, abs=0.02)
    assert motion_fidelity(seen("waving", 0.0), motion("walking"), SETTINGS) == 0
    assert motion_fidelity(seen("walking", 0.0), motion("waving"), SETTINGS) == 0


def test_appearance_and_leakage_count_parts() -> None:
    read = {"shirt": "red", "trousers": "green", "hair": "blond", "place": "snow"}
    reference = Look("blond", "light", "cyan", "sweater", "green", "white", "snow")
    assert prompt_appearance(read, LOOK) == 0.5
    assert look_leakage(read, LOOK, [reference]) == pytest.approx(2 / 3)  # shirt, trousers, hair differ
    assert math.isnan(look_leakage(read, LOOK, [LOOK]))


def test_intervals_are_seeded_and_ignore_what_is_no_number() -> None:
    values, prompts = [0.0, 1.0, 1.0, 0.0, math.nan], ["a", "b", "c", "d", "e"]
    interval = bootstrap(values, prompts, SETTINGS, seed=3)
    assert interval == bootstrap(values, prompts, SETTINGS, seed=3)
    assert interval.mean == 0.5
    assert 0 <= interval.low < 0.5 < interval.high <= 1
    assert math.isnan(bootstrap([math.nan], ["a"], SETTINGS, seed=3).mean)


def test_several_videos_of_a_prompt_do_not_make_an_interval_narrower() -> None:
    values = [float(v) for v in np.random.default_rng(0).integers(0, 2, 40)]
    once = bootstrap(values, [str(i) for i in range(40)], SETTINGS, seed=0)
    often = bootstrap(values * 9, [str(i) for i in range(40)] * 9, SETTINGS, seed=0)
    assert often == Interval(pytest.approx(once.mean), pytest.approx(once.low), pytest.approx(once.high))


def test_the_amount_of_motion_is_in_centimetres_a_frame() -> None:
    joints = np.zeros((5, 18, 3), np.float32)
    assert amount_of_motion(joints) == 0
    joints[:, 1:, 0] = np.arange(5)[:, None] * 0.02
    assert amount_of_motion(joints) == pytest.approx(2)


def test_frechet_distance_is_that_of_the_means_and_the_spreads() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 2) == pytest.approx(12, rel=1e-4)
    wider = features * 3  # spreads of 1 and 3: (3 - 1)^2 a dimension, and the means shift a little
    assert frechet_distance(features, wider) == pytest.approx(12, rel=0.1)
