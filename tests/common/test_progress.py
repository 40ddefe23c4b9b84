"""Progress of loops where there is no terminal."""

import pytest

from echoreel.common import progress
from echoreel.common.progress import tracked
from echoreel.library.sources.progress_bar import Bar, bars


def test_where_there_is_no_terminal_a_line_every_half_minute_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 20.0, 40.0, 60.0, 80.0])  # of the start, then of each item
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    assert [*tracked(range(5), "5 videos")] == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == "5 videos: 40 % done, 1:00 left\n5 videos: 80 % done, 0:20 left\n"


def test_a_source_of_the_library_tells_what_it_counted_and_the_time_left_once_there_is_a_total(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 31.0, 62.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    with bars(quiet=False) as drawn:
        bar = Bar(drawn, "adding films")
        bar.on(5)
        bar.of(20)
        bar.on(5)
    told = capsys.readouterr().err
    assert "adding films: 5 done\n" in told
    assert "adding films: 50 % done, 1:02 left\n" in told
