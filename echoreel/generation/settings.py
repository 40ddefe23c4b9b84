"""What a user may set for a generation, what a base recommends, and the two put together."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from diffusers import DiffusionPipeline
from pydantic import Field

from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.common.settings import Pixels, Settings, Share, load_json
from echoreel.media.video_files import MOST_FPS

Steps: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
FrameCount: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
Guidance: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Rate: TypeAlias = Annotated[float, Field(gt=0, le=MOST_FPS)]


class GenerationSettings(Settings):
    """How to generate. None means: as the base recommends, else its pipeline's own default."""

    steps: Steps | None = None  # of denoising
    guidance_scale: Guidance | None = None
    num_frames: FrameCount | None = None
    height: Pixels | None = None  # pixels
    width: Pixels | None = None
    negative_prompt: str | None = None
    fps: Rate | None = None  # of the written files
    scale: Annotated[float, Field(ge=0, le=10)] = 1.0  # of all references: 0 = none of them, 1 = as trained
    guidance: Literal["positive", "both"] = "positive"  # branches of guidance that see references
    window: tuple[Share, Share] = (0.0, 1.0)  # share of the denoising steps in which references act
    compare: bool = False  # also make the base's own video of every seed


RECOMMENDATION = "generation.json"  # in a base's folder


class RecommendedSettings(Settings):
    """What a base's folder may say in `generation.json`: values for what the user leaves open."""

    num_inference_steps: Steps | None = None  # these are named as in the pipeline's call
    guidance_scale: Guidance | None = None
    num_frames: FrameCount | None = None
    height: Pixels | None = None
    width: Pixels | None = None
    negative_prompt: str | None = None
    fps: Rate | None = None  # of the files made of its videos


CALL_ARGUMENTS = {  # of a pipeline: our settings
    "num_inference_steps": "steps",
    "guidance_scale": "guidance_scale",
    "num_frames": "num_frames",
    "height": "height",
    "width": "width",
    "negative_prompt": "negative_prompt",
}


def resolved(pipe: DiffusionPipeline, settings: GenerationSettings) -> GenerationSettings:
    """Settings without gaps: from the base's `generation.json`, else the defaults of the pipeline's call.

    Raises EchoReelError for a setting that the pipeline does not take, SettingsError for a wrong file.
    """
    accepted = inspect.signature(type(pipe).__call__).parameters
    recommended, family = _recommended(pipe), base_of(pipe).family
    filled: dict[str, Any] = {"fps": settings.fps or recommended.fps or family.fps}
    for argument, name in CALL_ARGUMENTS.items():
        value = getattr(settings, name)
        if value is not None and argument not in {*accepted, *family.translated}:
            raise EchoReelError(f"{type(pipe).__name__} takes no {argument}; leave it out")
        if value is None:
            value = getattr(recommended, argument)
        own = family.translated.get(argument, argument)
        if value is None and own is not None and own in accepted:
            value = accepted[own].default
        filled[name] = value
    most, frames = family.most_frames(pipe), filled["num_frames"]
    if most is not None and frames is not None and frames > most:
        if settings.num_frames is not None:
            raise EchoReelError(f"got {frames} frames, need {most} or fewer, which this base was trained for")
        filled["num_frames"] = most
    return settings.model_copy(update=filled)


def native_size(pipe: Any) -> tuple[int, int]:
    """(height, width) in pixels that the base makes unless told otherwise. Raises EchoReelError."""
    settings, base = resolved(pipe, GenerationSettings()), base_of(pipe)
    if settings.height and settings.width:
        return settings.height, settings.width
    places, pixels = base.family.latent_size(base.denoiser), base.family.pixels_per_place(pipe)
    if places is None:
        raise EchoReelError(f"{type(pipe).__name__} does not say its frame size; it cannot be encoded for")
    return places[0] * pixels, places[1] * pixels


def _recommended(pipe: Any) -> RecommendedSettings:
    path = Path(pipe.name_or_path or "") / RECOMMENDATION
    return load_json(path, RecommendedSettings) if path.is_file() else RecommendedSettings()


def checked_request(
    prompt: str, references: int, seed: int | Sequence[int], settings: GenerationSettings
) -> tuple[int, ...]:
    """The seeds. Raises EchoReelError for what can be seen as wrong before any model is loaded."""
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    if not prompt.strip():
        raise EchoReelError("the prompt is empty; say what the video should show")
    if wrong := [s for s in seeds if not 0 <= s < 2**63]:
        raise EchoReelError(f"seed {wrong[0]}: need a whole number from 0 to 2^63 - 1")
    if not seeds or len(set(seeds)) < len(seeds):
        raise EchoReelError(f"got seeds {list(seeds)}, need at least one, and each once")
    if settings.compare and not references:
        raise EchoReelError(
            "nothing to compare: without a reference the video is the base's own; give a reference"
        )
    if settings.window[0] >= settings.window[1]:
        raise EchoReelError(f"got window {settings.window}, need a start before its end, both from 0 to 1")
    return seeds
