"""Evaluation, end to end on toy bases: the report's form, its controls, and going on where it stopped."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.motion_libraries import write_library
from helpers.places import RECIPES
from helpers.toy_models import FRAMES, toy_pipeline

from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import MotionLibrary, synthetic_library
from echoreel.common.errors import CheckpointError, MotionLibraryError
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, evaluate, find_motions
from echoreel.evaluation.actorbench.cases import CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio
from echoreel.evaluation.actorbench.judge import Judge, JudgeSettings
from echoreel.evaluation.actorbench.report import MEASURES, Row
from echoreel.generation.settings import GenerationSettings
from echoreel.media.video_files import read_image
from echoreel.method.adapter import ActionAdapter

ACTORS = ActorSettings().model_copy(update={"frames": 4, "size": 32})
COUNTS = CaseCounts(actions=16, prompts=2, references=2, seeds=1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> EvaluateSettings:
    """Everything small, in files: base, an adapter that is no longer the identity, a judge, a library."""
    folder = tmp_path_factory.mktemp("toys")
    library = synthetic_library()
    pipe = toy_pipeline()
    pipe.save_pretrained(folder / "base")
    adapter = ActionAdapter.for_base(pipe)
    torch.manual_seed(0)
    for parameter in adapter.integrations.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    adapter.save_pretrained(folder / "adapter")
    judge = Judge(JudgeSettings(size=16, widths=(8, 8, 8), hidden=16, dilations=(1,)), library.actions)
    judge.save(folder / "judge")
    return EvaluateSettings(
        motions=write_library(folder / "motions", library),
        folder=folder / "run",
        base=str(folder / "base"),
        adapter=str(folder / "adapter"),
        judge=folder / "judge",
        prompts=2,
        references=(1, 2),
        batch=3,
        actors=ACTORS,
        generation=GenerationSettings(steps=2, num_frames=FRAMES),
    )


def row(rows: Sequence[Row], condition: str, split: str = "heldout", references: int | None = None) -> Row:
    return next(
        r for r in rows if (r.condition, r.split) == (condition, split) and references in (None, r.references)
    )


def test_cases_share_the_motion_and_nothing_of_the_look() -> None:
    cases = make_cases(synthetic_library(), ACTORS, COUNTS, seed=0)
    assert len({case.prompt for case in cases}) == 10
    for case in cases:
        assert case.action in case.prompt
        assert len(case.references) == 2
        for clip in case.references:
            assert np.array_equal(clip.take.joints, case.target.take.joints)
            parts = ("shirt", "trousers", "hair", "place")
            assert all(getattr(clip.look, part) != getattr(case.look, part) for part in parts)
            assert np.cos(clip.camera.azimuth - case.target.camera.azimuth) > np.cos(np.radians(30.1))
        assert {clip.take.action for clip in case.shuffled}.isdisjoint({case.action})


def test_more_prompts_leave_the_first_ones_as_they_were() -> None:
    few = make_cases(synthetic_library(), ACTORS, COUNTS, seed=0)
    more = make_cases(synthetic_library(), ACTORS, CaseCounts(16, 3, 2, 1), seed=0)
    assert {(c.prompt, c.seeds) for c in few} < {(c.prompt, c.seeds) for c in more}


def test_actions_are_drawn_by_the_seed_and_one_alone_is_refused() -> None:
    library = synthetic_library()
    assert len(choose_actions(library, 2, 0).actions) == 2
    assert choose_actions(library, 2, 0).actions == choose_actions(library, 2, 0).actions
    one = MotionLibrary(library.recordings[:1], library.fps)
    with pytest.raises(MotionLibraryError, match="at least 2"):
        make_cases(one, ACTORS, COUNTS, seed=0)


def test_the_report_has_the_agreed_form_and_the_same_command_goes_on(recipe: EvaluateSettings) -> None:
    report = evaluate(recipe)
    told = json.loads((recipe.folder / "report.json").read_text())
    assert [(r["condition"], r["split"], r["references"]) for r in told["rows"][:7]] == [
        ("base", "heldout", 0),
        ("ours", "heldout", 1),
        ("ours", "heldout", 2),
        ("shuffled", "heldout", 1),
        ("copied", "heldout", 1),
        ("autoencoded", "heldout", 0),
        ("ceiling", "heldout", 0),
    ]
    assert {r["n"] for r in told["rows"]} == {4, 6}  # 2 prompts of 2 held-out and of 3 trained actions
    for each in told["rows"]:
        right = each["n"] * each["action_accuracy"]["mean"]
        assert right == pytest.approx(round(right))
        for measure in MEASURES[:-1]:
            assert each[measure].keys() == {"mean", "low", "high"}
            assert each[measure]["low"] <= each[measure]["mean"] <= each[measure]["high"]
    for split in ("heldout", "train"):
        distance = {r["condition"]: r["frechet_distance"] for r in told["rows"] if r["split"] == split}
        assert distance["ceiling"] == pytest.approx(distance["copied"])  # each is measured from the other
        assert len({round(each, 6) for each in distance.values()}) == len(distance) - 1
    assert told["judges"].keys() == {"training", "heldout", "train"}
    assert told["seed"] == 0
    assert "| heldout | ours | 2 |" in report.markdown()
    assert (recipe.folder / "report.md").read_text() == report.markdown()
    assert (recipe.folder / "sheets" / "heldout.png").exists()
    videos = {path: path.stat().st_mtime_ns for path in (recipe.folder / "videos").iterdir()}
    assert len(videos) == 10 + 10 * 2 + 10
    assert evaluate(recipe).rows == report.rows
    assert {path: path.stat().st_mtime_ns for path in (recipe.folder / "videos").iterdir()} == videos


def test_actions_that_the_judge_does_not_know_are_told_by_their_motion_alone(
    recipe: EvaluateSettings, tmp_path: Path
) -> None:
    judge = Judge(JudgeSettings(size=16, widths=(8, 8, 8), hidden=16, dilations=(1,)), ["flying", "diving"])
    judge.save(tmp_path)
    quick = recipe.model_copy(update={"conditions": ("copied",), "judge": tmp_path})
    report = evaluate(quick, split="heldout", prompts=1)
    assert np.isnan(report.rows[0].classifier_accuracy.mean)
    assert not np.isnan(report.rows[0].action_accuracy.mean)
    assert "| - |" in report.markdown()
    assert report.details()["rows"][0]["classifier_accuracy"]["mean"] is None


def test_a_reference_in_another_look_shows_the_same_motion(recipe: EvaluateSettings) -> None:
    cases = make_cases(synthetic_library(), ACTORS, COUNTS, seed=0)
    for case in cases:
        for plain, other in zip(case.references, case.restyled, strict=True):
            assert np.array_equal(plain.take.joints, other.take.joints)
            assert plain.camera.azimuth == other.camera.azimuth
            assert np.abs(plain.frames.astype(int) - other.frames).mean() > 10
    quick = recipe.model_copy(update={"conditions": ("ours", "restyled"), "references": (1,)})
    rows = evaluate(quick, split="heldout", prompts=1).rows
    assert [(r.condition, r.references) for r in rows] == [("ours", 1), ("restyled", 1)]
    for name in ("report", "tradeoff", "sheets/heldout"):
        light, dark = (read_image(recipe.folder / f"{name}{theme}.png") for theme in ("", "-dark"))
        assert light.shape == dark.shape
        assert (light[-1, -1].tolist(), dark[-1, -1].tolist()) == ([255, 255, 255], [22, 24, 29])
    page = (recipe.folder / "report.html").read_text()
    assert "sheets/heldout.png" in page
    assert "<td>restyled</td>" in page


def test_one_split_and_fewer_prompts_can_be_asked_for(recipe: EvaluateSettings) -> None:
    conditions = ("copied", "autoencoded", "ceiling")
    quick = recipe.model_copy(update={"conditions": conditions, "adapter": "none at all"})
    report = evaluate(quick, split="train", prompts=1)
    assert [(r.condition, r.split, r.n) for r in report.rows] == [(name, "train", 3) for name in conditions]


def test_the_autoencoder_alone_is_what_the_base_could_show_at_best(
    recipe: EvaluateSettings, tmp_path: Path
) -> None:
    studio = Studio(recipe, tmp_path, recipe.generation)
    videos = np.stack([case.target.frames for case in make_cases(synthetic_library(), ACTORS, COUNTS, 0)])
    shown = studio.autoencoded(videos)
    assert shown.shape == videos.shape
    assert not np.array_equal(shown, videos)
    assert np.abs(shown[2:3].astype(int) - studio.autoencoded(videos[2:3])).max() <= 1
    assert not [*tmp_path.iterdir()]


def test_what_is_missing_is_named(recipe: EvaluateSettings, tmp_path: Path) -> None:
    with pytest.raises(MotionLibraryError, match="choose one of them"):
        evaluate(recipe, split="nothing")
    with pytest.raises(MotionLibraryError, match=r"motions\.npz"):
        evaluate(recipe, motions=tmp_path)
    with pytest.raises(CheckpointError, match="there is no judge"):
        evaluate(recipe.model_copy(update={"judge": tmp_path}))


def test_a_video_is_the_same_alone_and_in_a_batch(recipe: EvaluateSettings, tmp_path: Path) -> None:
    cases = make_cases(synthetic_library(), ACTORS, COUNTS, seed=0)[:3]
    studio = Studio(recipe, tmp_path / "a", recipe.generation)
    shots = [studio.shot(case.prompt, case.seeds[0], case.references, case.target) for case in cases]
    together = studio.film(shots, "together").frames
    studio = Studio(recipe, tmp_path / "b", recipe.generation)
    alone = np.concatenate([studio.film([shot], "alone").frames for shot in shots])
    assert np.abs(together.astype(int) - alone).max() <= 2


def test_motions_are_found_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (find_motions(Path("recipes")) / "actorbench.toml").exists()
    assert find_motions(Path("nowhere")) == Path("nowhere")


def test_the_committed_recipe_is_valid() -> None:
    recipe = load_settings(RECIPES / "actorbench.toml", EvaluateSettings)
    assert recipe.prompts >= 20
    assert recipe.actions >= 16
    assert recipe.seeds >= 2
