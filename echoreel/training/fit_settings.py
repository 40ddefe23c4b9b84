"""Settings of a training."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from echoreel.common.settings import Settings
from echoreel.training.precision import Precision

FREE = (
    "steps",
    "minutes",
    "prefetch",
    "spread_base",
    "tensorboard",
    "trackers",
    "log_every",
    "validate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "sheet_every",
)
"""Settings that a resumed run may change: none of them changes what the steps compute."""

Tracker: TypeAlias = Literal[
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]
# At less, Adam moves a float32 weight not at all, or by less than its own steps.
LEAST_RATE = 1e-9
LEAST_CLIP = 1e-4  # of gradients: at less, the constant that Adam adds to their size rules
Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def _clips_or_not(value: float) -> float:
    if 0 < value < LEAST_CLIP:
        raise ValueError(f"need {LEAST_CLIP:g} or more, or 0 for none")
    return value


GradientClip: TypeAlias = Annotated[NonNegativeFloat, AfterValidator(_clips_or_not)]


class FitSettings(Settings):
    """Settings of one training. "Every" counts optimizer steps, 0 means never."""

    steps: int = Field(ge=1, le=10**9)  # optimizer steps in all; a finished run goes on when this is raised
    learning_rate: float = Field(default=1e-4, ge=LEAST_RATE, le=100)
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: float = Field(
        default=0.01, ge=0, le=100
    )  # on matrices and kernels; biases, norms and scales decay never
    warmup: int = Field(default=100, ge=0, le=10**9)  # steps of linear rise of the learning rate
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to 0 at `steps`
    gradient_clip: GradientClip = 1.0  # greatest norm of all gradients; 0 = off
    accumulate: int = Field(default=1, ge=1, le=10_000)  # batches per optimizer step
    ema: float = Field(default=0.999, ge=0, lt=1)  # decay of the averaged weights; 0 = off
    precision: Precision = "fp32"
    seed: NonNegativeInt = 0
    prefetch: int = Field(default=1, ge=0, le=64)  # batches made ahead, each in a thread of its own; 0 = none
    spread_base: bool = False  # over all processes, each of which keeps a part of its weights (FSDP2)
    minutes: NonNegativeFloat = 0  # stop with a checkpoint after so long; 0 = no limit
    log_every: PositiveInt = 50
    validate_every: NonNegativeInt = 500
    checkpoint_every: NonNegativeInt = 500
    checkpoint_minutes: NonNegativeFloat = 10  # also after so long, so that a kill costs no more; 0 = off
    sheet_every: NonNegativeInt = 0
    tensorboard: bool = False
    trackers: tuple[Tracker, ...] = ()  # further logs of accelerate's, each by a package of its own
