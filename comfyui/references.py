"""References as the nodes hand them on: frames, and what ComfyUI's VAE and text encoder made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echoreel.common.errors import AdapterMismatch, ClipTooShort
from echoreel.media.drawing import contact_sheet, side_by_side
from echoreel.media.images import Frames, fitted
from echoreel.media.moving_crop import crop_to_motion
from echoreel.media.reference_file import EncodedFrames, StoredReference

from .families import encoders_of
from .texts import Text

SLACK = 1e-6  # seconds


@dataclass(frozen=True, eq=False)
class Made:
    """Latents as the VAE gives them (1, C, T, h, w), the caption, pixels (height, width)."""

    latents: Tensor
    text: Text
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference: what a file holds of it. The chain of nodes hands on lists of these."""

    stored: StoredReference
    strength: float = 1.0
    made: Made | None = None  # where it was encoded here

    @property
    def name(self) -> str:
        return self.stored.source or "the reference"


def as_frames(images: Tensor) -> Frames:
    """IMAGE (T, H, W, C) from 0 to 1 -> frames (T, H, W, 3) uint8."""
    found: Frames = (images[..., :3] * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return found


def as_images(frames: Frames) -> Tensor:
    """Frames (T, H, W, 3) uint8 -> IMAGE (T, H, W, 3) from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float() / 255


def take(
    images: Tensor, fps: float, start: float, seconds: float, take_fps: float, moving: bool
) -> StoredReference:
    """The frames on show at each tick of `take_fps`, for so many seconds from `start` on, as EchoReel does.

    Raises ClipTooShort, VideoError where `moving` asks for the box of what moves and nothing does.
    """
    length = len(images) / fps
    count = 0
    while count < round(seconds * take_fps) and start + count / take_fps < length - SLACK:
        count += 1
    picked = [min(len(images) - 1, int((start + tick / take_fps + SLACK) * fps)) for tick in range(count)]
    if len(set(picked)) < 2:
        raise ClipTooShort(
            f"frames found from {start:g} s on in a video of {length:.2f} s: {len(set(picked))}, need at "
            "least 2 to see an action; choose an earlier start, more seconds or a longer video"
        )
    frames, boxes = as_frames(images[picked]), None
    if moving:
        crop = crop_to_motion(frames, "the reference")
        frames, boxes = crop.frames(), crop.boxes
    return StoredReference(frames, np.array(picked) / fps, take_fps, duration=length, boxes=boxes)


def resized(frames: Frames, size: tuple[int, int], step: int) -> Tensor:
    """IMAGE of the frames at `size` (height, width), the last one repeated to 1 and a multiple of `step`
    frames: ComfyUI's VAEs drop what is over."""
    found = as_images(np.stack([fitted(frame, size) for frame in frames]))
    more = -(len(found) - 1) % step
    return torch.cat([found, found[-1:].expand(more, -1, -1, -1)])


def of_family(reference: Reference, family: str, channels: int, width: int) -> EncodedFrames:
    """What a file holds for a family, of these latent channels and caption width. Raises AdapterMismatch."""
    for each in reference.stored.encoded:
        sizes = len(each.latents), each.caption.shape[1]
        if encoders_of(each.family) == encoders_of(family) and sizes == (channels, width):
            return each
    held = ", ".join(dict.fromkeys(each.family for each in reference.stored.encoded)) or "no model"
    raise AdapterMismatch(
        f"{reference.name} is encoded for {held}, need {family}; connect the images, fps and caption of Load "
        "Reference to Encode Reference, with this model's VAE and text encoder"
    )


def with_encoded(
    stored: StoredReference, latents: Tensor, tokens: Tensor, size: tuple[int, int], family: str, caption: str
) -> StoredReference:
    """For a file: with latents and caption tokens as the network takes them."""
    held = EncodedFrames(_array(latents[0]), _array(tokens[0]), "comfyui", family, "ComfyUI", size)
    return replace(stored, caption=caption, encoded=(held,))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def sheet(references: Sequence[Reference], columns: int = 8) -> Tensor:
    """A picture (1, H, W, 3) of every frame taken, in rows under what is known of each reference."""
    rows = []
    for number, each in enumerate(references, 1):
        times, caption = each.stored.times, each.stored.caption
        told = f"reference {number}: {len(times)} frames, {times[0]:.2f} s to {times[-1]:.2f} s"
        named = f" of {each.stored.source}" if each.stored.source else ""
        played = f", {stretched(each.stored)}" if each.stored.align != "stretch" else ""
        first = f"{told}{named}, strength {each.strength:g}{played}. {caption}"
        for start in range(0, len(times), columns):
            label = f"{times[start]:.2f} s" if start else first
            rows.append((label, each.stored.frames[start : start + columns]))
    return as_images(contact_sheet(rows, columns, height=128)[None])


def stretched(stored: StoredReference) -> str:
    """What the nodes do not do with a file of another alignment."""
    return f"was saved with --align {stored.align}; ComfyUI stretches it over the whole video instead"


def compared(videos: Sequence[tuple[str, Tensor]], height: int) -> Tensor:
    """IMAGE of the labelled videos beside each other; shorter ones rest on their last frame."""
    return as_images(side_by_side([(label, as_frames(video)) for label, video in videos], height))
