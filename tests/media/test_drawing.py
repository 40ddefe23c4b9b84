"""Sheets and the palette: all frames asked for, labels that are read whole, colours that are told apart."""

from itertools import combinations

import numpy as np
import pytest
from helpers.make_videos import counting

from echoreel.media.drawing import (
    BLUE,
    COLOURS,
    DARK,
    GAP,
    LIGHT,
    Theme,
    contact_sheet,
    label_band,
    rgb,
    side_by_side,
)
from echoreel.media.images import Frames


def test_labels_in_other_scripts_differ() -> None:
    frames = np.zeros((2, 48, 64, 3), np.uint8)
    labels = ("человек", "走路走路走路走", "يمشي ببطء")
    bands = {contact_sheet([(label, frames)])[:18].tobytes() for label in labels}
    assert len(bands) == 3


def test_a_contact_sheet_shows_first_and_last_frames_of_every_row() -> None:
    first, second = counting(16, 32, 32), counting(3, 20, 20)
    sheet = contact_sheet([("a label " * 30, first), ("short", second)], columns=4, height=64)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * (64 + 8)
    brightness = {int(frame[10, 20, 0]) for frame in first[[0, 5, 10, 15]]}
    assert brightness <= set(np.unique(sheet[..., 0]).tolist())


def test_side_by_side_lasts_as_long_as_the_longest() -> None:
    both = side_by_side(
        [("left", counting(4, 32, 32)), ("right, with a long label", counting(8, 32, 48))], height=64
    )
    assert both.shape[0] == 8
    assert both.shape[2] == (64 + 8) + (96 + 8)
    assert (both[3, :, :72] == both[7, :, :72]).all()
    assert (both[3, :, 72:] != both[7, :, 72:]).any()


@pytest.mark.parametrize(
    "label", ["word " * 30, "W" * 90, "https://example.org/" + "a" * 70, "ab " + "W" * 40]
)
@pytest.mark.parametrize("lines", [None, 1, 2])
def test_no_label_is_cut_off_at_the_edge(label: str, lines: int | None) -> None:
    band = label_band(label, 150, lines)
    assert inked(band[:, GAP:-GAP])
    assert not inked(band[:, -2:])
    assert not inked(band[-1:])


def test_a_long_label_is_shown_whole_or_ends_in_dots() -> None:
    whole, cut = label_band("W" * 90, 150), label_band("W" * 90, 150, 2)
    assert len(whole) > 4 * len(cut)
    assert (cut[:17] == whole[:17]).all()
    assert (cut[17:34, :60] == whole[17:34, :60]).all()
    assert (cut[17:34] != whole[17:34]).any()


def inked(band: Frames) -> bool:
    return bool((band < 128).any())


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_colours_stand_out_from_the_paper(theme: Theme) -> None:
    """Contrast as WCAG 2 asks for: 7 for text, 3 for what is drawn in a colour beside a second sign."""
    assert contrast(theme.ink, theme.paper) >= 7
    assert contrast(theme.faint, theme.paper) >= 4.5
    assert contrast("#ffffff", BLUE) >= 4.5  # the page's buttons
    least = 2.2 if theme is LIGHT else 3  # orange and sky blue are light; their hatching tells them, too
    assert min(contrast(colour, theme.paper) for colour in COLOURS) >= least


# What a colour looks like to people without cones for long or middle waves (Vienot, Brettel and Mollon 1999).
PROTANOPE = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPE, DEUTERANOPE])
def test_the_first_colours_are_told_apart_by_all(seen: np.ndarray) -> None:
    shown = [seen @ linear(colour) for colour in COLOURS[:4]]
    assert (
        min(
            float(np.abs(a ** (1 / 2.2) - b ** (1 / 2.2)).sum())
            for a, b in combinations(np.clip(shown, 0, 1), 2)
        )
        > 0.22  # matplotlib's own first four come to 0.10
    )


def linear(colour: str) -> np.ndarray:
    value = np.array(rgb(colour)) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    light, dark = sorted(
        (float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


def test_a_dark_sheet_differs_in_paper_and_ink_alone() -> None:
    frames = counting(4, 32, 32)
    light, dark = (contact_sheet([("a label", frames)], 4, 64, theme) for theme in (LIGHT, DARK))
    cell = (slice(17 + 2 * GAP, 17 + 2 * GAP + 64), slice(GAP, GAP + 64))
    assert (light[cell] == dark[cell]).all()
    assert (light[-1, -1].tolist(), dark[-1, -1].tolist()) == ([255] * 3, [22, 24, 29])


def test_a_label_of_any_length_takes_no_time() -> None:
    whole = label_band("x" * 4000, 640)
    assert label_band("x" * 100_000_000, 640).shape[0] - whole.shape[0] <= 17


def test_frames_of_any_shape_take_no_memory() -> None:
    wide = side_by_side([("wide", np.zeros((1, 1, 100_000, 3), np.uint8))], height=2048)
    assert wide.shape[2] == 16 * 2048 + 2 * GAP
