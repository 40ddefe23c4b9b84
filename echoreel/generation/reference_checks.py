"""Why a reference may not show in the video: what its settings and frames say before any model is loaded."""

from collections.abc import Sequence

import numpy as np

from echoreel.common.errors import VideoError
from echoreel.generation.settings import GenerationSettings
from echoreel.library.actions.find_action import find_action
from echoreel.media.cuts import cut_times
from echoreel.media.moving_crop import crop_to_motion
from echoreel.media.reference_video import ReferenceVideo

WEAK = 0.5  # a scale or strength below is seldom seen
LEAST_WINDOW = 0.5  # share of the steps
LATEST_START = 0.2  # the first steps place what moves
CHANGES = 12  # of 255: less is grain and compression
STILL = 0.005  # share of the pixels that ever change
OUTSIDE = 0.25  # share of the frames
HELD = 0.5  # share of what moves


def reference_checks(
    prompt: str, references: Sequence[ReferenceVideo], settings: GenerationSettings, aspect: float = 1.0
) -> list[str]:
    """A sentence for each reason, the gravest first; empty where nothing speaks against the references.

    aspect: of the base's videos, width to height; the middle of that shape is what it takes of a reference.
    """
    if not references:
        return ["There is no reference: the video is the base's own. Add a clip of the action."]
    found = _of_settings(settings)
    asked = find_action(prompt)
    if asked is None:
        found.append("The prompt names no action. Say what is done, such as “doing a cartwheel”.")
    for number, each in enumerate(references, 1):
        name = f"Reference {number}" if len(references) > 1 else "The reference"
        found += _of_reference(name, each, aspect)
        shown = find_action(each.caption)
        if asked and shown and asked.verb != shown.verb:
            found.append(f"{name} shows “{shown.phrase}”, the prompt asks for “{asked.phrase}”.")
    return found


def _of_settings(settings: GenerationSettings) -> list[str]:
    found = []
    first, last = settings.window
    if settings.scale == 0:
        found.append("The scale is 0, which turns all references off. Set it to 1.")
    elif settings.scale < WEAK:
        found.append(f"The scale is {settings.scale:g}; below {WEAK:g} references hardly show. Set it to 1.")
    if last - first < LEAST_WINDOW:
        found.append(f"References act in {last - first:.0%} of the steps. Widen the step window.")
    if first > LATEST_START:
        found.append(f"References miss the first {first:.0%} of the steps, which set the motion.")
    return found


def _of_reference(name: str, reference: ReferenceVideo, aspect: float) -> list[str]:
    found = []
    if reference.strength == 0:
        found.append(f"{name} has strength 0, which turns it off. Set it to 1.")
    elif reference.strength < WEAK:
        found.append(f"{name} has strength {reference.strength:g}; it hardly shows. Set it to 1.")
    if not reference.caption.strip():
        found.append(f"{name} has no caption. Say who does what and where in it.")
    if cuts := cut_times(reference.frames, reference.timestamps):
        found.append(f"{name}: the camera cuts at {cuts[0]:.1f} s. Choose a start and end in one shot.")
    if off := off_the_picture(reference, aspect):
        found.append(f"{name}: {off}.")
    elif _hardly_moves(reference):
        found.append(f"{name} hardly moves in the frames taken. Choose another start and end.")
    return found


def off_the_picture(reference: ReferenceVideo, aspect: float) -> str | None:
    """What to say where the base sees little of what moves: that, and what to do; else None.

    aspect: as in `reference_checks`.
    """
    if reference.crop is not None and reference.crop.inside < HELD:
        return "the crop holds less than half of what moves; take one person, or cut the clip yourself"
    whole = reference.crop is None and not _hardly_moves(reference)
    if whole and _share_outside(reference, aspect) > OUTSIDE:
        return "what moves is outside the middle of the picture; set crop to “moving”"
    return None


def _hardly_moves(reference: ReferenceVideo) -> bool:
    return bool((np.ptp(reference.frames, axis=0).max(-1) > CHANGES).mean() < STILL)


def _share_outside(reference: ReferenceVideo, aspect: float) -> float:
    """Of the frames, how many have the middle of what moves outside the part that the base takes."""
    try:
        boxes = crop_to_motion(reference.frames, reference.name).boxes
    except VideoError:  # a moving camera, of which nothing can be said
        return 0.0
    height, width = reference.frames.shape[1:3]
    seen = np.array([min(height, width / aspect), min(width, height * aspect)])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    off = np.abs(middles - np.array([height, width]) / 2) > seen / 2
    return float(off.any(1).mean())
