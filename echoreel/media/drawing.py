"""How EchoReel draws: one palette in a light and a dark theme for sheets, plots and the page, and the sheets.

The colours are those of Okabe and Ito, which people with any common colour blindness tell apart; where
colours name something, a second sign (hatching, a marker, a label) does, too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from einops import repeat
from PIL import Image, ImageColor, ImageDraw, ImageFont

from echoreel.media.images import Frames, fitted

Colour: TypeAlias = tuple[int, int, int]


class Theme(NamedTuple):
    """Colours as #rrggbb: of the ground, of text and of lines beside it."""

    name: str
    paper: str
    ink: str
    faint: str


LIGHT = Theme("light", paper="#ffffff", ink="#141414", faint="#6b7280")
DARK = Theme("dark", paper="#16181d", ink="#f2f3f5", faint="#9ca3af")
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
HATCHES = ("", "///", "...", "xxx", "---", "ooo")  # beside these colours
MARKERS = ("o", "s", "^", "D", "v", "P")
MOST_SHOWN = 4000  # characters of a label, each of which is measured
MOST_WIDE = 16  # times as wide as high, of a frame
TEXT, LINE, GAP = 13, 17, 4  # pixels: size of text, from line to line, around it


def rgb(colour: str) -> Colour:
    """#rrggbb as numbers from 0 to 255."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue


def in_both_themes(path: Path) -> dict[Theme, Path]:
    """Where a picture goes in each theme: name.png, and name-dark.png."""
    return {LIGHT: path, DARK: path.with_stem(f"{path.stem}-{DARK.name}")}


def plot_style(theme: Theme) -> dict[str, object]:
    """matplotlib's settings (rcParams) for a plot in this look."""
    inks = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    papers = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    return {
        **dict.fromkeys(inks, theme.ink),
        **dict.fromkeys(papers, theme.paper),
        "axes.edgecolor": theme.faint,
        "grid.color": theme.faint,
        "hatch.color": theme.paper,
        "font.size": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def contact_sheet(
    rows: Sequence[tuple[str, Frames]], columns: int = 8, height: int = 96, theme: Theme = LIGHT
) -> Frames:
    """One picture (H, W, 3) of several videos: per row its label, then `columns` frames, each `height` high.

    rows: (label, frames (T, H, W, 3) uint8). Frames are spread evenly from first to last; of a shorter
    video each is shown once. Sizes and lengths may differ between rows.
    """
    strips = []
    for label, frames in rows:
        chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        strips.append(
            (label, np.concatenate([_cell(frames[index], height, theme) for index in chosen], axis=1))
        )
    width = max(strip.shape[1] for _, strip in strips)
    return np.concatenate(
        [
            part
            for label, strip in strips
            for part in (label_band(label, width, theme=theme), _wide(strip, width, theme))
        ]
    )


def side_by_side(videos: Sequence[tuple[str, Frames]], height: int = 160) -> Frames:
    """One video (T, H, W, 3): the (label, frames) beside each other, each `height` high under its label.

    As long as the longest; shorter ones rest on their last frame.
    """
    length = max(len(frames) for _, frames in videos)
    columns = []
    for label, frames in videos:
        cells = [_cell(frames[min(t, len(frames) - 1)], height, LIGHT) for t in range(length)]
        text = label_band(label, cells[0].shape[1], lines=2)
        columns.append(np.stack([np.concatenate([text, cell]) for cell in cells]))
    return np.concatenate(columns, axis=2)


def label_band(
    label: str, width: int, lines: int | None = None, theme: Theme = LIGHT, size: int = TEXT
) -> Frames:
    """A band (h, width, 3) with the label, wrapped; if `lines` is given, of that height, cut with dots.

    Of a label only the first `MOST_SHOWN` characters are drawn.

    size: of the text, pixels.
    """
    font = ImageFont.load_default(size)  # which draws other scripts than Latin as boxes
    shown = label if len(label) <= MOST_SHOWN else f"{label[:MOST_SHOWN]} …"
    text = shown.encode("cp1252", "backslashreplace").decode("cp1252")
    rows = _wrapped(text, font, width - 2 * GAP)
    if lines is not None and len(rows) > lines:
        rows = [*rows[: lines - 1], _dotted(rows[lines - 1], font, width - 2 * GAP)]
    line = size + LINE - TEXT
    band = Image.new("RGB", (width, line * (lines or len(rows)) + GAP), theme.paper)
    draw = ImageDraw.Draw(band)
    for number, row in enumerate(rows):
        draw.text((GAP, 1 + number * line), row, theme.ink, font)
    return np.asarray(band)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels; a word that is wider is broken."""
    rows = [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            rows[-1] = longer
            continue
        if rows[-1]:
            rows.append("")
        for letter in word:
            if rows[-1] and font.getlength(rows[-1] + letter) > width:
                rows.append("")
            rows[-1] += letter
    return rows


def _dotted(row: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The row with dots at its end, and as much of it before them as there is room for."""
    while row and font.getlength(f"{row} …") > width:
        row = row[:-1].rstrip()
    return f"{row} …"


def _cell(frame: Frames, height: int, theme: Theme) -> Frames:
    """The frame at about `height` (small ones in whole steps, so that pixels stay square), with a margin.

    Of one that is over `MOST_WIDE` times as wide as high, the middle.
    """
    over = max(0, frame.shape[1] - MOST_WIDE * frame.shape[0]) // 2
    frame = frame[:, over : frame.shape[1] - over]
    if height >= 2 * frame.shape[0]:
        step = height // frame.shape[0]
        frame = repeat(frame, "h w c -> (h y) (w x) c", y=step, x=step)
    frame = fitted(frame, (height, max(1, round(frame.shape[1] * height / frame.shape[0]))))
    rows, columns = frame.shape[:2]
    cell = blank((rows + 2 * GAP, columns + 2 * GAP), theme)
    cell[GAP : GAP + rows, GAP : GAP + columns] = frame
    return cell


def blank(size: tuple[int, int], theme: Theme = LIGHT) -> Frames:
    """Paper (height, width, 3)."""
    return np.full((*size, 3), rgb(theme.paper), np.uint8)


def _wide(strip: Frames, width: int, theme: Theme) -> Frames:
    return np.concatenate([strip, blank((strip.shape[0], width - strip.shape[1]), theme)], axis=1)
