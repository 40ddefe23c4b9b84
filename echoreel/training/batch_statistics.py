"""What batch norms count of the batches they see, the same in every process as in one that sees them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

BatchNorm: Any = nn.modules.batchnorm._BatchNorm


class BatchStatistics:
    """Running means and variances of a module, counted over the batches of all processes in their order.

    A batch norm takes over a share of each batch's statistics: r -> d r + c. Every process notes d and c of
    its own batches; at the end of a step all of them are applied to what was there before it.
    """

    def __init__(self, module: nn.Module, accelerator: Accelerator) -> None:
        """Does nothing in a single process."""
        alone = accelerator.num_processes == 1
        counting = (part for part in module.modules() if isinstance(part, BatchNorm))
        self._norms = [] if alone else [norm for norm in counting if norm.running_mean is not None]
        self._gather = accelerator.gather
        self._before: list[Tensor] = []
        self._noted: list[list[Tensor]] = []

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Note what a batch adds."""
        if not self._norms:
            yield
            return
        before = self._state()
        self._before = self._before or before
        yield
        after = self._state()
        noted = []
        for norm, (count, *old), (now, *new) in zip(
            self._norms, _threes(before), _threes(after), strict=True
        ):
            kept = (1 - norm.momentum) ** (now - count)
            noted += [now - count, *(b - kept * a for a, b in zip(old, new, strict=True))]
        self._noted.append(noted)

    @torch.no_grad()
    def share(self) -> None:
        """At the end of a step: as if this process had seen all of its batches."""
        if not self._norms:
            return
        state = _threes(self._before)
        for batch in self._noted:
            gathered = [self._gather(each[None]) for each in batch]
            for rank in range(len(gathered[0])):
                added = _threes([each[rank] for each in gathered])
                for norm, old, (count, *more) in zip(self._norms, state, added, strict=True):
                    kept = (1 - norm.momentum) ** count
                    old[0] = old[0] + count
                    old[1:] = [kept * a + b for a, b in zip(old[1:], more, strict=True)]
        for norm, (count, mean, variance) in zip(self._norms, state, strict=True):
            norm.num_batches_tracked.copy_(count)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
        self._before, self._noted = [], []

    def _state(self) -> list[Tensor]:
        parts = ((n.num_batches_tracked, n.running_mean, n.running_var) for n in self._norms)
        return [tensor.detach().clone() for part in parts for tensor in part]


def _threes(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Of each batch norm."""
    return [tensors[first : first + 3] for first in range(0, len(tensors), 3)]
