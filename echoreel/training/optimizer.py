"""AdamW as trainings here use it, and its learning rate."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from echoreel.training.fit_settings import FitSettings

COUNTED = ("step", "exp_avg", "exp_avg_sq")  # of each parameter


def adamw(parameters: list[nn.Parameter], settings: FitSettings) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def restore(optimizer: torch.optim.AdamW, stored: Mapping[str, Any]) -> None:
    """Take over what an optimizer of the same parameters has counted; settings stay as the recipe has them.

    Raises ValueError, KeyError, TypeError or AttributeError for what none has stored.
    """
    own = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in stored["param_groups"]] != [group["params"] for group in own]:
        raise ValueError("other parameters")
    optimizer.load_state_dict({"state": stored["state"], "param_groups": own})
    for parameter in (each for group in optimizer.param_groups for each in group["params"]):
        held = optimizer.state[parameter]
        step, mean, square = (held[name] for name in COUNTED)
        fits = held.keys() == {*COUNTED} and mean.shape == square.shape == parameter.shape
        if not (fits and all(each.isfinite().all() for each in (step, mean, square))):
            raise ValueError("other parameters, or NaN")
        if step.numel() != 1 or step < 0 or (square < 0).any():
            raise ValueError("negative numbers")


def rate_factor(step: int, settings: FitSettings) -> float:
    """Share of the learning rate in `step` (from 0)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))
