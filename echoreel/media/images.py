"""Frames -> pictures of them: resizing, contact sheets, videos side by side. Arrays only, no files."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from einops import repeat
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frames: TypeAlias = NDArray[np.uint8]

GREY = 128  # under alpha and around what is shown: zero in a model's range
INK, PAPER = (20, 20, 20), 255
TEXT_HEIGHT, GAP = 14, 4  # pixels


def fitted(image: Frames, size: tuple[int, int], pixel_aspect: float = 1.0) -> Frames:
    """The image (H, W, 3), whose pixels are `pixel_aspect` wide, at `size` (height, width), antialiased.

    It fills the size; what hangs over is cut, centred.
    """
    if image.shape[:2] == size and pixel_aspect == 1:
        return np.ascontiguousarray(image)
    (height, width), (rows, columns) = image.shape[:2], size
    scale = max(rows / height, columns / (width * pixel_aspect))
    # The part of the source that is seen.
    seen_h, seen_w = min(height, rows / scale), min(width, columns / (scale * pixel_aspect))
    top, left = (height - seen_h) / 2, (width - seen_w) / 2
    # A whole reduction is a mean over whole pixels, so that an enlarged video reads back as it was.
    whole = (seen_h / rows).is_integer() and (seen_w / columns).is_integer()
    picture = Image.fromarray(np.ascontiguousarray(image))
    steps = round(seen_w / columns), round(seen_h / rows)
    box = (left, top, left + seen_w, top + seen_h)
    if whole and left.is_integer() and top.is_integer():
        part = picture.reduce(steps, box=(int(box[0]), int(box[1]), int(box[2]), int(box[3])))
    elif whole:
        part = picture.resize((columns, rows), Image.Resampling.BOX, box)
    else:
        part = picture.resize((columns, rows), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return np.array(part)


def middle(frames: Frames, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of frames (..., H, W, 3) that `fitted` keeps for `size` (height, width)."""
    (height, width), (rows, columns) = frames.shape[-3:-1], size
    scale = min(height / rows, width / columns)
    seen_h, seen_w = max(1, round(rows * scale)), max(1, round(columns * scale))
    top, left = (height - seen_h) // 2, (width - seen_w) // 2
    return slice(top, top + seen_h), slice(left, left + seen_w)


def dimmed_outside(frames: Frames, size: tuple[int, int]) -> Frames:
    """The frames, with what `fitted` cuts away for `size` nearly grey."""
    shown = (GREY + (frames.astype(np.int16) - GREY) // 4).astype(np.uint8)
    rows, columns = middle(frames, size)
    shown[..., rows, columns, :] = frames[..., rows, columns, :]
    return shown


def contact_sheet(rows: Sequence[tuple[str, Frames]], columns: int = 8, height: int = 96) -> Frames:
    """One picture (H, W, 3) of several videos: per row its label, then `columns` frames, each `height` high.

    rows: (label, frames (T, H, W, 3) uint8). Frames are spread evenly from first to last; of a shorter
    video each is shown once. Sizes and lengths may differ between rows.
    """
    strips = []
    for label, frames in rows:
        chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        strips.append((label, np.concatenate([_cell(frames[index], height) for index in chosen], axis=1)))
    width = max(strip.shape[1] for _, strip in strips)
    return np.concatenate(
        [part for label, strip in strips for part in (_text(label, width), _wide(strip, width))]
    )


def side_by_side(videos: Sequence[tuple[str, Frames]], height: int = 160) -> Frames:
    """One video (T, H, W, 3): the (label, frames) beside each other, each `height` high under its label.

    As long as the longest; shorter ones rest on their last frame.
    """
    length = max(len(frames) for _, frames in videos)
    columns = []
    for label, frames in videos:
        cells = [_cell(frames[min(t, len(frames) - 1)], height) for t in range(length)]
        text = _text(label, cells[0].shape[1], lines=2)
        columns.append(np.stack([np.concatenate([text, cell]) for cell in cells]))
    return np.concatenate(columns, axis=2)


def _cell(frame: Frames, height: int) -> Frames:
    """The frame at about `height` (small ones in whole steps, so that pixels stay square), with a margin."""
    if height >= 2 * frame.shape[0]:
        step = height // frame.shape[0]
        frame = repeat(frame, "h w c -> (h y) (w x) c", y=step, x=step)
    frame = fitted(frame, (height, max(1, round(frame.shape[1] * height / frame.shape[0]))))
    return np.pad(frame, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER)


def _wide(strip: Frames, width: int) -> Frames:
    return np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=PAPER)


def _text(label: str, width: int, lines: int | None = None) -> Frames:
    """A band (h, width, 3) with the label, wrapped; if `lines` is given, of that height, cut with dots."""
    font = ImageFont.load_default(TEXT_HEIGHT - 3)  # which draws other scripts than Latin as boxes
    rows = [""]
    for word in label.encode("cp1252", "backslashreplace").decode("cp1252").split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font.getlength(longer) > width - 2 * GAP:
            rows.append(word)
        else:
            rows[-1] = longer
    if lines is not None and len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1] + " …"]
    band = Image.new("RGB", (width, TEXT_HEIGHT * (lines or len(rows)) + GAP), (PAPER,) * 3)
    ImageDraw.Draw(band).multiline_text((GAP, 1), "\n".join(rows), INK, font, spacing=2)
    return np.asarray(band)
