"""Chance as an argument: generators and noise that a seed names."""

import numpy as np
import torch
from torch import Tensor


def seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU, the same for the same numbers on every machine."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of x's shape, dtype and device, drawn on the CPU: the same numbers on every device."""
    return torch.randn(x.shape, generator=generator).to(x.device, x.dtype)
