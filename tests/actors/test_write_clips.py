"""`prepare clips` goes on with its own clips, and keeps those of others."""

from pathlib import Path

import pytest
from helpers.make_videos import counting, film

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.motion_library import synthetic_library
from echoreel.actors.write_clips import write_clips
from echoreel.common.errors import OutputError

SETTINGS = ActorSettings(frames=6, size=16)


@pytest.fixture(scope="module")
def domain() -> ActorDomain:
    return ActorDomain(synthetic_library(), SETTINGS)


def test_the_same_call_makes_only_what_is_missing(domain: ActorDomain, tmp_path: Path) -> None:
    files = write_clips(domain, tmp_path / "new" / "clips", 3)
    (tmp_path / "new" / "clips" / "000000.txt").write_text("as I would say it")
    before = {path: path.stat().st_mtime_ns for path in files}
    files[1].unlink()
    assert write_clips(domain, tmp_path / "new" / "clips", 4) == [*files, files[0].with_name("000003.mp4")]
    assert [before[path] == path.stat().st_mtime_ns for path in files] == [True, False, True]
    assert files[0].with_suffix(".txt").read_text() == "as I would say it"


@pytest.mark.parametrize("theirs", ["a video", "a clip of other settings", "another clip", "text", "a link"])
def test_a_video_of_others_in_a_clips_place_is_neither_taken_nor_replaced(
    domain: ActorDomain, tmp_path: Path, theirs: str
) -> None:
    place = tmp_path / "000001.mp4"
    if theirs == "a video":
        film(place, counting(6, 16, 16))
    elif theirs == "a clip of other settings":
        write_clips(
            ActorDomain(synthetic_library(), SETTINGS.model_copy(update={"size": 32})), tmp_path, 1, 1
        )
        place.with_suffix(".txt").unlink()
    elif theirs == "another clip":
        write_clips(domain, tmp_path, 1, 2)[0].rename(place)
        (tmp_path / "000002.txt").unlink()
    elif theirs == "text":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere.mp4")
    before = place.lstat()
    with pytest.raises(OutputError, match=r"000001\.mp4: already exists, and is not this clip"):
        write_clips(domain, tmp_path, 2)
    assert place.lstat() == before
    assert [*tmp_path.iterdir()] == [place]


def test_a_clip_that_cannot_be_written_leaves_nothing(domain: ActorDomain, tmp_path: Path) -> None:
    (tmp_path / "000000.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"000000\.txt: already exists and holds something else"):
        write_clips(domain, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["000000.txt"]


@pytest.mark.parametrize("lost", ["half of the video", "all but its start", "the caption"])
def test_what_a_disk_lost_of_a_clip_is_made_again(domain: ActorDomain, tmp_path: Path, lost: str) -> None:
    clip, other = write_clips(domain, tmp_path, 2)
    caption, whole, before = clip.with_suffix(".txt"), clip.read_bytes(), other.stat()
    text = caption.read_text()
    if lost == "the caption":
        caption.unlink()
    else:
        clip.write_bytes(whole[: len(whole) // 2 if lost == "half of the video" else -200])
    assert write_clips(domain, tmp_path, 2) == [clip, other]
    assert (clip.read_bytes(), caption.read_text()) == (whole, text)
    assert other.stat() == before
    assert len([*tmp_path.iterdir()]) == 4


def test_a_clip_that_another_process_makes_meanwhile_is_taken(tmp_path: Path) -> None:
    """The other one begins while this one films, and is faster; of other settings, it is told."""

    class Slow(ActorDomain):
        def clip(self, seed: int) -> ActorClip:
            write_clips(other, tmp_path, 1, seed)
            return super().clip(seed)

    other = ActorDomain(synthetic_library(), SETTINGS)
    assert [path.name for path in write_clips(Slow(synthetic_library(), SETTINGS), tmp_path, 2)] == [
        "000000.mp4",
        "000001.mp4",
    ]
    assert len([*tmp_path.iterdir()]) == 4
    other = ActorDomain(synthetic_library(), SETTINGS.model_copy(update={"size": 32}))
    with pytest.raises(OutputError, match=r"000002\.(mp4|txt): already exists(?!.*--overwrite)"):
        write_clips(Slow(synthetic_library(), SETTINGS), tmp_path, 3)
