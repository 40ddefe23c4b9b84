"""A video and the .json beside it are of one generation, whatever fails and whoever else writes there."""

import fcntl
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from echoreel.cli.orders import Order
from echoreel.common import files
from echoreel.common.errors import VideoError
from echoreel.evaluation.measure.subjects import subjects
from echoreel.generation.notes import notes_of
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames
from echoreel.media.video_files import read_notes


def result(prompt: str, *videos: Frames) -> GenerationResult:
    settings = GenerationSettings(steps=1, num_frames=4, height=32, width=32, compare=True)
    return GenerationResult(
        prompt, (), tuple(range(len(videos))), settings, 8.0, "toy", None, videos, videos, 0.1, 0
    )


def black(frames: int = 4) -> Frames:
    return np.zeros((frames, 32, 32, 3), np.uint8)


def told(folder: Path) -> set[str]:
    """The prompts of the videos and the .json in a folder."""
    prompts = [json.loads(read_notes(path))["prompt"] for path in folder.glob("out*.mp4")]
    return {*prompts, *(json.loads(path.read_text())["prompt"] for path in folder.glob("out*.json"))}


def test_where_one_video_cannot_be_written_all_stay_as_they_were(tmp_path: Path) -> None:
    result("first", black(), black()).save(tmp_path / "out.mp4")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(VideoError, match=r"^out-1\.mp4: got frames"):
        result("second", black(), black(frames=0)).save(tmp_path / "out.mp4")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert told(tmp_path) == {"first"}


def test_two_that_write_one_name_take_turns(tmp_path: Path) -> None:
    result("first", black()).save(tmp_path / "out.mp4")
    other = os.open(tmp_path, os.O_RDONLY)  # of a process that is putting its files there
    fcntl.flock(other, fcntl.LOCK_EX)
    writing = threading.Thread(target=lambda: result("second", black()).save(tmp_path / "out.mp4"))
    writing.start()
    writing.join(1.0)
    assert writing.is_alive()
    assert told(tmp_path) == {"first"}
    os.close(other)
    writing.join(60)
    assert told(tmp_path) == {"second"}
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.json"}


def test_one_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SECONDS_OF_A_WRITER", 0.2)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    began = time.monotonic()
    written = result("first", black()).save(tmp_path / "out.mp4", comparison=True)
    assert time.monotonic() - began < 20
    os.close(other)
    assert [path.name for path in written] == ["out.mp4", "out.json", "out-compare.png", "out-compare.mp4"]
    assert {*tmp_path.iterdir()} == {*written}


def test_a_json_is_not_taken_for_that_of_another_video_beside_it(tmp_path: Path) -> None:
    """out.mp4 and out.gif have one out.json: that of the last one."""
    first, second = result("first", black()), result("second", black())
    first.save(tmp_path / "out.mp4")
    second.save(tmp_path / "out.gif")
    assert [each.prompt for each in subjects([tmp_path / "out.mp4", tmp_path / "out.gif"])] == [
        None,
        "second",
    ]
    facts = {key: second.details()[key] for key in ("prompt", "seeds")}
    assert Order("second", tmp_path / "out.gif").is_made((0,), facts)
    assert not Order("second", tmp_path / "out.mp4").is_made((0,), facts)
    (tmp_path / "out.gif").rename(tmp_path / "other.gif")  # both renamed: still its own
    (tmp_path / "out.json").rename(tmp_path / "other.json")
    assert subjects([tmp_path / "other.gif"])[0].prompt == "second"


def test_of_two_json_that_name_a_video_the_last_is_its_own(tmp_path: Path) -> None:
    both, alone = result("both", black(), black()), result("alone", black())

    def save(made: GenerationResult, name: str, at: int) -> None:
        path = tmp_path / name
        made.save(path)
        os.utime(path.with_suffix(".json"), (at, at))

    facts = {"prompt": "both", "seeds": [0, 1]}
    save(both, "out.mp4", 10)
    assert Order("both", tmp_path / "out.mp4").is_made((0, 1), facts)
    save(alone, "out-1.mp4", 20)
    assert notes_of(tmp_path / "out-1.mp4")["prompt"] == "alone"
    assert not Order("both", tmp_path / "out.mp4").is_made((0, 1), facts)
    save(both, "out.mp4", 30)
    assert notes_of(tmp_path / "out-1.mp4")["prompt"] == "both"
    assert not Order("alone", tmp_path / "out-1.mp4").is_made((0,), {"prompt": "alone", "seeds": [0]})
