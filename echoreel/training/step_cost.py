"""Memory and operations of a training step, counted on tensors without data: exact, and without a GPU."""

import inspect
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from echoreel.bases.base import Base
from echoreel.common.errors import BaseUnsupported
from echoreel.method.adapter import ActionAdapter
from echoreel.training.gradient_checkpointing import recompute_in_training

META = torch.device("meta")


@dataclass(frozen=True)
class StepCost:
    """Of one step. memory: most bytes that it holds at once, besides weights and optimizer."""

    memory: int
    flop: float


def step_cost(
    base: Base,
    adapter: ActionAdapter,
    latents: tuple[int, ...],
    references: int,
    text_tokens: int,
    checkpointing: bool,
) -> StepCost:
    """The cost of a step on latents (B, C, T, h, w), forward and backward, in the precision of the networks.

    Both must be on the meta device. Gradient checkpointing stays on in the base. Raises BaseUnsupported.
    """
    if checkpointing:
        recompute_in_training(base)
    for denoiser in base.denoisers:
        denoiser.eval().requires_grad_(False)
    like = next(base.denoiser.parameters())
    target = torch.empty(latents, dtype=like.dtype, device=META)
    captions = torch.empty(latents[0], text_tokens, base.caption_width, dtype=like.dtype, device=META)
    adapter.train()
    adapter.attach(base.bare())
    with _Count() as count, _fused_attention():
        tokens = [adapter.encode(target, captions, captions) for _ in range(references)]
        adapter.set_tokens(tokens)
        timesteps = torch.empty(latents[0], device=META)
        try:
            made = base.predict(base.denoiser, target, timesteps, captions, base.condition(target))
        except RuntimeError as error:  # some look at values, of which there are none
            raise BaseUnsupported(
                f"cannot count a step of {base.name} without its weights; `echoreel info` tells their memory"
            ) from error
        made.float().square().mean().backward()
    adapter.detach()
    return StepCost(count.most, float(count.flop))


def text_tokens_of(base: Base) -> int:
    """How many tokens a caption has."""
    found = inspect.signature(type(base.pipe).__call__).parameters.get("max_sequence_length")
    return int(found.default) if found is not None else 77


class _Count(TorchDispatchMode):
    """Operations, and bytes of all tensors made within that are alive at once.

    torch's own `FlopCounterMode` keeps tensors alive that gradient checkpointing frees.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = self.flop = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {*_storages((args, kwargs))}  # may be of before, such as weights: views of them take nothing
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            if storage not in given and storage not in self._known:
                self._count(storage)
        self.most = max(self.most, self.now)
        if counted := flop_registry.get(func._overloadpacket):
            self.flop += counted(*args, **(kwargs or {}), out_val=out)
        return out

    def _count(self, storage: Any) -> None:
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size


def _storages(tree: Any) -> Iterator[Any]:
    return (each.untyped_storage() for each in tree_iter(tree) if isinstance(each, Tensor))


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Within it, attention is the kernel that GPUs have, which keeps no table of all pairs of tokens.

    A `TorchFunctionMode` does not reach what gradient checkpointing computes again.
    """

    def fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        found = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)
        return cast(Tensor, found[0])

    usual = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual
