"""`evaluate --videos`, and the paper's protocol from videos laid out as UCF-101 to the table, at toy size."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damage import flipped
from helpers.make_videos import film
from helpers.places import RECIPES
from helpers.toy_measures import toy_clip, toy_videomae
from helpers.toy_models import save_toys, toy_adapter, toy_lvdm_pipeline, toy_pipeline
from helpers.toy_videocrafter import toy_videocrafter_image_pipeline
from helpers.video_folders import moving
from transformers import VideoMAEForPreTraining
from typer.testing import CliRunner

from echoreel.bases.lookup import base_of
from echoreel.cli import app
from echoreel.common.settings import load_settings
from echoreel.evaluation.heldout.cases import first_of, heldout_cases
from echoreel.evaluation.heldout.filming import Condition, Studio
from echoreel.evaluation.measure import meter
from echoreel.evaluation.measure.action_classifier import ActionClassifier
from echoreel.evaluation.measure.subjects import Part
from echoreel.generation.settings import GenerationSettings
from echoreel.media.video_files import read_frames
from echoreel.training.evaluation_settings import HeldoutSettings
from echoreel.training.train_adapter import AdapterRecipe

CLASSES = ("ApplyEyeMakeup", "Archery", "Bowling", "JumpRope")
RECIPE = str(RECIPES / "paper-ucf101.toml")
SMALL = {  # in place of the recipe's sizes
    "folder": "run",
    "base": "toys/base",
    "pairs": "pairs",
    "preset": "compact",
    "task.batch": 2,
    "task.held_back": 2,
    "fit.steps": 2,
    "fit.precision": "fp32",
    "evaluation.prompts": 1,
    "evaluation.references": [1, 2],
    "evaluation.generation.num_frames": 4,
    "evaluation.generation.steps": 1,
    "evaluation.clip": "clip",
    "evaluation.videomae": "videomae",
}
SET = tuple(word for key, value in SMALL.items() for word in ("--set", f"{key}={json.dumps(value)}"))
HELD_OUT = ("--videos", "data/heldout.jsonl", "--root", "UCF-101")
PAPER = (RECIPE, *HELD_OUT, *SET)
DATASET = ("prepare", "dataset", "ucf101", "UCF-101", "data", "--holdout", "2", "--seed", "0")
PROTOCOL = (
    (*DATASET, "--references", "2", "--similar", "0.001", "--shortest", "1"),
    (
        "prepare",
        "pairs",
        "data/train.jsonl",
        "pairs",
        "--root",
        "UCF-101",
        "--base",
        "toys/base",
        "--frames",
        "4",
    ),
    ("train", RECIPE, *SET),
    ("evaluate", RECIPE, *HELD_OUT, "--classifier", "classifier", *SET),
)


CONDITIONS = [Condition("base", 0), Condition("ours", 2), Condition("shuffled", 2)]


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos laid out as UCF-101, a base, and models that see: all that the protocol's commands need."""
    folder = tmp_path_factory.mktemp("ucf")
    save_toys(folder / "toys")
    toy_clip(folder / "clip")
    toy_videomae(folder / "videomae")
    toy_videomae(
        folder / "classifier", labels=("biking", "jump rope", "APPLY_EYE_MAKEUP", "archery", "Bowling")
    )
    for number, name in enumerate(CLASSES):
        (folder / "UCF-101" / name).mkdir(parents=True)
        for group in range(1, 5):
            frames = moving(10 * number + group, frames=12)
            film(folder / "UCF-101" / name / f"v_{name}_g{group:02d}_c01.avi", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(meter, "SIDE", 64)
        for command in PROTOCOL:
            told = call(*command)
        (folder / "told").write_text(told)
        wrong("alone.jsonl", lambda rows: [row.update(action="Archery") for row in rows])
        wrong("bare.jsonl", lambda rows: rows[0].update(references=[]))
        wrong("silent.jsonl", lambda rows: [row.update(caption=" ") for row in rows])
        wrong("short.jsonl", lambda rows: [row.update(start=1.4) for row in rows])
        wrong("lost.jsonl", lambda rows: [row.update(target="lost.avi") for row in rows])
    (folder / "others").mkdir()
    (folder / "others/report.json").write_text("mine")
    toy_videomae(folder / "plain", VideoMAEForPreTraining)
    toy_adapter(toy_lvdm_pipeline()).save_pretrained(folder / "foreign")
    return folder


@pytest.fixture(autouse=True)
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that folder, and measured at 64 pixels, which is quick."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(meter, "SIDE", 64)


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def test_the_papers_protocol_ends_in_a_table(world: Path) -> None:
    report = json.loads((world / "run/evaluation/report.json").read_text())
    rows = {(row["condition"], row["references"]): row for row in report["rows"]}
    numbers = [
        ("base", 0),
        ("ours", 1),
        ("ours", 2),
        ("shuffled", 1),
        ("shuffled", 2),
        ("copied", 0),
        ("real", 0),
    ]
    assert [*rows] == numbers
    assert {row["n"] for row in rows.values()} == {2}
    assert len(report["actions"]) == 2
    for row in rows.values():
        for name in ("action_accuracy", "accuracy_among", "text_alignment", "leakage", "motion"):
            assert row[name]["low"] <= row[name]["mean"] <= row[name]["high"], name
        assert row["action_accuracy"]["mean"] <= row["accuracy_among"]["mean"]
        assert row["frechet_distance"] > 0
    assert rows["copied", 0]["motion_fidelity"]["mean"] > 0.95
    assert rows["copied", 0]["leakage"]["low"] > 0
    assert report["models"] == {"clip": "clip", "videomae": "videomae", "classifier": "classifier"}
    assert (world / "run/evaluation/sheets/heldout.png").is_file()
    told = (world / "told").read_text()
    assert told.startswith((world / "run/evaluation/report.md").read_text())
    assert "| shuffled | 2 | 2 |" in told


def test_references_are_of_the_action_or_of_another_and_nothing_shown_is_compared_with_itself(
    world: Path,
) -> None:
    manifest = [json.loads(line) for line in (world / "data/heldout.jsonl").read_text().splitlines()]
    assert {line["action"] for line in manifest} == {
        *json.loads((world / "data/report.json").read_text())["heldout_actions"]
    }
    for name in ("ours-2", "shuffled-2"):
        for notes in (world / "run/evaluation/videos" / name).glob("*.json"):
            made = json.loads(notes.read_text())
            shown = {Path(each["file"]).parent.name for each in made["references"]}
            assert len(made["references"]) == 2
            assert (notes.name.split("-")[1] in shown) == (name == "ours-2")
            assert len(shown) == 1
            assert all(
                each["timestamps"][-1] < 4 / 6.25 for each in made["references"]
            )  # as long as the video


def test_numbers_are_what_the_page_says(world: Path) -> None:
    overrides = [word for word in SET if word != "--set"]
    settings = load_settings(RECIPE, AdapterRecipe, overrides).evaluation
    cases = {
        case.action: case for case in heldout_cases(Path("data/heldout.jsonl"), Path("UCF-101"), settings)
    }
    sees = meter.Meter(meter.Models.load("clip", compared=False))
    classifier, seconds = ActionClassifier("classifier"), 4 / 6.25
    places = classifier.places_of([*cases])
    videos = json.loads((world / "run/evaluation/report.json").read_text())["videos"]
    for video in (each for each in videos if each["condition"] in ("ours", "shuffled")):
        case, path = cases[video["action"]], world / "run/evaluation" / video["file"]
        given = case.right if video["condition"] == "ours" else case.shuffled
        assert given.unseen is not None
        assert given.unseen.path not in {each.part.path for each in given.shown}
        look = sees.look(Part(path))
        shown = [
            look @ sees.look(first_of(each.part, seconds)) for each in given.shown[: video["references"]]
        ]
        other = look @ sees.look(first_of(given.unseen, seconds))
        assert video["leakage"] == pytest.approx(np.mean(shown) - other, abs=1e-6)
        scores = classifier.scores(read_frames(path, size=(64, 64)))
        among = max(places, key=lambda action: scores[places[action]])
        assert video["action_accuracy"] == (scores.argmax() == places[case.action])
        assert video["accuracy_among"] == (among == case.action)


def test_the_same_command_makes_nothing_again_and_says_the_same(world: Path) -> None:
    lost = next(iter(sorted((world / "run/evaluation/videos/ours-1").glob("*.mp4"))))
    made = lost.read_bytes()
    lost.unlink()  # as if it had been killed there
    half = (lost.parent / ".0001-x.0123abcd.partial.mp4", Path("run/evaluation/.report.0123abcd.partial.md"))
    for file in half:
        file.write_bytes(b"half")
    before = files(world / "run/evaluation/videos")
    assert call(*PROTOCOL[-1]) == (world / "told").read_text()
    after = files(world / "run/evaluation/videos")
    assert lost.read_bytes() == made
    assert after.keys() - before.keys() == {lost}
    assert not any(file.exists() for file in half)
    kept = before.keys() & after.keys() - {lost.with_suffix(".json")}
    assert all(before[path] == after[path] for path in kept)
    lost.write_bytes(made[: len(made) // 2])
    notes = lost.with_suffix(".json")
    told = json.loads(notes.read_text())
    del told["crc32"]  # as an older version wrote it
    notes.write_text(json.dumps(told))
    done = CliRunner().invoke(app, PROTOCOL[-1])
    assert f"{lost.name}: is damaged; delete it, and run the same command" in done.output
    lost.write_bytes(made)


def test_a_damaged_or_swapped_video_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = heldout_cases(Path("data/heldout.jsonl"), Path("UCF-101"), HeldoutSettings(prompts=1))[0]
    pipe = toy_pipeline()
    studio = Studio(base_of(pipe), toy_adapter(pipe), GenerationSettings(steps=1, num_frames=4))
    file, other = (studio.file(each, case, case.seeds[0], tmp_path) for each in CONDITIONS[:2])

    def again() -> list[str]:
        """What is said of videos that are made once more; all are as they were then."""
        caplog.clear()
        studio.film([case], CONDITIONS[:2], tmp_path)
        assert (file.read_bytes(), other.read_bytes()) == made
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    studio.film([case], CONDITIONS[:2], tmp_path)
    made, notes = (file.read_bytes(), other.read_bytes()), file.with_suffix(".json")
    assert again() == []
    file.write_bytes(flipped(made[0], len(made[0]) // 2))
    assert again() == [f"{file} is not the video that was made here; it is made again"]
    file.write_bytes(made[1])
    assert len(again()) == 1
    notes.write_bytes(notes.read_bytes()[:100])
    assert again() == [f"{notes} is damaged; its video is made again"]
    file.unlink()
    notes.write_bytes(b"")  # with an empty .json beside it
    assert again() == []
    notes.write_text('{"seeds": []}')  # of an older version, or of the user
    assert again() == []
    assert notes.read_text() == '{"seeds": []}'


def test_a_model_that_is_not_there_leaves_its_measures_out(world: Path) -> None:
    sizes = ("evaluation.generation.num_frames=4", "evaluation.generation.steps=1")
    own = ("--base", "toys/base", "--adapter", "toys/adapter", "-o", "alone", "--prompts", "1")
    told = call("evaluate", *HELD_OUT, *own, *(word for each in sizes for word in ("--set", each)))
    left_out = [line for line in told.splitlines() if line.startswith("left out: ")]
    measures = ("action accuracy: no classifier", "text alignment, ", "Fréchet distance: ", "motion fidelity")
    for line, measure in zip(left_out, measures, strict=True):
        assert line.startswith(f"left out: {measure}")
    assert told.splitlines()[0] == "| condition | references | videos | motion fidelity |"
    videos = json.loads((world / "alone/report.json").read_text())["videos"]
    assert {video["leakage"] for video in videos} == {None}
    moved = {video["condition"]: video["motion"] for video in videos}
    assert moved["base"] != moved["ours"] != moved["shuffled"]


def test_other_weights_make_their_own_videos_and_the_bases_own_stay() -> None:
    settings = HeldoutSettings(references=(2,))
    case = heldout_cases(Path("data/heldout.jsonl"), Path("UCF-101"), settings)[0]
    pipe = toy_pipeline()
    base, generation = base_of(pipe), GenerationSettings(steps=1, num_frames=4)
    adapters = [toy_adapter(pipe, seed) for seed in (0, 1)]
    names = [
        [Studio(base, adapter, generation).file(each, case, 7, Path()) for each in CONDITIONS]
        for adapter in adapters
    ]
    assert names[0][0] == names[1][0]
    assert len({*names[0][1:], *names[1][1:]}) == 4


def test_a_base_that_starts_from_a_picture_gets_the_targets_first(tmp_path: Path) -> None:
    case = heldout_cases(Path("data/heldout.jsonl"), Path("UCF-101"), HeldoutSettings())[0]
    pipe = toy_videocrafter_image_pipeline()
    studio = Studio(base_of(pipe), toy_adapter(pipe), GenerationSettings(steps=1, num_frames=4))
    studio.film([case], CONDITIONS[1:2], tmp_path)
    assert len([*tmp_path.rglob("*.mp4")]) == 1


def wrong(name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """A manifest in which something is wrong."""
    rows = [json.loads(row) for row in Path("data/heldout.jsonl").read_text().splitlines()]
    change(rows)
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "got no RECIPE.toml; give recipes/actorbench.toml, or pairs"),
        (("--classifier", "classifier"), "--classifier: belongs to --videos; give one, or leave it out"),
        ((*HELD_OUT, "--split", "train"), "--split: belongs to ActorBench; leave out --videos, or leave"),
        (HELD_OUT, "--out: missing; name a folder for videos and report, or give a training's recipe"),
        ((*HELD_OUT, "--set", "evaluation.prompt=2"), "--set: evaluation.prompt: unknown key; did you mean"),
        ((*PAPER, "-o", "UCF-101"), "UCF-101: holds ApplyEyeMakeup, which no evaluation of videos wrote"),
        ((*PAPER, "-o", "others"), "others/report.json: already exists, and this command did not write it"),
        ((*PAPER, "--classifier", "videomae"), "--classifier videomae: knows 2 actions, but not 2 of the 2"),
        ((*PAPER, "--classifier", "clip"), "--classifier clip: cannot be loaded: "),
        ((*PAPER, "--classifier", "plain"), "--classifier plain: not trained to name the actions of videos"),
        (
            (*PAPER, "--adapter", "foreign"),
            "got a base of the family AnimateDiff, need LVDM; load or train the",
        ),
        ((RECIPE, *HELD_OUT), "heldout.jsonl line 1: got 2 references, need 4; ask for fewer, or choose"),
        ((*PAPER, "--videos", "none.jsonl"), "none.jsonl: there is no such file"),
        ((*PAPER, "--videos", "alone.jsonl"), "alone.jsonl: got pairs of a single action, 'Archery', need 2"),
        ((*PAPER, "--videos", "bare.jsonl"), "bare.jsonl line 1: references: got []"),
        ((*PAPER, "--videos", "silent.jsonl"), "pair 1 of the manifest: its caption is empty; say what"),
        ((*PAPER, "--videos", "short.jsonl"), "s from 1.4 s on, need 0.25; choose a longer part, or drop"),
        ((*PAPER, "--videos", "lost.jsonl"), "of the manifest: UCF-101/lost.avi: there is no such file"),
    ],
)
def test_a_wrong_call_is_one_sentence(world: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert len([*Path("run/evaluation/videos").rglob("*.mp4")]) == 10
