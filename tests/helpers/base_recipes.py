"""A recipe of a base of the actor domain that takes a step of each stage, on motions made of sines."""

from pathlib import Path
from typing import Any

from echoreel.actors.motion_library import synthetic_library
from echoreel.embedded_base.base_recipe import BaseRecipe
from echoreel.training.fit_settings import FitSettings
from helpers.motion_libraries import write_library


def one_step_recipe(folder: Path, name: str, **more: Any) -> BaseRecipe:
    """Into `folder/name`; the motions lie in `folder/motions`."""
    write_library(folder / "motions", synthetic_library())
    one = FitSettings(steps=1, validate_every=1, log_every=1)
    stages = dict.fromkeys(("autoencoder", "captions", "frames", "clips"), one)
    batches = dict.fromkeys(("autoencoder_clips", "clip_batch"), 1) | dict.fromkeys(
        ("caption_batch", "frame_batch"), 2
    )
    return BaseRecipe(
        motions=folder / "motions", folder=folder / name, pairs=4, references=1, **stages, **batches, **more
    )
