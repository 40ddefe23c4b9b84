"""Frames resized, and what resizing cuts away. Arrays only, no files."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames: TypeAlias = NDArray[np.uint8]

GREY = 128  # under alpha and around what is shown: zero in a model's range


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


def cut_away(filmed: tuple[int, int], size: tuple[int, int]) -> float:
    """The share of a picture of `filmed` (height, width) that `fitted` cuts away for `size`, 0 to 1."""
    aspects = filmed[1] * size[0], filmed[0] * size[1]
    return 1 - min(aspects) / max(aspects)


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
