"""The library from the outside: add, find by action, take as references, remove, export; and its commands."""

import errno
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damage import flipped
from helpers.make_videos import film
from helpers.toy_models import toy_pipeline
from helpers.video_folders import BAD, bad_folder, good_folder, moving
from typer.testing import CliRunner

from echoreel.bases.encoding import encoded_for
from echoreel.bases.lookup import base_of
from echoreel.cli import app
from echoreel.common.errors import EchoReelError, OutputError
from echoreel.library.clips import LibraryClip
from echoreel.library.downloads import DownloadError
from echoreel.library.encoded_clips import encode_library, with_encoded
from echoreel.library.export_references import export_references
from echoreel.library.export_videos import export_videos
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.add_sources import AddSettings
from echoreel.library.sources.shots import content_of
from echoreel.library.tables import LibraryError, Store
from echoreel.media.reference_file import read_reference
from echoreel.media.reference_video import ReferenceVideo

CARVE = "a robot is carving a statue on the moon"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_folder(tmp_path_factory.mktemp("library") / "good")


@pytest.fixture
def library(videos: Path, tmp_path: Path) -> ReferenceLibrary:
    found = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    found.add([videos], quiet=True)
    return found


def captions(library: ReferenceLibrary) -> set[str]:
    return {clip.caption for clip in library.clips()}


def test_a_clip_with_another_caption_is_found_by_its_action(
    library: ReferenceLibrary, tmp_path: Path
) -> None:
    (found,) = library.clips(action="juggling")
    clip = library.caption(found.id, "an old man's  cartwheel\n on the grass, doing a cartwheel")
    assert clip.caption == "an old man's cartwheel on the grass, doing a cartwheel"
    assert (clip.phrase, clip.verb) == ("doing a cartwheel", "cartwheel")
    assert replace(clip, caption=found.caption, phrase=found.phrase, verb=found.verb) == found
    assert [each.clip for each in library.search("a dog doing a cartwheel", 1).results] == [clip]
    assert library.clips(action="juggling") == []
    assert library.store.count("clips") == 3
    with pytest.raises(LibraryError, match="no such clip"):
        library.caption("0123456789abcdef", "a cat running")
    call = ["library", "caption", library.store.uri, clip.id, "a hat", "--json"]
    told = CliRunner().invoke(app, call)
    assert (told.exit_code, json.loads(told.stdout)["action"]) == (0, "")
    library.store.refresh()
    assert [clip.caption for clip in next(library.batches("verb = ''"))] == ["a hat"]
    assert library.pick("a dog doing a cartwheel").results == ()


def test_a_folder_is_added_once_and_copies_not_at_all(library: ReferenceLibrary, videos: Path) -> None:
    assert captions(library) == {
        "a man is carving a stone statue in a garden",
        "woman kicking ball",
        "juggling balls",
    }
    again = library.add([videos], quiet=True)
    assert (again.clips, again.known, again.videos, again.copies) == (0, 4, 0, 0)
    (videos / "one.mp4").touch()  # read again, and found to be the same
    again = library.add([videos], quiet=True)
    assert (again.clips, again.known, again.copies, library.store.count("clips")) == (0, 4, 0, 3)
    library.store.remove("clips", "true")  # as if the table was lost
    told = CliRunner().invoke(app, ["library", "search", library.store.uri, "juggling", "--embedder", "none"])
    assert "holds no clips; add some first" in told.stdout
    assert (library.add([videos], quiet=True).clips, library.store.count("files")) == (3, 4)


def test_of_copies_the_one_with_a_caption_is_taken_however_fast_it_is_read(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> int:
        time.sleep(0.3 * (path.name == "one.mp4"))
        return content_of(path)

    monkeypatch.setattr("echoreel.library.sources.add_videos.content_of", slow)
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    added = library.add([videos], quiet=True)
    assert (added.clips, added.copies) == (3, 1)
    assert "a man is carving a stone statue in a garden" in captions(library)


def test_the_zoo_is_listed_and_stops_nothing(tmp_path: Path) -> None:
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    added = library.add([bad_folder(tmp_path / "zoo")], quiet=True)
    assert (added.clips, added.left_out, len(added.problems)) == (1, BAD, BAD + 1)
    assert "read by another name" in added.problems[-1 - BAD][1]  # the link to the folder itself
    assert {Path(place).name for place, _ in added.problems if "damaged" in _} == {
        "truncated.mp4",
        "truncated-copy.mp4",
    }
    again = library.add([tmp_path / "zoo"], quiet=True)
    assert (again.clips, again.known, again.left_out) == (0, 1, BAD)


def test_the_action_finds_a_clip_whatever_the_scenery(library: ReferenceLibrary) -> None:
    answer = library.search(CARVE)
    assert answer.action is not None
    assert answer.action.verb == "carve"
    assert answer.results[0].clip.caption == "a man is carving a stone statue in a garden"
    assert library.search("a garden").action is None
    forced = library.search("a man carving a statue in a garden", action="juggling")
    assert forced.results[0].clip.caption == "juggling balls"
    with pytest.raises(EchoReelError, match="need 1 to"):
        library.search(CARVE, 0)


def test_nothing_is_picked_where_nothing_fits(library: ReferenceLibrary) -> None:
    assert library.pick("a cat is swimming in a lake").results == ()
    taken = library.take(CARVE, 2)
    assert [found.clip.phrase for found, _ in taken.references] == ["carving a stone statue"]
    ((_, reference),) = taken.references
    assert reference.caption == "a man is carving a stone statue in a garden"
    assert len(reference.frames) == 16


def test_a_clip_whose_video_is_gone_is_passed_over(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        film(tmp_path / f"{name}.mp4", moving(seed))
        (tmp_path / f"{name}.txt").write_text("a man is carving a statue")
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path], quiet=True)
    (tmp_path / "a.mp4").unlink()
    taken = library.take(CARVE, 2)
    assert [reference.source for _, reference in taken.references] == [tmp_path / "b.mp4"]
    assert "there is no such file" in taken.problems[0][1]


def test_those_picked_differ(tmp_path: Path) -> None:
    """Two cuts of one video come after another video, and a copy of a look after another look."""
    lines = [
        {"path": path, "caption": "a man is carving a statue in a park", "start": start, "end": start + 2}
        for path, start in (("a.mp4", 0), ("a.mp4", 5), ("a.mp4", 9), ("b.mp4", 0), ("c.mp4", 0))
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.jsonl"], quiet=True)
    places = [found.clip.path for found in library.search(CARVE, 5).results]
    assert sorted(places[:3]) == ["a.mp4", "b.mp4", "c.mp4"]


def test_scenery_breaks_ties_only(tmp_path: Path) -> None:
    texts = ["a man is carving a statue in a kitchen", "a man is carving a statue on the moon"]
    texts += ["a robot is on the moon, kicking a ball"]
    (tmp_path / "a.csv").write_text(
        "path,caption\n" + "".join(f'{i}.mp4,"{t}"\n' for i, t in enumerate(texts))
    )
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.csv"], quiet=True)
    found = [each.clip.caption for each in library.search(CARVE, 3).results]
    assert found[:2] == [texts[1], texts[0]]


def test_of_a_common_action_the_scenery_is_found_among_rows_that_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoreel.library.candidates.READ", 4)
    lines = [f"{i}.mp4,a man is carving a statue in room {i}\n" for i in range(30)]
    (tmp_path / "a.csv").write_text(
        "path,caption\n" + "".join(lines) + "moon.mp4,a man is carving a statue on the moon\n"
    )
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.csv"], quiet=True)
    results = library.search(CARVE, 5).results
    assert results[0].clip.path == "moon.mp4"
    assert len({found.clip.id for found in results}) == len(results) == 5


def test_a_library_that_is_open_sees_what_another_writes(tmp_path: Path) -> None:
    reader = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    assert reader.search(CARVE).results == ()
    writer = ReferenceLibrary.open(tmp_path / "library", embedder="none")
    for row, action in enumerate(("carving a statue", "juggling balls", "carving a statue")):
        (tmp_path / "a.csv").write_text(f"path,caption\n{row}.mp4,a man is {action}\n")
        writer.add([tmp_path / "a.csv"], quiet=True)
        assert f"{row}.mp4" in [found.clip.path for found in reader.search(f"a man {action}").results]


def test_a_path_that_leads_out_is_not_opened(tmp_path: Path) -> None:
    secret = film(tmp_path / "secret.mp4", moving(1))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.mp4").symlink_to(secret)
    (tmp_path / "root" / "a.csv").write_text(
        "path,caption\nlink.mp4,a man carving\n../secret.mp4,a man carving\n"
    )
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    added = library.add([tmp_path / "root" / "a.csv"], quiet=True)
    assert (added.clips, added.left_out) == (1, 1)
    assert "points outside its folder" in library.take("a man carving").problems[0][1]


def test_a_link_to_elsewhere_in_a_folder_is_told_and_not_added(tmp_path: Path) -> None:
    """It would be a clip that no generation may read."""
    folder = tmp_path / "videos"
    for place in (folder, tmp_path / "elsewhere"):
        place.mkdir()
    film(folder / "a man juggling.mp4", moving(1))
    (folder / "again.mp4").symlink_to("a man juggling.mp4")
    (folder / "a man carving.mp4").symlink_to(film(tmp_path / "elsewhere" / "x.mp4", moving(2)))
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    added = library.add([folder], quiet=True)
    assert (added.clips, added.copies, added.left_out) == (1, 1, 1)
    ((place, why),) = added.problems
    assert place.endswith("a man carving.mp4")
    assert f"is a link to another folder; add {tmp_path / 'elsewhere'}, or move the video here" in why


def test_a_url_is_only_recorded_and_a_private_one_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("contentUrl,name\nhttp://127.0.0.1:9/a.mp4,a man carving wood\n")
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([tmp_path / "a.csv"], quiet=True)
    (clip,) = library.clips()
    assert clip.is_url
    with pytest.raises(DownloadError, match="private address"):
        library.file(clip)
    assert library.take("a man carving").references == ()


def test_removed_clips_stay_out_until_they_are_restored(library: ReferenceLibrary, videos: Path) -> None:
    (found,) = library.pick(CARVE).results
    assert library.remove([found.clip.id]) == 1
    assert library.pick(CARVE).results == ()
    with pytest.raises(LibraryError, match="no such clip"):
        library.show(found.clip.id)
    with pytest.raises(LibraryError, match="16 digits"):
        library.remove(["'; DROP TABLE"])
    for file in (videos / "one.mp4", videos / "copy.mp4"):
        file.touch()
    assert library.add([videos], quiet=True).clips == 0
    assert (library.removed(), library.stats()["removed"]) == ([found.clip], 1)
    assert library.restore([found.clip.id, "0" * 16]) == 1
    assert library.pick(CARVE).results[0].clip == found.clip
    assert library.removed() == []


def test_an_export_is_a_catalogue(library: ReferenceLibrary, tmp_path: Path) -> None:
    files, problems = library.export(tmp_path / "out", library.clips())
    assert (len(files), problems) == (3, [])
    other = ReferenceLibrary.open(tmp_path / "other", create=True, embedder="none")
    assert other.add([tmp_path / "out" / "manifest.jsonl"], quiet=True).clips == 3
    assert captions(other) == captions(library)
    assert other.take(CARVE).references[0][1].source.parent == tmp_path / "out"  # type: ignore[union-attr]


def test_an_export_takes_no_file_of_others_for_its_own(library: ReferenceLibrary, tmp_path: Path) -> None:
    clip = library.clips()[0]
    out = tmp_path / "out"
    out.mkdir()
    size = (Path(clip.root) / clip.path).stat().st_size
    for theirs in (b"mine", bytes(size)):  # of the same size it may be a copy that a disk spoilt
        (out / f"{clip.video}.mp4").write_bytes(theirs)
        with pytest.raises(OutputError, match="already exists, and is another file"):
            library.export(out, [clip])
        assert (out / f"{clip.video}.mp4").read_bytes() == theirs
        assert not (out / "manifest.jsonl").exists()


def test_what_cannot_be_read_replaces_no_earlier_output(
    library: ReferenceLibrary, videos: Path, tmp_path: Path
) -> None:
    out, new, place, size = tmp_path / "out", tmp_path / "new", library.store.uri, (32, 32)
    library.export(out, library.clips())
    encode_library(library, base_of(toy_pipeline(1)), size)
    before, encoded = (out / "manifest.jsonl").read_text(), library.store.count("encoded")
    assert encoded == len(before.splitlines()) == 3
    videos.rename(tmp_path / "away")  # a disk that is not there
    try:
        for arguments in ((place, out), (place, new), (place, new, "--references")):
            done = run("export", *arguments)
            assert (done.exit_code, "none of 3 clips can be" in done.stderr) == (2, True)
            assert "no such file" in done.stderr.lower()
        done = run("export", place, out, "--prompt", "a zebra is sleeping")
        assert (done.exit_code, "no clips to be exported, so nothing" in done.stderr) == (2, True)
        with pytest.raises(OutputError, match="none of 3 clips can be encoded, so nothing is changed"):
            encode_library(library, base_of(toy_pipeline(2)), size)  # of other weights
    finally:
        (tmp_path / "away").rename(videos)
    assert not new.exists()
    assert (out / "manifest.jsonl").read_text() == before
    assert library.store.count("encoded") == encoded


def test_an_export_to_a_full_disk_is_told(
    library: ReferenceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_room(*_: object, **__: object) -> None:
        raise OutputError("a.safetensors: cannot be written: No space left on device; free some space")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        library.export(tmp_path / "new" / "out", library.clips())
    monkeypatch.setattr(ReferenceVideo, "save", no_room)
    with pytest.raises(OutputError, match="No space left on device"):
        export_references(library, tmp_path / "new" / "out", library.clips())
    assert not (tmp_path / "new").exists()


def test_two_files_of_one_id_are_not_exported_as_one(library: ReferenceLibrary, tmp_path: Path) -> None:
    first, second = library.clips()[:2]
    both = [first, replace(second, video=first.video)]
    files, problems = export_videos(tmp_path / "out", both, library.file)
    assert len(files) == 1
    assert ["has the video id of another file" in why for _, why in problems] == [True]


def test_a_reference_file_that_another_process_writes_meanwhile_is_left(
    library: ReferenceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, files = library.reference, list[Path]()

    def slow(clip: LibraryClip) -> ReferenceVideo:
        with monkeypatch.context() as patched:
            patched.setattr(library, "reference", read)
            files.extend(export_references(library, tmp_path / "out", [clip])[0])
        return read(clip)

    monkeypatch.setattr(library, "reference", slow)
    assert export_references(library, tmp_path / "out", library.clips()) == ([], [])
    assert sorted(files) == sorted((tmp_path / "out").iterdir())


def test_exported_reference_files_make_a_library(library: ReferenceLibrary, tmp_path: Path) -> None:
    files, problems = export_references(library, tmp_path / "out", library.clips())
    assert (len(files), problems) == (3, [])
    for clip, file in zip(library.clips(), files, strict=True):
        assert file.name.endswith(f"-{clip.id}.safetensors")
        written, taken = ReferenceVideo.load(file), library.reference(clip)
        np.testing.assert_array_equal(written.frames, taken.frames)
        assert written.caption == clip.caption
    assert export_references(library, tmp_path / "out", library.clips()) == ([], [])
    other = ReferenceLibrary.open(tmp_path / "other", create=True, embedder="none")
    assert other.add([tmp_path / "out"], quiet=True).clips == 3
    assert captions(other) == captions(library)


def test_exported_reference_files_are_encoded_for_a_base(library: ReferenceLibrary, tmp_path: Path) -> None:
    pipe, clips = toy_pipeline(), library.clips(1)
    ((file,), _) = export_references(library, tmp_path / "encoded", clips, pipe, (32, 32))
    (held,) = read_reference(file).encoded
    (want,) = encoded_for(pipe, library.reference(clips[0]), (32, 32), "toy").encoded
    np.testing.assert_array_equal(held.latents, want.latents)
    assert (held.maker, held.family, held.size) == (want.maker, want.family, (32, 32))


def test_an_encoded_clip_that_a_disk_changed_is_told(
    library: ReferenceLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    """And its video is encoded instead."""
    base, size = base_of(toy_pipeline()), (32, 32)
    assert encode_library(library, base, size).clips == 3
    taken = [(clip, library.reference(clip)) for clip in library.clips()]
    whole, _ = with_encoded(library, taken, base, size)
    assert [len(each.encoded) for each in whole] == [1, 1, 1]
    assert "is damaged" not in caplog.text
    table = library.store.rows("encoded", "id IS NOT NULL")
    rows = table.to_pylist()
    library.store.remove("encoded", "id IS NOT NULL")
    (first, second) = rows[:2]
    first["tensors"] = flipped(first["tensors"])
    second["tensors"] = b"no safetensors"
    library.store.add("encoded", table.from_pylist(rows, table.schema))
    damaged, _ = with_encoded(library, taken, base, size)
    assert sorted(len(each.encoded) for each in damaged) == [0, 0, 1]
    assert caplog.text.count("an encoded clip of the library is damaged") == 2


def test_a_library_is_a_source_of_another(library: ReferenceLibrary, tmp_path: Path) -> None:
    other = ReferenceLibrary.open(tmp_path / "other", create=True, embedder="none")
    assert other.add([library.store.uri], quiet=True).clips == 3
    assert other.pick(CARVE).results[0].clip == library.pick(CARVE).results[0].clip
    with pytest.raises(LibraryError, match="is the library itself"):
        other.add([tmp_path / "other"], quiet=True)


def test_a_missing_source_costs_nothing(library: ReferenceLibrary, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no such file or folder"):
        library.add([videos, tmp_path / "missing"], quiet=True)


def test_long_videos_become_several_clips(tmp_path: Path) -> None:
    film(tmp_path / "carving_wood.mp4", moving(1, 40), fps=8)
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    settings = AddSettings.model_validate({"clips": {"longest": 2.6}})
    assert library.add([tmp_path / "carving_wood.mp4"], settings, quiet=True).clips == 2
    clips = library.clips()
    assert {(clip.start, clip.end) for clip in clips} == {(0.0, 2.5), (2.5, 5.0)}
    late = library.reference(next(clip for clip in clips if clip.start))
    assert late.timestamps[0] == pytest.approx(2.5)


def test_stats_and_batches_count_the_same(library: ReferenceLibrary) -> None:
    stats = library.stats()
    assert (stats["clips"], stats["verbs"], stats["files_read"], stats["indexed"]) == (3, 3, 4, True)
    assert sum(len(batch) for batch in library.batches()) == 3


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["library", *map(str, arguments)])


def test_the_commands(videos: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    done = run("add", place, videos, "--embedder", "none")
    assert done.exit_code == 0, done.stderr
    assert "added 3 clips" in done.stdout
    done = run("search", place, CARVE, "--json")
    found = json.loads(done.stdout)
    assert (found["prompt"], found["action"]) == (CARVE, "carving a statue")
    assert {"id", "caption", "action", "path", "score"} <= found["results"][0].keys()
    id = found["results"][0]["id"]
    done = run("search", place, CARVE, "--sheet", tmp_path / "sheet.png")
    assert 'action: "carving a statue"' in done.stdout
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert json.loads(run("show", place, id, "--json").stdout)["id"] == id
    assert json.loads(run("stats", place, "--json").stdout)["clips"] == 3
    assert len(json.loads(run("list", place, "--action", "juggling", "--json").stdout)["clips"]) == 1
    assert run("export", place, tmp_path / "out", id).exit_code == 0
    assert len([*(tmp_path / "out").glob("*.mp4")]) == 1
    files = json.loads(run("export", place, tmp_path / "refs", "--references", "--json").stdout)["files"]
    assert len(files) == 3
    again = run("export", place, tmp_path / "refs", id, "--references").stdout
    assert "wrote 0 reference files" in again
    assert "1 already existed and were kept" in again
    assert json.loads(run("remove", place, id, "--json").stdout) == {"removed": 1}
    catalogue = tmp_path / "a.csv"
    catalogue.write_text("a,b\n1,2\n")
    for arguments in (
        ("search", tmp_path / "none", "x"),
        ("add", place, tmp_path / "none"),
        ("show", place, "x"),
        ("export", place, tmp_path / "out", "--base", "embedded"),
        ("search", place, " "),
        ("add", tmp_path / "new", videos, tmp_path / "none"),
        ("add", tmp_path / "new", catalogue),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("marks", ["[/b]", "[/]", "[red]", "\\[b]", "[link=x]"])
def test_brackets_and_controls_in_captions_are_text(tmp_path: Path, marks: str) -> None:
    row = {"path": "a.mp4", "caption": f"a man is running {marks}\x1b[2J"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row))
    place, source = tmp_path / "lib", tmp_path / "c.jsonl"
    assert run("add", place, source, "--embedder", "none").exit_code == 0
    for command in (("list", place), ("search", place, "running", "--embedder", "none"), ("stats", place)):
        done = run(*command)
        assert done.exit_code == 0, done.exception
        assert "\x1b[2J" not in done.stdout
        assert command[0] == "stats" or marks in done.stdout


def test_searching_loads_no_diffusion(library: ReferenceLibrary) -> None:
    code = f"""
import sys
from echoreel.library.reference_library import ReferenceLibrary
assert ReferenceLibrary.open({library.store.uri!r}).search({CARVE!r}).results
print(sorted(name for name in ("torch", "diffusers", "transformers") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_vectors_of_another_embedder_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "library", create=True)
    store.make_vectors("one", 4)
    with pytest.raises(LibraryError, match="embedded by one, got two"):
        store.make_vectors("two", 4)
