"""What the tests of the contract share: bases, and calls of them. The fixtures are in conftest.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import FRAMES, toy_lvdm_pipeline, toy_pipeline

from echoreel.backbones import base_of

BASES: dict[str, Callable[[], Any]] = {"AnimateDiff": toy_pipeline, "LVDM": toy_lvdm_pipeline}
PROMPT = "a man doing a cartwheel"

only_animatediff = pytest.mark.parametrize("pipe", ["AnimateDiff"], indirect=True)
"""For what other bases do not offer: LoRA, FreeNoise, its names of modules."""


def predict(pipe: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One call of the bare denoiser."""
    base = base_of(pipe)
    return base.family.predict(base.denoiser, *inputs)


@torch.no_grad()
def film(
    pipe: Any, seeds: tuple[int, ...] = (0,), prompt: str | list[str] = PROMPT, **options: Any
) -> Tensor:
    """Latents of videos, one generator each, by the pipeline's own call."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    generator = generators[0] if len(generators) == 1 else generators
    arguments = {"num_frames": FRAMES, "num_inference_steps": 3, "generator": generator} | options
    return pipe(prompt, output_type="latent", **arguments).frames
