"""What is filmed and measured after a training: in its recipe, so that one file repeats the whole."""

from typing import Annotated, Self, TypeAlias

from pydantic import Field, NonNegativeInt, model_validator

from echoreel.common.settings import Settings
from echoreel.generation.settings import GenerationSettings

ReferenceCount: TypeAlias = Annotated[int, Field(ge=1, le=100)]


class HeldoutSettings(Settings):
    """What `evaluate --videos` makes of held-out pairs, and what it measures with."""

    prompts: Annotated[int, Field(ge=1, le=10_000)] = 10  # pairs of each action, drawn if there are more
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1  # videos of each pair
    references: tuple[ReferenceCount, ...] = Field(
        default=(1,), min_length=1, max_length=10
    )  # of each video; each number is a row with the right ones, and one with those of another action
    seed: NonNegativeInt = 0  # draws pairs, and the seeds of videos
    generation: GenerationSettings = GenerationSettings()  # of the videos
    clip: str | None = None  # a folder or hub id of CLIP; none = the usual one, if it is available
    videomae: str | None = None  # of a VideoMAE, for the Fréchet distance; none = likewise
    classifier: str | None = None  # of a model that names the actions of videos; none = no action accuracy

    @model_validator(mode="after")
    def _compares_by_itself(self) -> Self:
        if self.generation.compare:
            raise ValueError("generation.compare: the base is always filmed, too; leave it out")
        if len(set(self.references)) < len(self.references):
            raise ValueError(f"references: got {list(self.references)}, need each number once")
        return self


class HeldoutRecipe(Settings):
    """Where there is no recipe of a training."""

    evaluation: HeldoutSettings = HeldoutSettings()
