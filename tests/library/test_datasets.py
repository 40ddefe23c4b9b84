"""Data sets as they lie on disk become pairs: one class, two sources, two looks; what is dropped is told."""

import csv
import json
from pathlib import Path

import pytest
from helpers.make_videos import counting, film
from helpers.video_folders import moving
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common.errors import EchoReelError, OutputError
from echoreel.library.choose_pairs import PairSettings
from echoreel.library.datasets import dataset_pairs, write_dataset
from echoreel.library.sources.layouts import caption_for
from echoreel.training.manifest import read_manifest

CLASSES = ("ApplyEyeMakeup", "Archery", "JumpRope")
SETTINGS = PairSettings(shortest=1.0, similar=0.001)


def ucf(root: Path) -> Path:
    """Three classes as in UCF-101: 3 groups of 2 clips each, all of a group from one video."""
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for group in (1, 2, 3):
            for clip in (1, 2):
                film(root / name / f"v_{name}_g{group:02d}_c{clip:02d}.avi", moving(10 * number + group))
    return root


def test_ucf_101_gives_pairs_of_one_class_and_two_groups(tmp_path: Path) -> None:
    root = ucf(tmp_path / "UCF-101")
    (root / "notes.mp4").write_bytes(b"")
    made = dataset_pairs("ucf101", root, SETTINGS, holdout=1)
    assert (made.train.actions, made.heldout.actions, len(made.heldout_actions)) == (2, 1, 1)
    assert (len(made.train.chosen), len(made.heldout.chosen)) == (12, 6)
    assert made.train.dropped == {"in no class's folder": 1}
    roots = write_dataset(made, tmp_path / "out")
    for name, actions in (("train", 2), ("heldout", 1)):
        manifest = tmp_path / "out" / f"{name}.jsonl"
        lines = read_manifest(manifest, root=roots[manifest])
        for line in lines:
            other = line.references[0].path
            assert line.target.parent == other.parent  # one class
            assert line.target.stem.split("_c")[0] != other.stem.split("_c")[0]  # another group
            assert line.caption == caption_for((roots[manifest] / line.target).parent.name)
        assert len({line.caption for line in lines}) == actions
    with pytest.raises(OutputError, match="were held out before and are trained now"):
        write_dataset(dataset_pairs("ucf101", root, SETTINGS), tmp_path / "out")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "heldout.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="this command did not write it"):
        write_dataset(made, tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["heldout.jsonl"]
    again = dataset_pairs("ucf101", root, SETTINGS, holdout=1)
    assert again.details() == made.details()
    others = {
        dataset_pairs("ucf101", root, SETTINGS.model_copy(update={"seed": s}), holdout=1).heldout_actions
        for s in range(6)
    }
    assert len(others) > 1


def test_what_is_still_or_cut_from_one_video_is_dropped_and_told(tmp_path: Path) -> None:
    root = ucf(tmp_path / "UCF-101")
    still = counting(24)
    still[:] = still[:1]
    film(root / "Archery" / "v_Archery_g04_c01.avi", still)
    (root / "Archery" / "v_Archery_g05_c01.avi").write_bytes(b"no video")
    (root / "Bowling").mkdir()
    for clip in (1, 2):
        film(root / "Bowling" / f"v_Bowling_g01_c{clip:02d}.avi", moving(77))
    done = CliRunner().invoke(
        app, ["prepare", "dataset", "ucf101", str(root), str(tmp_path / "out"), "--similar", "0.001"]
    )
    assert done.exit_code == 0, done.stderr
    for told in (
        "train: 18 pairs of 3 actions, from 21 clips",
        "dropped 1: too still",
        "1: that cannot be read",
        "only 3 actions",
    ):
        assert told in done.stdout
    assert "dropped 2: only cuts of one video" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["pairs_per_action"] == dict.fromkeys(CLASSES, 6)
    assert 0 < report["motion"] < 1


def test_something_something_is_read_from_its_json(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        film(tmp_path / f"{number}.webm", moving(number), codec="libvpx")
        thing = ["a cup", "a box", "a pen", "a book"][number]
        template = "Pushing [something] from left to right"
        label = f"pushing {thing} from left to right"
        rows.append({"id": str(number), "label": label, "template": template})
    rows.append({"id": "99", "label": "pushing nothing", "template": "Pushing [something]"})
    (tmp_path / "train.json").write_text(json.dumps(rows))
    made = dataset_pairs("ssv2", tmp_path, SETTINGS)
    assert made.per_action == {"Pushing something from left to right": 4}
    assert made.train.chosen[0][0].caption.startswith("a person pushing a ")
    assert made.train.dropped == {"rows whose video is not there": 1}


def test_kinetics_takes_cut_and_whole_videos(tmp_path: Path) -> None:
    film(tmp_path / "aaa_000001_000003.mp4", moving(1))
    film(tmp_path / "bbb.mp4", moving(2, frames=40))
    with (tmp_path / "train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        table.writerows([["archery", "aaa", 1, 3, "train"], ["archery", "bbb", 1, 4, "train"]])
        table.writerows([["archery", "ccc", 1, 4, "train"], ["archery", "ddd", "", "", "train"]])
        table.writerows([["", "bbb", 1, 4, "train"]])
    made = dataset_pairs("kinetics", tmp_path, SETTINGS)
    assert dataset_pairs("kinetics", tmp_path / "train.csv", SETTINGS).details() == made.details()
    clips = {target.path: target for target, _ in made.train.chosen}
    assert (clips["bbb.mp4"].start, clips["bbb.mp4"].end) == (1.0, 4.0)
    assert clips["aaa_000001_000003.mp4"].end is None
    assert sorted(made.train.dropped.values()) == [1, 2]


def test_hmdb_folders_and_tables(tmp_path: Path) -> None:
    (tmp_path / "hmdb" / "wave").mkdir(parents=True)
    for number, film_name in enumerate(("Old_Man", "Old_Man", "Trees")):
        name = f"{film_name}_wave_u_cm_np1_fr_med_{number}.avi"
        film(tmp_path / "hmdb" / "wave" / name, moving(number))
    videos = {target.video for target, _ in dataset_pairs("hmdb51", tmp_path / "hmdb", SETTINGS).train.chosen}
    assert videos == {"wave/Old_Man_wave", "wave/Trees_wave"}
    for number in range(3):
        film(tmp_path / f"{number}.mp4", moving(number))
    rows = [(f"{n}.mp4", f"a {who} is juggling balls") for n, who in enumerate(("man", "woman", "child"))]
    rows += [("https://example.com/a.mp4", "a man is juggling balls"), ("0.mp4", "a red sky")]
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "caption"), *rows])
    made = dataset_pairs("table", tmp_path / "clips.csv", SETTINGS)
    assert (len(made.train.chosen), made.train.actions) == (3, 1)
    assert made.train.dropped == {"only a link": 1, "no action in the caption": 1}


def test_captions_keep_the_letters_of_every_script() -> None:
    told = {label: caption_for(label) for label in ("ApplyEyeMakeup", "Jögging_fast", "日本 ダンス", "🏃")}
    assert [*told.values()] == [
        "a person doing apply eye makeup",
        "a person jögging fast",
        "a person doing 日本 ダンス",
        "a person doing 🏃",
    ]


def test_wrong_calls_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EchoReelError, match="there is no such folder"):
        dataset_pairs("ucf101", tmp_path / "none")
    with pytest.raises(EchoReelError, match=r"no clips of the layout ucf101 .*named v_Class_g01_c01"):
        dataset_pairs("ucf101", tmp_path)
    with pytest.raises(EchoReelError, match="got 3 actions to hold out, and 3 in all"):
        dataset_pairs("ucf101", ucf(tmp_path / "UCF-101"), holdout=3)
    done = CliRunner().invoke(app, ["prepare", "dataset", "ucf", str(tmp_path), str(tmp_path / "out")])
    assert (done.exit_code, "need one of folders, hmdb51" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
