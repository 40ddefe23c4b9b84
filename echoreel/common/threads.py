"""Small models compute on one thread: several wait for each other longer than they work, above all on a
busy machine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 50_000_000  # parameters of all models that work together


@contextmanager
def one_thread(small: bool) -> Iterator[int]:
    """Within, torch computes on one thread on the CPU if the work is `small`; yields how many it is.

    Only the calling thread and threads that start within are concerned, and only until the end.
    """
    before = torch.get_num_threads()
    if not small or before == 1:
        yield before
        return
    torch.set_num_threads(1)
    try:
        yield 1
    finally:
        torch.set_num_threads(before)


def is_small(parts: Iterable[object]) -> bool:
    """Whether the models among the parts have few parameters together."""
    models = [part for part in parts if isinstance(part, nn.Module)]
    return sum(weight.numel() for model in models for weight in model.parameters()) < SMALL
