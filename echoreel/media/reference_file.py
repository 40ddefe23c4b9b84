"""A reference as one file: the frames taken, what they show, and what encoders of bases made of them.

Safetensors, as docs/reference-file.md tells. A file of others is untrusted: its size, header, names, types
and shapes are checked before anything is made of it; nothing is unpickled.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from echoreel.common.checksums import is_changed, with_sum
from echoreel.common.errors import SettingsError, VideoMissing, VideoTooLarge, VideoUnreadable
from echoreel.common.files import written_beside
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import regular_file
from echoreel.common.settings import Settings
from echoreel.media.images import Frames, fitted
from echoreel.media.reference_times import Align, aligned

SUFFIX = ".safetensors"
KEY, VERSION = "echoreel.reference", "1"  # in the header's metadata
FACTS = "echoreel.reference.facts"
KEPT_SIDE = 512  # pixels; frames are kept smaller than taken where a side is longer
LONGEST_SIDE = 4096  # of what is read
MOST_FRAMES = 4096
HEADER_BYTES = 2**20
FILE_BYTES = 2**29
MOST_LATENT, MOST_TOKEN = 65504.0, 1e9  # float16's most; text models make some hundred thousand
THUMBNAIL = 4, 96  # frames, pixels high

Sized = Annotated[int, Field(gt=0, le=2**16)]


@dataclass(frozen=True, eq=False)
class EncodedFrames:
    """What a base's encoders made of a reference: latents (C, T, h, w) and caption tokens (L, D), float32.

    maker: which encoders at which size, as `encoding.encoders_of` names them; others must not use it.
    family, base: names of the base. size: pixels (height, width) that the frames were fitted to.
    """

    latents: NDArray[np.float32]
    caption: NDArray[np.float32]
    maker: str
    family: str = ""
    base: str = ""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class StoredReference:
    """All that a file holds: frames (T, H, W, 3) uint8 RGB, and the seconds (T,) of each in its source.

    Cropped frames also have their box (T, 4) in source pixels: top, left, bottom, right."""

    frames: Frames
    times: NDArray[np.float64]
    fps: float
    caption: str = ""
    source: str = ""  # name of the video
    duration: float | None = None  # of the video, seconds
    boxes: NDArray[np.int64] | None = None
    encoded: tuple[EncodedFrames, ...] = ()
    align: Align = "stretch"  # how it is fitted to a video, and how fast it plays
    speed: float = 1.0


class _Encoded(Settings):
    """Of one entry of `encoded`, in the header."""

    maker: Annotated[str, Field(max_length=100)]
    family: Annotated[str, Field(max_length=100)]
    base: Annotated[str, Field(max_length=1000)]
    size: tuple[Sized, Sized]


class _Facts(Settings):
    """What the header says in JSON."""

    fps: PositiveFloat
    caption: Annotated[str, Field(max_length=65_536)]
    source: Annotated[str, Field(max_length=1000)]
    duration: NonNegativeFloat | None
    frames: PositiveInt
    encoded: Annotated[tuple[_Encoded, ...], Field(max_length=64)]
    align: Align = "stretch"
    speed: PositiveFloat = 1.0


def is_reference_file(path: Path) -> bool:
    """Whether the file is named and begins as a reference. Never raises."""
    if path.suffix.lower() != SUFFIX:
        return False
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return size <= HEADER_BYTES and KEY in _metadata(_parsed(file.read(size)))
    except (OSError, ValueError):
        return False


def read_reference(path: Path) -> StoredReference:
    """What is in the file. Raises VideoMissing, VideoTooLarge, VideoUnreadable."""
    if regular_file(path, VideoMissing, "a reference file").st_size > FILE_BYTES:
        raise VideoTooLarge(f"{path.name}: over {FILE_BYTES} bytes; a reference file is a few megabytes")
    try:
        data = path.read_bytes()
        facts = _checked(data)
        tensors = load(data)
        changed = is_changed(BytesIO(data))
        stored = None if changed else _stored(facts, tensors)
    except (OSError, SafetensorError, ValidationError, ValueError) as error:
        raise VideoUnreadable(
            f"{path.name}: not a reference file that can be read ({hint_of(error)}); make one with "
            "`echoreel reference save`"
        ) from error
    if stored is None:
        raise VideoUnreadable(
            f"{path.name}: is damaged: its frames or facts are not as they were written; get the file again, "
            "or make it again with `echoreel reference save`"
        )
    return stored


def write_reference(path: Path, reference: StoredReference, overwrite: bool = True) -> None:
    """Write the file beside its place, then rename it; frames with a side over 512 pixels are made smaller.

    Raises OutputError; VideoTooLarge for more frames than are read again.
    """
    if len(reference.frames) > MOST_FRAMES:
        raise VideoTooLarge(
            f"{path.name}: got {len(reference.frames)} frames, need {MOST_FRAMES} or fewer; choose a shorter "
            "part"
        )
    frames = kept(reference.frames)
    tensors: dict[str, NDArray[Any]] = {"frames": frames, "times": reference.times.astype(np.float64)}
    if reference.boxes is not None:
        tensors["boxes"] = reference.boxes.astype(np.int64)
    for number, each in enumerate(reference.encoded):
        tensors[f"encoded.{number}.latents"] = each.latents.astype(np.float32)
        tensors[f"encoded.{number}.caption"] = each.caption.astype(np.float32)
    facts = _Facts(
        fps=reference.fps,
        caption=reference.caption,
        source=reference.source,
        duration=reference.duration,
        frames=len(frames),
        encoded=tuple(
            _Encoded(maker=each.maker, family=each.family, base=each.base, size=each.size)
            for each in reference.encoded
        ),
        align=reference.align,
        speed=reference.speed,
    )
    usual = {"align", "speed"} if (reference.align, reference.speed) == ("stretch", 1) else set()
    metadata = {
        KEY: VERSION,
        FACTS: facts.model_dump_json(exclude=usual),  # so that older versions read what they know
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "echoreel-reference",
        "modelspec.title": Path(reference.source).stem or path.stem,
        "modelspec.description": reference.caption,
        "modelspec.thumbnail": _thumbnail(frames),
    }
    data = save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, metadata)
    with written_beside(path, overwrite) as partial:
        partial.write_bytes(with_sum(data))


def kept(frames: Frames) -> Frames:
    """Frames (T, H, W, 3) as a file holds them: no side over 512 pixels."""
    height, width = frames.shape[1:3]
    scale = KEPT_SIDE / max(height, width)
    if scale >= 1:
        return frames
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return np.stack([fitted(frame, size) for frame in frames])


def _parsed(header: bytes) -> Any:
    """The header's JSON. Raises ValueError."""
    try:
        return json.loads(header)
    except RecursionError as error:
        raise ValueError("a header nested too deeply") from error


def _metadata(header: Any) -> Mapping[str, str]:
    """Raises ValueError."""
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _checked(data: bytes) -> _Facts:
    """The facts, once names, types, shapes and sizes of all tensors agree with them. Raises ValueError."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(HEADER_BYTES, len(data) - 8):
        raise ValueError(f"a header of {size} bytes")
    header = _parsed(data[8 : 8 + size])
    metadata = _metadata(header)
    if KEY not in metadata:
        raise ValueError("safetensors of another kind")
    if metadata[KEY] != VERSION:
        raise ValueError(f"version {metadata[KEY]} of the format, need {VERSION}; update EchoReel")
    facts = _Facts.model_validate(_parsed(str(metadata.get(FACTS)).encode()))
    shapes = {name: _shape(entry, name) for name, entry in header.items() if name != "__metadata__"}
    count = facts.frames
    needed: dict[str, tuple[int | None, ...]] = {"frames": (count, None, None, 3), "times": (count,)}
    if "boxes" in shapes:
        needed["boxes"] = (count, 4)
    for number in range(len(facts.encoded)):
        needed |= {f"encoded.{number}.latents": (None,) * 4, f"encoded.{number}.caption": (None,) * 2}
    if shapes.keys() != needed.keys():
        raise ValueError(f"tensors {sorted(shapes)}, need {sorted(needed)}"[:200])
    for name, need in needed.items():
        got = shapes[name]
        if len(got) != len(need) or any(n not in (None, g) for g, n in zip(got, need, strict=True)):
            raise ValueError(f"{name} of shape {got}")
    if not 2 <= count <= MOST_FRAMES or max(shapes["frames"][1:3]) > LONGEST_SIDE:
        raise ValueError(f"frames of shape {shapes['frames']}")
    return facts


def _shape(entry: Any, name: str) -> tuple[int, ...]:
    """Of a tensor's entry in the header. Raises ValueError for another type than the format has."""
    types = {"frames": "U8", "times": "F64", "boxes": "I64"}
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"{name[:40]} without a shape")
    if entry.get("dtype") != types.get(name, "F32"):
        raise ValueError(f"{name[:40]} of type {entry.get('dtype')!s:.20}, need {types.get(name, 'F32')}")
    if math.prod(shape) > FILE_BYTES:
        raise ValueError(f"{name[:40]} of shape {shape[:4]}")
    return tuple(shape)


def _stored(facts: _Facts, tensors: dict[str, NDArray[Any]]) -> StoredReference:
    """Raises ValueError for numbers that cannot be."""
    times = tensors["times"]
    if not np.isfinite(times).all() or (np.diff(times) < 0).any() or times[0] == times[-1]:
        raise ValueError("times that do not grow")
    try:
        align, speed = aligned(facts.align, facts.speed)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    encoded = []
    for number, told in enumerate(facts.encoded):
        latents, caption = (tensors[f"encoded.{number}.{part}"] for part in ("latents", "caption"))
        if wrong := wrong_numbers(latents, caption):
            raise ValueError(f"encoded.{number} has {wrong}")
        encoded.append(EncodedFrames(latents, caption, told.maker, told.family, told.base, told.size))
    return StoredReference(
        frames=tensors["frames"],
        times=times,
        fps=facts.fps,
        caption=facts.caption,
        source=facts.source,
        duration=facts.duration,
        boxes=tensors.get("boxes"),
        encoded=tuple(encoded),
        align=align,
        speed=speed,
    )


def wrong_numbers(latents: NDArray[Any], caption: NDArray[Any]) -> str:
    """What no base would have encoded so; empty where there is nothing."""
    for name, values, most in (("latents", latents, MOST_LATENT), ("a caption", caption, MOST_TOKEN)):
        found = max(float(values.max()), -float(values.min())) if values.size else math.nan
        if not found <= most:
            told = f"values up to {found:.3g}" if math.isfinite(found) else "NaN or infinite values"
            return f"{name} with {told}"
    return ""


def _thumbnail(frames: Frames) -> str:
    """A strip of a few frames, as the data URL that ModelSpec asks for."""
    count, height = THUMBNAIL
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    width = min(4 * height, max(1, round(height * frames.shape[2] / frames.shape[1])))
    strip = np.concatenate([fitted(frames[index], (height, width)) for index in chosen], axis=1)
    stream = BytesIO()
    Image.fromarray(strip).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
