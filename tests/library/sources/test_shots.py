"""Videos to clips: captions from everywhere, cuts where the camera cuts, and what cannot be used says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.make_videos import film
from helpers.video_folders import bad_folder, moving

from echoreel.common.errors import (
    ClipTooShort,
    EchoReelError,
    VideoEmpty,
    VideoMissing,
    VideoTooLarge,
    VideoUnreadable,
)
from echoreel.library.sources.captions import FolderCaptions, Said, beside, caption_of
from echoreel.library.sources.find_videos import find_videos
from echoreel.library.sources.shots import (
    ClipSettings,
    content_of,
    find_parts,
    look_of,
    motion_of,
    read_clips,
)


def test_a_caption_is_found_in_the_table_beside_the_video_in_its_name_and_in_its_folders(
    tmp_path: Path,
) -> None:
    (tmp_path / "captions.csv").write_text(
        "file_name,caption\na.mp4,from the table\nsub/b.mp4,of the other\n"
    )
    (tmp_path / "a.txt").write_text("from the text file")
    (tmp_path / "c.txt").write_text("  a man\nis running ")
    (tmp_path / "d.json").write_text(json.dumps({"Caption": 1, "text": "from json"}))
    captions = FolderCaptions(tmp_path)
    said = lambda name: [each.text for each in captions.of(tmp_path / name)]  # noqa: E731
    assert said("a.mp4") == ["from the table"]
    assert said("sub/b.mp4") == ["of the other"]
    assert said("c.mp4") == ["a man is running"]
    assert said("d.mp4") == ["from json"]
    assert said("v_ApplyEyeMakeup_g01_c01.avi") == ["apply eye makeup"]
    assert said("playing guitar/0001.mp4") == ["playing guitar"]
    assert said("0001.mp4") == []


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("where,what\na.mp4,b\n")
    with pytest.raises(EchoReelError, match="got columns where, what; need a file"):
        FolderCaptions(tmp_path)


def test_subtitles_say_what_is_in_their_part_of_the_video(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        "1\n00:00:00,000 --> 00:00:04,000\n<i>She cuts</i>\nan onion\n\n"
        "2\n00:00:04,500 --> 00:00:09,000\nShe stirs the soup\n"
    )
    said = beside(tmp_path / "a.mp4")
    assert caption_of(said, 0, 4) == "She cuts an onion"
    assert caption_of(said, 4, 8) == "She stirs the soup"
    assert caption_of(said, 0, 9) == "She cuts an onion She stirs the soup"
    assert caption_of(said, 20, 30) == ""


def test_damaged_captions_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.srt").write_bytes(b"\xff\xfe\x00-->")
    assert beside(tmp_path / "a.mp4") == beside(tmp_path / "b.mp4") == []
    (tmp_path / "c.json").write_text('[{"caption": "late", "start": 5}]')
    assert beside(tmp_path / "c.mp4") == [Said("late", 5.0)]


def test_a_long_video_is_cut_where_the_camera_cuts(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", np.concatenate([moving(seed, 40) for seed in (5, 16, 27)]), fps=10)
    assert find_parts(path, ClipSettings(longest=5)) == [(0, 4), (4, 8), (8, 12)]
    halves = find_parts(path, ClipSettings(longest=2.5))
    assert halves == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]
    clips = read_clips(path, 7, [Said("first", 0, 4), Said("then", 4, 12)], ClipSettings(longest=5))
    assert [clip.caption for clip in clips] == ["first", "then", "then"]
    assert len({clip.look for clip in clips}) == 3
    with pytest.raises(ClipTooShort, match="no shot of 20 s"):
        read_clips(path, 7, [], ClipSettings(longest=5, shortest=20))


def test_a_short_video_is_one_clip_to_its_end(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", moving(1))
    (clip,) = read_clips(path, content_of(path), [Said("a caption")], ClipSettings())
    assert (clip.start, clip.end, clip.caption) == (0.0, None, "a caption")
    assert 0 < clip.motion < 0.5


def test_looks_differ_by_colour_and_motion_by_change() -> None:
    still = np.full((4, 8, 8, 3), 100, np.uint8)
    assert motion_of(still) == 0
    assert len(look_of(still)) == 24
    other = still.copy()
    other[:, :4, :4] = 200
    assert look_of(other)[:3] == pytest.approx([200 / 255] * 3, abs=1e-3)
    assert look_of(other)[6:] == look_of(still)[6:]


def test_the_zoo_gives_one_video_and_a_reason_for_everything_else(tmp_path: Path) -> None:
    folder = bad_folder(tmp_path / "zoo")
    videos = list(find_videos(folder, lambda path, why, count: None))
    assert len(videos) == len(set(videos)) == 13  # the link to the folder itself is not followed again
    reasons = {}
    for path in videos:
        try:
            read_clips(path, content_of(path), [], ClipSettings())
        except EchoReelError as error:
            reasons[path.name] = type(error)
    assert {path.name for path in videos} - reasons.keys() == {"good.mp4"}
    expected = {"empty.mp4": VideoEmpty, "sound.mp4": VideoEmpty, "zero.webm": VideoUnreadable}
    expected |= {"huge.mp4": VideoTooLarge, "gone.mp4": VideoMissing, "pipe.mp4": VideoMissing}
    expected |= {"one-frame.mp4": ClipTooShort}
    assert {name: reasons[name] for name in expected} == expected
