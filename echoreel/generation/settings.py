"""What a user may set for a generation, what a base recommends, and the two put together."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from echoreel.common.errors import EchoReelError
from echoreel.common.settings import Pixels, Settings, Share, load_json
from echoreel.common.text import checked_text
from echoreel.media.video_files import LEAST_WRITTEN, MOST_FPS

if TYPE_CHECKING:
    from echoreel.bases.base import BaseLike

Steps: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
FrameCount: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
Guidance: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Seconds: TypeAlias = Annotated[float, Field(ge=0.01, le=3600)]
Rate: TypeAlias = Annotated[float, Field(ge=LEAST_WRITTEN, le=MOST_FPS)]


class GenerationSettings(Settings):
    """How to generate. None means: as the base recommends, else its pipeline's own default.

    Attributes:
        preset: "draft" takes 0.4 times the base's own number of steps, "best" twice as many.
        steps: denoising steps, in place of the preset's.
        guidance_scale: of classifier-free guidance.
        num_frames: of the video; of one window of it where `seconds` ask for more.
        seconds: length of the video, in place of `num_frames`; more than the base makes at once is made in
            windows, on bases that can.
        height: of the video in pixels.
        width: of the video in pixels.
        negative_prompt: what the video should not show.
        fps: of the written files.
        scale: how much of all references is added: 0 none, 1 as trained, at most 10.
        guidance: the branch of classifier-free guidance that reads references, "positive" or "both".
        window: the part of the denoising steps in which references act, from 0 to 1.
        compare: also make the base's own video for every seed.

    Raises:
        SettingsError: a name is unknown or a value out of range; it names the nearest known one.
    """

    preset: Literal["draft", "normal", "best"] = "normal"  # how many steps, if `steps` does not say
    steps: Steps | None = None  # of denoising
    guidance_scale: Guidance | None = None
    num_frames: FrameCount | None = None
    seconds: Seconds | None = None  # of the whole video
    height: Pixels | None = None  # pixels
    width: Pixels | None = None
    negative_prompt: str | None = None
    fps: Rate | None = None  # of the written files
    scale: Annotated[float, Field(ge=0, le=10)] = 1.0  # of all references: 0 = none of them, 1 = as trained
    guidance: Literal["positive", "both"] = "positive"  # branches of guidance that see references
    window: tuple[Share, Share] = (0.0, 1.0)  # share of the denoising steps in which references act
    compare: bool = False  # also make the base's own video of every seed

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), where both are known."""
        return (self.height, self.width) if self.height and self.width else None


PRESETS = {"draft": 0.4, "normal": 1.0, "best": 2.0}
"""Denoising steps as a share of those that the base recommends."""

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


def resolved(base: "BaseLike", settings: GenerationSettings) -> GenerationSettings:
    """Settings without gaps: from the base's `generation.json`, else the defaults of the pipeline's call.

    Raises EchoReelError for a setting that the pipeline does not take, SettingsError for a wrong file.
    """
    from echoreel.bases.lookup import base_of  # not above: settings are asked for long before a model

    base = base_of(base)
    pipe, recommended = base.pipe, _recommended(base.pipe)
    accepted = inspect.signature(type(pipe).__call__).parameters
    filled: dict[str, Any] = {"fps": settings.fps or recommended.fps or base.fps}
    for argument, name in CALL_ARGUMENTS.items():
        value = getattr(settings, name)
        if value is not None and argument not in {*accepted, *base.translated}:
            raise EchoReelError(f"{type(pipe).__name__} takes no {argument}; leave it out")
        if value is None:
            value = getattr(recommended, argument)
        own = base.translated.get(argument, argument)
        if value is None and own is not None and own in accepted:
            value = accepted[own].default
        if name == "steps" and settings.steps is None and value is not None:
            value = max(1, round(PRESETS[settings.preset] * value))
        filled[name] = value
    most, frames = base.most_frames, filled["num_frames"]
    if most is not None and frames is not None and frames > most:
        if settings.num_frames is not None:
            raise EchoReelError(f"got {frames} frames, need {most} or fewer, which this base was trained for")
        filled["num_frames"] = most
    if frames is not None and frames < base.least_frames:
        raise EchoReelError(
            f"got {frames} frames, need {base.least_frames} or more for {type(pipe).__name__}"
        )
    if settings.seconds is not None:
        length = filled["num_frames"] or base.denoiser.config.get("num_frames")
        if length is None:
            raise EchoReelError(
                f"{type(pipe).__name__} does not say how many frames it makes; give frames, not seconds"
            )
        filled["num_frames"] = min(length, max(1, round(settings.seconds * filled["fps"])))
    return settings.model_copy(update=filled)


def recommended_size(base: "BaseLike", settings: GenerationSettings | None = None) -> tuple[int, int]:
    """(height, width) in pixels of the base's videos with these settings. Raises SettingsError."""
    from echoreel.bases.lookup import base_of

    base = base_of(base)
    return base.video_size(resolved(base, settings or GenerationSettings()).size)


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
    checked_text("prompt", prompt)
    checked_text("negative prompt", settings.negative_prompt or "")
    if wrong := [s for s in seeds if not 0 <= s < 2**63]:
        raise EchoReelError(f"seed {wrong[0]}: need a whole number from 0 to 2^63 - 1")
    if not seeds or len(set(seeds)) < len(seeds):
        raise EchoReelError(f"got seeds {list(seeds)}, need at least one, and each once")
    if settings.compare and not references:
        raise EchoReelError("nothing to compare without a reference; give one, or leave out --compare")
    if settings.window[0] >= settings.window[1]:
        raise EchoReelError(f"got window {settings.window}, need a start before its end, both from 0 to 1")
    return seeds
