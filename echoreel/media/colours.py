"""Stored pixels -> RGB as a screen shows it: alpha over grey, HDR and wide colour to BT.709, profiles.

HDR is brought to SDR as FFmpeg's own filters do it (zscale to linear light at a reference white of 203 cd/m2,
ITU-R BT.2408, then BT.709); PyAV's builds of FFmpeg lack zscale, and swscale's table is off by 25 levels.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray
from PIL import Image, ImageCms

from echoreel.media.images import GREY, Frames

PQ, HLG = 16, 18  # transfers, by ITU-T H.273
UNKNOWN, BT2020_MATRIX = 2, 9
WHITE = 203.0  # cd/m2 of diffuse white in HDR (BT.2408)
PEAK = 1000.0  # cd/m2 that is still told from brighter
KNEE = 0.75  # of white: darker light stays as it is, brighter is pressed together
GAMMA = 2.4  # of SDR screens (BT.1886)
LEVELS = 2**18  # of linear light, told apart when it is turned to 8 bits
BAND = 2**18  # pixels worked on at once, to bound memory
TO_BT709 = {  # linear RGB of other primaries (H.273) to those of BT.709
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}


def upright(frame: av.VideoFrame, near: tuple[int, int] | None = None) -> Frames:
    """RGB (H, W, 3) in BT.709, alpha over grey, turned and mirrored by the display matrix.

    near: (height, width) that it will be shown at; HDR frames of several times that are made smaller first,
    since their colours take long.
    """
    rgb = _rgb(frame, near)
    # Not frame.side_data: it keeps the frame, with its pixels and swscale's threads, until Python's garbage
    # collector comes by.
    side_data = cast(Callable[[av.VideoFrame], SideDataContainer], SideDataContainer)(frame)
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    # x' = a x + c y, y' = b x + d y, y downwards (ISO 14496-12, 6.2.2): quarter turns and mirrors only.
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32)[:5]
    if abs(a) < abs(c):
        rgb = rgb.transpose(1, 0, 2)
        a, d = c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def picture_rgb(picture: Image.Image) -> Frames:
    """RGB (H, W, 3) in sRGB of a still picture of any mode: alpha over grey, 16 bits at their levels."""
    if picture.mode.startswith(("I", "F")):
        return _of_grey(np.asarray(picture))
    if picture.has_transparency_data:
        return _over_grey(np.asarray(_in_srgb(picture.convert("RGBA"))))
    return np.asarray(_in_srgb(picture).convert("RGB"))


def _rgb(frame: av.VideoFrame, near: tuple[int, int] | None) -> Frames:
    if has_alpha(frame):
        return _over_grey(cast(Frames, frame.to_ndarray(format="rgba")))
    wide = frame.color_trc in (PQ, HLG) or frame.color_primaries in TO_BT709
    if wide and not _is_rgb(frame):
        matrix = BT2020_MATRIX if frame.colorspace == UNKNOWN and frame.color_trc in (PQ, HLG) else None
        smaller = frame if near is None else _reduced(frame, near)
        levels = smaller.to_ndarray(format="rgb48le", src_colorspace=matrix)
        return _to_sdr(cast(NDArray[np.uint16], levels), frame)
    # Players read untagged HD video as BT.709; swscale would not.
    colours = Colorspace.ITU709 if frame.colorspace == UNKNOWN and frame.height >= 720 else None
    return cast(Frames, frame.to_ndarray(format="rgb24", src_colorspace=colours))


def _reduced(frame: av.VideoFrame, near: tuple[int, int]) -> av.VideoFrame:
    """The frame made smaller by a whole number, no smaller than `near`."""
    height, width = near[::-1] if frame.rotation % 180 else near
    times = min(frame.height // height, frame.width // width)
    if times < 2:
        return frame
    return frame.reformat(
        height=frame.height // times, width=frame.width // times, interpolation=Interpolation.AREA
    )


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _over_grey(rgba: NDArray[np.uint8]) -> Frames:
    """RGBA (H, W, 4) laid over mid-grey, band by band."""
    result = np.empty((*rgba.shape[:2], 3), np.uint8)
    for rows in _bands(rgba):
        colour, alpha = rgba[rows, :, :3].astype(np.uint16), rgba[rows, :, 3:].astype(np.uint16)
        result[rows] = (colour * alpha + GREY * (255 - alpha) + 127) // 255
    return result


def _to_sdr(signal: NDArray[np.uint16], frame: av.VideoFrame) -> Frames:
    """Signal RGB (H, W, 3), 16 bits, in the frame's transfer and primaries, to 8 bits of BT.709."""
    light = _light(frame.color_trc)
    matrix = np.array(TO_BT709.get(frame.color_primaries, np.eye(3)), np.float32)
    result = np.empty(signal.shape, np.uint8)
    for rows in _bands(signal):
        linear = light[signal[rows]] @ matrix.T
        np.clip(linear, 0, PEAK / WHITE, out=linear)
        if frame.color_trc in (PQ, HLG):
            linear *= _pressed(linear.max(2, keepdims=True))
        result[rows] = _levels()[(np.minimum(linear, 1) * LEVELS).astype(np.int32)]
    return result


def _pressed(most: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to multiply light (1 is white) by, told by its strongest colour: hue stays, PEAK comes to 1."""
    room, far = 1 - KNEE, (PEAK / WHITE - KNEE) / (1 - KNEE)
    above = np.maximum(most - KNEE, 0) / room
    shown = KNEE + room * above * (1 + above / far**2) / (1 + above)
    return np.where(most > KNEE, shown / np.maximum(most, KNEE), np.float32(1))


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """Linear light, 1 at white, of each of 65,536 levels (ITU-R BT.2100, tables 4 and 5; BT.1886)."""
    level = np.arange(65_536) / 65_535
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = level ** (1 / m2)
        light = 10_000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
        light = 1000 / WHITE * scene**1.2  # the screen's gamma on each colour, as zscale has it
    else:
        light = level**GAMMA
    return light.astype(np.float32)


@cache
def _levels() -> NDArray[np.uint8]:
    """8 bits of BT.1886 of each of LEVELS + 1 steps of linear light from 0 to 1."""
    return np.round((np.arange(LEVELS + 1) / LEVELS) ** (1 / GAMMA) * 255).astype(np.uint8)


def _bands(image: NDArray[np.uint8] | NDArray[np.uint16]) -> list[slice]:
    height = max(1, BAND // image.shape[1])
    return [slice(top, top + height) for top in range(0, len(image), height)]


def _of_grey(levels: NDArray[np.generic]) -> Frames:
    """Grey (H, W) of 16 bits or more, or of floats from 0 to 1, as RGB."""
    if np.issubdtype(levels.dtype, np.floating):
        grey = np.nan_to_num(levels.astype(np.float32)).clip(0, 1) * 255
    else:
        grey = levels.astype(np.int64).clip(0, 65_535) // 257
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """The picture in sRGB where it carries another colour profile; as it is where that cannot be used."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    with suppress(ImageCms.PyCMSError, OSError, ValueError):
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        changed = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode=mode)
        return changed or picture
    return picture
