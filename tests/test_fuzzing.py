"""Files that hypothesis makes up are read, or refused with one of our errors; scripts/fuzz makes more."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from helpers.fuzzing import CSV, NOTES, PAIR, READERS, RECIPE, SRT, made_bad, outcome
from helpers.make_videos import counting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoreel.media.video_files import write_video

FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
STILL = counting(1, 16, 16)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([10**400, -1, 1e308, "\ud800", "\0", "../../x", "\u2028", "\u202e"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def changed(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with some values replaced, and some left out."""
    keys = st.sampled_from(sorted(good))
    return st.builds(
        lambda new, out: {key: value for key, value in (good | new).items() if key not in out},
        st.dictionaries(keys | st.text(max_size=5), VALUES, max_size=4),
        st.sets(keys, max_size=1),
    )


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


LINES = st.lists(st.sampled_from(SRT.splitlines()) | st.text(max_size=20), max_size=12).map("\n".join)
CELLS = st.sampled_from(CSV.replace("\n", ",").split(",")) | st.text(max_size=8)
ROWS = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6).map("\n".join)
TOML = st.lists(st.sampled_from(RECIPE.splitlines()) | st.text(max_size=20), max_size=8).map("\n".join)
NUMBERS = st.integers() | st.floats().map(str) | st.just("1" + "0" * 400)
FIT = st.builds(
    lambda key, number: f"{RECIPE}{key} = {number}\n".encode(),
    st.sampled_from(("warmup", "ema", "log_every", "prefetch", "gradient_clip", "accumulate")),
    NUMBERS,
)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


MADE: dict[str, st.SearchStrategy[bytes]] = {
    "recipe": TOML.map(as_bytes) | FIT,
    "manifest": changed(PAIR).map(as_json) | VALUES.map(as_json),
    "notes": changed(NOTES).map(as_json) | VALUES.map(as_json),
    "srt": LINES.map(as_bytes) | st.binary(max_size=40),
    "csv": (ROWS | ROWS.map(lambda rows: CSV + rows)).map(as_bytes) | st.binary(max_size=40),
    "caption.json": st.lists(changed(PAIR), max_size=2).map(as_json) | VALUES.map(as_json),
}


@pytest.mark.parametrize("name", MADE)
def test_what_hypothesis_makes_up_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / READERS[name].file

    @FEW
    @given(MADE[name])
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert outcome(READERS[name], path) == ""

    check()


@FEW
@given(text=changed(NOTES).map(json.dumps) | st.text(max_size=40))
def test_settings_that_an_mp4_carries_are_read_or_refused(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "carries.mp4"
    write_video(path, STILL, 8, notes=text.replace("\0", "").encode("utf-8", "replace").decode())
    assert outcome(READERS["settings of a result"], path) == ""


@pytest.mark.parametrize("name", ["video.mp4", "reference file", "pairs", "adapter's config"])
def test_damaged_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """In this process; scripts/fuzz has limits of memory and time around each."""
    reader = READERS[name]
    path = tmp_path / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.good(path)
    good = path.read_bytes()
    for number in range(15):
        path.write_bytes(made_bad(good, Random(number)))
        assert outcome(reader, path) == "", number
