"""What a base of the actor domain and its training pairs are made from: one TOML file."""

from pathlib import Path

from pydantic import Field

from echoreel.actors.actor_clips import ActorSettings
from echoreel.common.settings import Settings
from echoreel.embedded_base.architecture import BaseSettings
from echoreel.training.fit_settings import FitSettings


class BaseRecipe(Settings):
    """Everything that makes the embedded base and the training pairs of its adapter."""

    motions: Path | None = None  # a motion library; docs/motion-data.md says how to make one
    split: str = "train"
    folder: Path = Path("runs/embedded")
    seed: int = Field(0, ge=0)
    actors: ActorSettings = ActorSettings()
    base: BaseSettings = BaseSettings()
    pairs: int = Field(6000, ge=1, le=10_000_000)
    references: int = Field(2, ge=1, le=100)  # of each pair
    autoencoder_clips: int = Field(8, ge=1, le=4096)  # clips a batch
    autoencoder_frames: int = Field(8, ge=1, le=10_000)  # of each of them; fewer show more looks
    caption_batch: int = Field(96, ge=1, le=65536)  # captions a batch
    frame_batch: int = Field(96, ge=1, le=65536)  # frames a batch
    clip_batch: int = Field(8, ge=1, le=4096)  # clips a batch
    clip_frames: int = Field(0, ge=0, le=65536)  # in half of the last stage's batches; 0 = clips only
    start: str | None = None  # a base that goes on, "embedded" or a folder: only the last stage runs
    grow: str | None = None  # a base of half the size that this one grows from; no captions, no frames
    grow_adapter: str | None = None  # an adapter of that base: `folder/adapter` is what it is on this one
    autoencoder: FitSettings = FitSettings(steps=1500, learning_rate=1e-3)
    decoder: FitSettings | None = None  # the autoencoder's decoder goes on alone, with the same latents
    captions: FitSettings = FitSettings(steps=1000, learning_rate=1e-3)
    frames: FitSettings = FitSettings(steps=3000, learning_rate=1e-3)
    clips: FitSettings = FitSettings(steps=3000, learning_rate=5e-4)


class PairsMade(Settings):
    """What decides which pairs a folder has; more of the same may be added."""

    split: str
    seed: int
    references: int
    actors: ActorSettings
