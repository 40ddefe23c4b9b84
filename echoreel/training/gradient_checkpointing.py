"""Gradient checkpointing of a frozen base: less memory in training for computing its layers twice.

diffusers' own refuses `UNet3DConditionModel` and `I2VGenXLUNet`, and leaves the temporal layers of
AnimateDiff and Stable Video Diffusion out; there every module that the family names is recomputed by itself.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks.hooks import HookRegistry, ModelHook
from torch import nn
from torch.utils.checkpoint import checkpoint

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.common.errors import BaseUnsupported
from echoreel.training.precision import CPUAttention

NAME = "echoreel_recompute"


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Of a module's forward, its inputs alone are kept.

    Not reentrant, since the inputs of a frozen base need no gradients.
    """
    return checkpoint(forward, *args, use_reentrant=False, context_fn=CPUAttention.as_now, **kwargs)


class _Recompute(ModelHook):
    """Has a module be recomputed."""

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        assert self.fn_ref is not None  # set when registered
        forward: Any = self.fn_ref.original_forward
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return _recomputed(forward, *args, **kwargs)


def recompute_in_training(base: BaseLike) -> None:
    """Turn it on, for good. Adapters may be attached before or after. Raises BaseUnsupported."""
    base = base_of(base)
    for denoiser in base.denoisers:
        if base.checkpoints is None:
            if not getattr(denoiser, "_supports_gradient_checkpointing", False):
                raise BaseUnsupported(f"{type(denoiser).__name__} has no gradient checkpointing; turn it off")
            denoiser.enable_gradient_checkpointing(_recomputed)
            continue
        for path, module in denoiser.named_modules():
            if re.fullmatch(base.checkpoints, path):
                registry = HookRegistry.check_if_exists_or_initialize(module)
                if registry.get_hook(NAME) is None:
                    registry.register_hook(_Recompute(), NAME)  # type: ignore[no-untyped-call]
