"""References as footage may be: other bodies, colours, ground, clutter, blur, compression, shaken cameras.

Only what is done stays, so an adapter that trains with a share of them cannot lean on the rest.
"""

from io import BytesIO
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator
from PIL import Image

from echoreel.actors.looks import Colour, Place
from echoreel.actors.renderer import Array, Frames, Style

Disturbance = Literal["restyled", "ground", "clutter", "recoloured", "shaken", "blurred", "compressed"]
DISTURBANCES: tuple[Disturbance, ...] = get_args(Disturbance)
"""In the order in which they come: what stands before the camera, then the camera, then the file."""


def draw_disturbances(rng: Generator) -> tuple[Disturbance, ...]:
    """One to three of them, each as likely, in their order."""
    chosen = rng.choice(len(DISTURBANCES), rng.integers(1, 4), replace=False)
    return tuple(DISTURBANCES[index] for index in sorted(chosen))


def other_style(kinds: tuple[Disturbance, ...], rng: Generator) -> Style | None:
    """How the person and the ground are drawn, where one of these changes it."""
    if not {"restyled", "ground"} & {*kinds}:
        return None
    place = None
    if "ground" in kinds:
        sky, horizon, ground, too = (_colour(rng) for _ in range(4))
        place = Place("", sky, horizon, ground, too, int(rng.integers(3)))
    if "restyled" not in kinds:
        return Style(place=place)
    limbs, torso, head = rng.uniform((0.6, 0.7, 0.8), (1.5, 1.3, 1.5)).tolist()
    shades = int(rng.choice((0, 2, 3, 4)))
    return Style(limbs, torso, head, shades, _colour(rng) if rng.random() < 0.5 else None, place)


def disturbed(frames: Frames, person: Frames, kinds: tuple[Disturbance, ...], rng: Generator) -> Frames:
    """Frames (T, H, W, 3) with what these do to pixels; `person` (T, H, W), 255 where all is person."""
    shown: Array = frames.astype(np.float32)
    if "clutter" in kinds:
        share = person[..., None] / np.float32(255)
        shown = share * shown + (1 - share) * _with_clutter(shown, rng)
    if "recoloured" in kinds:
        mix = np.linalg.qr(np.eye(3) + rng.uniform(0, 1, (3, 3)))[0]
        shown = shown @ mix.T.astype(np.float32) * rng.uniform(0.6, 1.2)
        shown += 127.5 - shown.mean() + rng.uniform(-40, 40)
    if "shaken" in kinds:
        shown = _shaken(shown, rng)
    for _ in range(rng.integers(1, 4) if "blurred" in kinds else 0):
        for axis in (1, 2):
            shown = (np.roll(shown, 1, axis) + 2 * shown + np.roll(shown, -1, axis)) / 4
    done: Frames = shown.clip(0, 255).astype(np.uint8)
    if "compressed" in kinds:
        quality = int(rng.integers(8, 50))
        done = np.stack([_compressed(frame, quality) for frame in done])
    return done


def _with_clutter(frames: Array, rng: Generator) -> Array:
    """With two to five boxes that stand still, as large as a tenth to half of the picture's side."""
    cluttered, side = frames.copy(), frames.shape[1]
    for _ in range(rng.integers(2, 6)):
        height, width = rng.integers(max(1, side // 10), side // 2 + 1, 2)
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        cluttered[:, top : top + height, left : left + width] = 255 * np.array(_colour(rng))
    return cluttered


def _shaken(frames: Array, rng: Generator) -> Array:
    """As by a hand-held camera: each frame a pixel or so beside the last, within a tenth of the picture."""
    side = frames.shape[1]
    reach = max(1, side // 10)
    steps = rng.normal(0, max(1.0, side / 40), (len(frames), 2)).cumsum(0)
    places = np.arange(side) + steps.round().clip(-reach, reach).astype(int)[:, :, None]  # (T, 2, side)
    rows, columns = places.clip(0, side - 1).transpose(1, 0, 2)
    moved: Array = frames[np.arange(len(frames))[:, None, None], rows[:, :, None], columns[:, None]]
    return moved


def _compressed(frame: Frames, quality: int) -> Frames:
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _colour(rng: Generator) -> Colour:
    red, green, blue = rng.uniform(0, 1, 3).tolist()
    return red, green, blue
