"""How an adapter is trained and watched."""

from typing import Annotated, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from echoreel.common.settings import Settings

BatchSize: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
NoiseLevel: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class AdapterTaskSettings(Settings):
    """What a step takes, what its loss counts, and what is validated and shown."""

    batch: BatchSize = 8
    seed: NonNegativeInt = 0
    references: PositiveInt | None = None  # of a batch: 1 to so many, drawn anew; none = all that pairs have
    swap_roles: bool = (
        False  # any clip of a pair may be the target: for pairs whose clips show the same action
    )
    moments: PositiveInt | None = None  # consecutive latent frames of a pair to train on; none = all of them
    drop_caption: float = Field(default=0.1, ge=0, le=1)  # share of targets with the empty prompt
    drop_reference_caption: float = Field(default=0.1, ge=0, le=1)  # share of references without one
    high_noise: float = Field(default=0.0, ge=0, le=100)  # levels are drawn with density level ** high_noise
    motion_weight: float = Field(default=0.0, ge=0, le=1)  # share of the loss's weights that follows motion
    motion_loss: float = Field(default=0.0, ge=0, le=1000)  # weight of the error of what changes over time
    gradient_checkpointing: bool = False
    held_back: PositiveInt = 32  # the set's first pairs, never trained on; or the first of the validation set
    validation_levels: tuple[NoiseLevel, ...] = Field(default=(0.5, 0.75, 0.95), min_length=1, max_length=100)
    sheet_pairs: PositiveInt = 4
    sheet_steps: int = Field(default=12, ge=1, le=1000)  # denoising steps

    @field_validator("validation_levels")
    @classmethod
    def _names_apart(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        """Each has numbers of its own in the log, by its name."""
        if len({level_name(level) for level in levels}) < len(levels):
            raise ValueError("need each level once; the first six digits count")
        return levels


def level_name(level: float) -> str:
    """Of a noise level, in the names of validation numbers."""
    return f"{level:g}"
