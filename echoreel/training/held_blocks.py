"""A frozen base's blocks wait in main memory, or as fp8, and each has its weights only while it computes.

diffusers has both, made for generating. Its offloading with a stream fetches the block that comes next in a
forward pass; gradient checkpointing computes blocks again in the other order, so all would end up on the GPU.
Its fp8 storage takes weights away that gradients still need: autograd keeps a frozen weight, not a copy.

Here weights go one way only, since they never change. A block that is computed again, for its gradients,
keeps them until these are there; so blocks must be checkpointed.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks.hooks import HookRegistry, ModelHook
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of

NAME = "echoreel_held"
FP8 = torch.float8_e4m3fn


class _Held(ModelHook):
    """A module's weights are there only during its forward, and until its gradients are."""

    def __init__(self, device: torch.device, in_main_memory: bool, as_fp8: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of diffusers, which has no types
        self.device, self.in_main_memory, self.as_fp8 = device, in_main_memory, as_fp8
        self.kept: dict[nn.Parameter, tuple[Tensor, torch.dtype]] = {}

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            self.kept[parameter] = self.stored(parameter), parameter.dtype
        for buffer in module.buffers():
            buffer.data = buffer.data.to(self.device)
        self.release()
        return module

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for parameter, (kept, dtype) in self.kept.items():
            parameter.data = self.fetched(kept, dtype)
        if torch.is_grad_enabled() and not _in_backward():
            for tensor in _that_learn((args, kwargs)):  # its gradient is there after those of this block
                tensor.register_hook(self.release)
                break
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        if not _in_backward():
            self.release()
        return output

    def stored(self, parameter: nn.Parameter) -> Tensor:
        """As it waits. Biases and norms stay as they are: they are small, and fp8 would coarsen them."""
        kept = parameter.data.to("cpu" if self.in_main_memory else self.device)
        kept = kept.to(FP8) if self.as_fp8 and kept.ndim > 1 else kept
        return kept.pin_memory() if self.in_main_memory and self.device.type == "cuda" else kept

    def fetched(self, kept: Tensor, dtype: torch.dtype) -> Tensor:
        """As it computes; on the same stream as what computes with it, so that it is there in time."""
        return kept.to(self.device, non_blocking=True).to(dtype)

    def release(self, _: Tensor | None = None) -> None:
        """Nothing is copied back."""
        for parameter, (kept, _dtype) in self.kept.items():
            parameter.data = kept


def hold_blocks(base: BaseLike, device: torch.device, in_main_memory: bool, as_fp8: bool) -> None:
    """Bring the base to the device, but for the blocks of its denoisers, for good. Call it before adapters
    join, and before gradient checkpointing is turned on."""
    base = base_of(base)
    for name, part in base.pipe.components.items():
        if isinstance(part, nn.Module) and name not in (base.component, *base.more):
            part.to(device)
    for denoiser in base.denoisers:
        blocks = [*blocks_of(denoiser, base.checkpoints or base.sites)]
        for block in blocks:
            registry = HookRegistry.check_if_exists_or_initialize(block)
            if registry.get_hook(NAME) is None:
                hook = _Held(device, in_main_memory, as_fp8)
                registry.register_hook(hook, NAME)
        held = {id(tensor) for block in blocks for tensor in (*block.parameters(), *block.buffers())}
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            if id(tensor) not in held:
                tensor.data = tensor.data.to(device)


def blocks_of(denoiser: nn.Module, pattern: str) -> Iterator[nn.Module]:
    """Modules whose whole path is of this pattern."""
    return (module for path, module in denoiser.named_modules() if re.fullmatch(pattern, path))


def are_held(denoiser: nn.Module) -> bool:
    """Whether its blocks wait somewhere."""
    return any(
        registry.get_hook(NAME) is not None
        for module in denoiser.modules()
        if (registry := getattr(module, "_diffusers_hook", None)) is not None
    )


def _that_learn(tree: Any) -> Iterator[Tensor]:
    return (each for each in tree_iter(tree) if isinstance(each, Tensor) and each.requires_grad)


def _in_backward() -> bool:
    """Whether gradient checkpointing computes something again."""
    return bool(torch._C._current_graph_task_id() != -1)
