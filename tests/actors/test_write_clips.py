"""`prepare clips` goes on with its own clips, and keeps those of others."""

from pathlib import Path

import pytest
from helpers.make_videos import counting, film

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
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
