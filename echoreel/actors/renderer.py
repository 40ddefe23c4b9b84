"""The renderer: joint positions -> pixels. A person is 21 capsules, ray-cast with a depth buffer (numba)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel.actors.looks import COLOURS, HAIRS, PLACES, SKINS, Look, Place
from echoreel.actors.motion_library import Joints, joint
from echoreel.common.extras import needs

with needs("numba", "filming actors"):
    from numba import njit

Frames = NDArray[np.uint8]  # (T, H, W, 3) RGB
Array = NDArray[Any]

SKIN, SHIRT, TROUSERS, SHOE, HAIR, SLEEVE = range(6)
# One capsule a row: joint, joint, radius at each (metres), what it wears.
BODY: tuple[tuple[str, str, float, float, int], ...] = (
    ("pelvis", "chest", 0.125, 0.145, SHIRT), ("chest", "neck", 0.14, 0.09, SHIRT), ("lsho", "rsho", 0.075, 0.075, SHIRT),
    ("lhip", "rhip", 0.105, 0.105, TROUSERS), ("pelvis", "lhip", 0.11, 0.1, TROUSERS), ("pelvis", "rhip", 0.11, 0.1, TROUSERS),
    ("neck", "head", 0.06, 0.06, SKIN), ("head", "head", 0.115, 0.115, SKIN),
    ("lsho", "lelb", 0.06, 0.05, SHIRT), ("lelb", "lhand", 0.046, 0.038, SLEEVE), ("lhand", "lhand", 0.05, 0.05, SKIN),
    ("rsho", "relb", 0.06, 0.05, SHIRT), ("relb", "rhand", 0.046, 0.038, SLEEVE), ("rhand", "rhand", 0.05, 0.05, SKIN),
    ("lhip", "lknee", 0.09, 0.065, TROUSERS), ("lknee", "lank", 0.062, 0.045, TROUSERS), ("lank", "ltoe", 0.05, 0.04, SHOE),
    ("rhip", "rknee", 0.09, 0.065, TROUSERS), ("rknee", "rank", 0.062, 0.045, TROUSERS), ("rank", "rtoe", 0.05, 0.04, SHOE),
)  # fmt: skip
HAIR_RADIUS = 0.112
NEAR, FAR = 0.05, 1e9


@dataclass(frozen=True)
class Camera:
    """Looks at `target_height` metres over the origin; angles in radians, distance in metres."""

    azimuth: float
    elevation: float = 0.15
    distance: float = 3.6
    target_height: float = 0.9
    field_of_view: float = 0.7  # radians, vertical

    def axes(self) -> tuple[Array, Array, Array, Array]:
        """The eye's place and the camera's right, up and forward, each (3,) float64."""
        level = math.cos(self.elevation)
        back = np.array(
            [math.cos(self.azimuth) * level, math.sin(self.azimuth) * level, math.sin(self.elevation)]
        )
        eye = np.array([0.0, 0.0, self.target_height]) + self.distance * back
        right = np.cross(-back, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return eye, right, np.cross(right, -back), -back


@dataclass(frozen=True)
class Light:
    """Direction towards the light, and the size of the ground's pattern in cycles a metre."""

    direction: tuple[float, float, float] = (0.3, -0.2, 1.0)
    pattern: float = 0.8


@dataclass(frozen=True)
class Style:
    """How people are drawn. The default is what everything is trained on."""

    limbs: float = 1.0  # factors of the radii
    torso: float = 1.0
    head: float = 1.0
    shades: int = 0  # steps of the shading; 0 = smooth
    colour: tuple[float, float, float] | None = None  # of the whole person, instead of the look's
    place: Place | None = None  # instead of the look's


MANNEQUIN = Style(
    0.62,
    0.8,
    1.4,
    3,
    (0.78, 0.66, 0.5),
    Place("in a studio", (0.85, 0.87, 0.92), (0.98, 0.98, 0.99), (0.93, 0.93, 0.95), (0.93, 0.93, 0.95), 0),
)
"""A thin, big-headed, one-coloured figure in a bright studio, shaded in steps: a look never trained on."""


def render(
    joints: Joints, look: Look, camera: Camera, light: Light, size: int, style: Style | None = None
) -> tuple[Frames, Frames]:
    """Film a take: (T, 18, 3) metres -> RGB (T, size, size, 3) uint8, with 2x2 anti-aliasing.

    Also returns how much of each pixel is person: (T, size, size) uint8."""
    style = style or Style()
    starts, ends, radii, parts = _capsules(joints, look.build, style)
    place = style.place or PLACES[look.place]
    canvas = np.empty((len(joints), 2 * size, 2 * size, 4), np.float32)  # red, green, blue, coverage
    ground = np.array([place.ground, place.ground_too])
    sky = np.array([place.horizon, place.sky])
    towards_light = np.array(light.direction) / np.linalg.norm(light.direction)
    view = np.stack([*camera.axes()])
    zoom = 1 / math.tan(camera.field_of_view / 2)
    _film(
        starts,
        ends,
        radii,
        parts,
        _palette(look) if style.colour is None else np.array([style.colour] * 6),
        view,
        zoom,
        sky,
        ground,
        place.pattern,
        light.pattern,
        towards_light,
        style.shades,
        canvas,
    )
    small = (canvas.reshape(len(joints), size, 2, size, 2, 4).mean((2, 4)) * 255 + 0.5).astype(np.uint8)
    return small[..., :3].copy(), small[..., 3].copy()


def camera_joints(joints: Joints, camera: Camera) -> Joints:
    """Pose as a camera sees it: (T, 18, 3) metres from each frame's pelvis to its right, up and towards it."""
    _, right, up, forward = camera.axes()
    seen: Joints = ((joints - joints[:, :1]) @ np.stack([right, up, -forward], -1)).astype(np.float32)
    return seen


def _palette(look: Look) -> Array:
    sleeve = SKINS[look.skin] if look.top == "t-shirt" else COLOURS[look.shirt]
    return np.array(
        [
            SKINS[look.skin],
            COLOURS[look.shirt],
            COLOURS[look.trousers],
            COLOURS[look.shoes],
            HAIRS[look.hair],
            sleeve,
        ]
    )


def _capsules(joints: Joints, build: float, style: Style) -> tuple[Array, Array, Array, Array]:
    """Capsule ends (T, K, 3), radii (K, 2) and parts (K,); the last capsule is the hair."""
    head = joints[:, joint("head")].astype(np.float64)
    up = head - joints[:, joint("neck")]
    up /= np.linalg.norm(up, axis=-1, keepdims=True) + 1e-8
    front = np.cross(joints[:, joint("lsho")] - joints[:, joint("rsho")], up)
    front /= np.linalg.norm(front, axis=-1, keepdims=True) + 1e-8
    hair = head + 0.045 * up - 0.03 * front
    starts = np.stack([*(joints[:, joint(row[0])] for row in BODY), hair], 1).astype(np.float64)
    ends = np.stack([*(joints[:, joint(row[1])] for row in BODY), hair], 1).astype(np.float64)
    girth = {SHIRT: build, TROUSERS: 0.5 + 0.5 * build}
    torso = ("pelvis", "chest", "lsho", "lhip")
    radii = [
        (row[2], row[3]) if row[0] not in torso else tuple(girth.get(row[4], 1.0) * r for r in row[2:4])
        for row in BODY
    ]
    sizes = [
        style.head if "head" in row[:2] else style.torso if row[0] in torso else style.limbs for row in BODY
    ]
    return (
        starts,
        ends,
        np.array([*radii, (HAIR_RADIUS, HAIR_RADIUS)]) * np.array([*sizes, style.head])[:, None],
        np.array([*(row[4] for row in BODY), HAIR]),
    )


@njit(cache=True, fastmath=True, nogil=True)
def _film(  # type: ignore[no-untyped-def]
    starts, ends, radii, parts, palette, view, zoom, sky, ground, pattern, cycles, light, shades, canvas
):
    size = canvas.shape[1]
    depth = np.empty((size, size))
    for t in range(canvas.shape[0]):
        _background(starts[t], ends[t], view, zoom, sky, ground, pattern, cycles, canvas[t])
        canvas[t, :, :, 3] = 0
        depth[:] = FAR
        for k in range(starts.shape[1]):
            _capsule(
                starts[t, k],
                ends[t, k],
                radii[k],
                palette[parts[k]],
                view,
                zoom,
                light,
                shades,
                depth,
                canvas[t],
            )


@njit(cache=True, fastmath=True, nogil=True)
def _background(starts, ends, view, zoom, sky, ground, pattern, cycles, image):  # type: ignore[no-untyped-def]
    """Sky, patterned ground that fades with distance, and a blob shadow under the person."""
    eye, size = view[0], image.shape[0]
    foot_x, foot_y = (starts[:, 0] + ends[:, 0]).mean() / 2, (starts[:, 1] + ends[:, 1]).mean() / 2
    lift = max(min(starts[:, 2].min(), ends[:, 2].min()), 0.0)
    for row in range(size):
        v = 1 - 2 * (row + 0.5) / size
        for column in range(size):
            ray = view[1] * (2 * (column + 0.5) / size - 1) + view[2] * v + view[3] * zoom
            if ray[2] >= -1e-6:
                share = min(max(v, 0.0), 1.0)
                for c in range(3):
                    image[row, column, c] = sky[0, c] * (1 - share) + sky[1, c] * share
                continue
            reach = -eye[2] / ray[2]
            x, y = eye[0] + reach * ray[0], eye[1] + reach * ray[1]
            mix = 0.0
            if pattern == 1:
                mix = float((math.floor(x * cycles) + math.floor(y * cycles)) % 2)
            elif pattern == 2:
                mix = 0.5 + 0.5 * math.sin(4 * x * cycles)
            near = math.exp(-0.05 * reach * zoom)
            shadow = 1 - 0.45 * math.exp(-2 * ((x - foot_x) ** 2 + (y - foot_y) ** 2) / (0.09 + 0.25 * lift))
            for c in range(3):
                tone = (ground[0, c] * mix + ground[1, c] * (1 - mix)) * shadow
                image[row, column, c] = tone * near + sky[0, c] * (1 - near)


@njit(cache=True, fastmath=True, nogil=True)
def _box(start, end, radius, view, zoom, size):  # type: ignore[no-untyped-def]
    """Pixel bounds (left, right, top, bottom) of a capsule, from its two projected end spheres."""
    left, right, top, bottom = size, -1, size, -1
    for end_point in range(2):
        point = (start if end_point == 0 else end) - view[0]
        distance = max((point * view[3]).sum(), 0.2)
        x, y = (point * view[1]).sum() * zoom / distance, (point * view[2]).sum() * zoom / distance
        reach = 1.15 * radius * zoom / distance
        left, right = (
            min(left, int((x - reach + 1) * 0.5 * size)),
            max(right, int((x + reach + 1) * 0.5 * size) + 1),
        )
        top, bottom = (
            min(top, int((1 - y - reach) * 0.5 * size)),
            max(bottom, int((1 - y + reach) * 0.5 * size) + 1),
        )
    return max(left, 0), min(right, size - 1), max(top, 0), min(bottom, size - 1)


@njit(cache=True, fastmath=True, nogil=True)
def _capsule(start, end, radii, colour, view, zoom, light, shades, depth, image):  # type: ignore[no-untyped-def]
    """Draw one capsule: the sphere at the axis point nearest to the ray stands for its surface there."""
    size = image.shape[0]
    left, right, top, bottom = _box(start, end, max(radii[0], radii[1]), view, zoom, size)
    ax, ay, az = start[0], start[1], start[2]
    bx, by, bz = end[0] - ax, end[1] - ay, end[2] - az
    ox, oy, oz = view[0, 0] - ax, view[0, 1] - ay, view[0, 2] - az
    length2 = bx * bx + by * by + bz * bz
    along_eye = bx * ox + by * oy + bz * oz
    for row in range(top, bottom + 1):
        v = 1 - 2 * (row + 0.5) / size
        for column in range(left, right + 1):
            u = 2 * (column + 0.5) / size - 1
            dx = view[1, 0] * u + view[2, 0] * v + view[3, 0] * zoom
            dy = view[1, 1] * u + view[2, 1] * v + view[3, 1] * zoom
            dz = view[1, 2] * u + view[2, 2] * v + view[3, 2] * zoom
            unit = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * unit, dy * unit, dz * unit
            along = bx * dx + by * dy + bz * dz
            share, slant = 0.0, length2 - along * along
            if length2 > 1e-9 and slant > 1e-9:
                share = min(max((along_eye - along * (ox * dx + oy * dy + oz * dz)) / slant, 0.0), 1.0)
            ex, ey, ez = ox - share * bx, oy - share * by, oz - share * bz
            radius = radii[0] * (1 - share) + radii[1] * share
            middle = ex * dx + ey * dy + ez * dz
            root = middle * middle - (ex * ex + ey * ey + ez * ez - radius * radius)
            if root <= 0:
                continue
            hit = -middle - math.sqrt(root)
            if hit <= NEAR or hit >= depth[row, column]:
                continue
            depth[row, column] = hit
            image[row, column, 3] = 1
            shine = (
                (ex + hit * dx) * light[0] + (ey + hit * dy) * light[1] + (ez + hit * dz) * light[2]
            ) / radius
            if shades > 0:
                shine = math.floor(shine * shades + 0.5) / shades
            shine = max(0.65 + 0.35 * shine, 0.4)
            for c in range(3):
                image[row, column, c] = min(colour[c] * shine, 1.0)
