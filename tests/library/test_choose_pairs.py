"""Training pairs from a library's clips."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.make_videos import counting, film

from echoreel.library.choose_pairs import PairError, PairSettings, choose_pairs, write_manifest
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.training.manifest import read_manifest

RED, BLUE, GREEN = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.9, 0.1)


@dataclass(frozen=True)
class Clip:
    """What a library tells of a clip."""

    caption: str
    video: str
    look: tuple[float, ...] | None = RED
    phrase: str = "doing a cartwheel"
    label: str = ""
    path: str = ""
    root: str = "/videos"
    start: float = 0.0
    end: float | None = 4.0
    motion: float | None = 0.1


def clip(video: str, look: tuple[float, ...] | None = RED, **other: object) -> Clip:
    return Clip(caption=f"a cartwheel of {video}", video=video, look=look, path=f"{video}.mp4", **other)  # type: ignore[arg-type]


def videos(clips: list[Clip], **settings: object) -> set[tuple[str, ...]]:
    """The chosen pairs, by video."""
    found = choose_pairs(clips, PairSettings(**settings))  # type: ignore[arg-type]
    return {(target.video, *(other.video for other in others)) for target, others in found.chosen}


def dropped(clips: list[Clip], **settings: object) -> dict[str, int]:
    return dict(choose_pairs(clips, PairSettings(**settings)).dropped)  # type: ignore[arg-type]


def test_each_clip_gets_a_reference_of_its_action_from_another_video() -> None:
    assert videos([clip("a"), clip("b", BLUE)]) == {("a", "b"), ("b", "a")}
    two = [clip("a", phrase="playing a guitar"), clip("b", BLUE, phrase="playing guitar"), clip("c", GREEN)]
    assert videos(two) == {("a", "b"), ("b", "a")}  # the same action, whatever its article


def test_the_reference_looks_least_like_the_target() -> None:
    clips = [clip("a"), clip("b", (0.8, 0.2, 0.2)), clip("c", BLUE)]
    assert ("a", "c") in videos(clips)
    assert ("b", "c") in videos(clips)


def test_two_references_are_of_two_videos() -> None:
    clips = [clip("a"), clip("b", BLUE), clip("b", GREEN), clip("c", GREEN)]
    chosen = videos(clips, references=2)
    assert {frozenset(row) for row in chosen} == {frozenset("abc")}
    assert dropped([clip("a"), clip("b", BLUE)], references=2) == {
        "too similar to the others of the action": 2
    }


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        ([clip("a", phrase="")], "no action in the caption"),
        ([clip("a", root="")], "only a link"),
        ([clip("a", end=1.0)], "too short"),
        ([clip("a", end=99.0)], "too long"),
        ([clip("a", motion=0.0)], "too still"),
        ([clip("a")], "no other clip of the action"),
        ([clip("a"), clip("a", BLUE)], "only cuts of one video"),
        ([clip("a"), clip("b")], "too similar to the others of the action"),
    ],
)
def test_what_is_dropped_is_told(clips: list[Clip], reason: str) -> None:
    assert dropped(clips) == {reason: len(clips)}
    with pytest.raises(PairError, match=reason):
        write_manifest(choose_pairs(clips), Path("never.jsonl"))


def test_what_nobody_measured_is_not_held_against_a_clip() -> None:
    rows = [clip("a", None, end=None, motion=None), clip("b", None, end=None, motion=None)]
    assert len(videos(rows)) == 2
    same = [Clip("one caption", video, look=None, motion=None) for video in "ab"]
    assert dropped(same) == {"too similar to the others of the action": 2}


def test_no_action_rules_and_chance_is_an_argument() -> None:
    clips = [clip(f"v{i}", (i / 100, 0.5, 0.5)) for i in range(100)]
    assert len(videos(clips, per_action=10)) == 10
    assert dropped(clips, per_action=10) == {"over the most clips of one action": 90}
    assert videos(clips, per_action=10) == videos(clips, per_action=10)
    assert videos(clips, per_action=10) != videos(clips, per_action=10, seed=1)


def test_the_manifest_is_what_prepare_reads(tmp_path: Path) -> None:
    clips = [
        clip("a", root=str(tmp_path / "x"), start=1.5, end=6.0),
        clip("b", BLUE, root=str(tmp_path / "y")),
    ]
    manifest = tmp_path / "lists" / "pairs.jsonl"
    root = write_manifest(choose_pairs(clips), manifest)
    assert root == tmp_path
    lines = {str(line.target): line for line in read_manifest(manifest, root=root)}
    assert set(lines) == {"x/a.mp4", "y/b.mp4"}
    assert (lines["x/a.mp4"].start, lines["x/a.mp4"].end) == (1.5, 6.0)
    assert str(lines["x/a.mp4"].references[0].path) == "y/b.mp4"
    assert (lines["y/b.mp4"].references[0].start, lines["y/b.mp4"].references[0].end) == (1.5, 6.0)
    report = json.loads((tmp_path / "lists" / "pairs.report.json").read_text())
    assert (report["clips"], report["pairs"], report["actions"], report["dropped"]) == (2, 2, 1, {})


def test_a_clip_that_ends_with_its_file_is_as_long_as_the_file(tmp_path: Path) -> None:
    for name, frames in (("a", 40), ("b", 30), ("c", 10)):  # 5, 3.75 and 1.25 s
        film(tmp_path / f"{name}.mp4", counting(frames, 48, 64))
    looks = {"a": RED, "b": BLUE, "c": GREEN}
    clips = [clip(name, look, root=str(tmp_path), end=None) for name, look in looks.items()]
    found = choose_pairs(clips)
    assert found.dropped == {"too short": 1}
    write_manifest(found, tmp_path / "pairs.jsonl")
    ends = {str(line.target): line.end for line in read_manifest(tmp_path / "pairs.jsonl")}
    assert ends == {"a.mp4": 5.0, "b.mp4": 3.75}


def test_videos_beside_the_manifest_need_no_root(tmp_path: Path) -> None:
    clips = [clip("a", root=str(tmp_path)), clip("b", BLUE, root=str(tmp_path))]
    assert write_manifest(choose_pairs(clips), tmp_path / "pairs.jsonl") == tmp_path
    assert len(read_manifest(tmp_path / "pairs.jsonl")) == 2


def test_a_catalogues_line_separators_pass_through_library_and_manifest(tmp_path: Path) -> None:
    """U+2028, which some programs take for the end of a line."""
    caption = "a man is\u2028doing a cartwheel {}"
    rows = [{"path": f"{number}.mp4", "caption": caption.format(number)} for number in range(4)]
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    assert library.add([tmp_path / "c.jsonl"], quiet=True).clips == 4
    write_manifest(choose_pairs(library.clips()), tmp_path / "m.jsonl")
    lines = read_manifest(tmp_path / "m.jsonl")
    assert len(lines) == 4
    assert {line.caption for line in lines} == {f"a man is doing a cartwheel {number}" for number in range(4)}


def test_links_are_listed_when_asked(tmp_path: Path) -> None:
    clips = [clip("a", None, root=""), clip("b", None, root="")]
    write_manifest(choose_pairs(clips, PairSettings(urls=True)), tmp_path / "pairs.jsonl")
    targets = [json.loads(line)["target"] for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert sorted(targets) == ["a.mp4", "b.mp4"]
