"""AdamW as trainings here use it, and its learning rate."""

import math

import torch
from torch import nn

from echoreel.training.fit_settings import FitSettings


def adamw(parameters: list[nn.Parameter], settings: FitSettings) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def rate_factor(step: int, settings: FitSettings) -> float:
    """Share of the learning rate in `step` (from 0)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))
