"""What a training step draws from: batches in order, computed ahead, and chance named by numbers."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

Batch = Any  # dict, tuple or list of tensors (nested, with anything else in between)


class Feed:
    """Batches in order; with `ahead` > 0, that many are being computed in threads while a step runs."""

    def __init__(self, batch: Callable[[int], Batch], indices: Iterable[int], ahead: int) -> None:
        self._batch, self._ahead = batch, ahead
        self._rest = iter(indices)
        self._waiting: deque[tuple[int, Future[Batch]]] = deque()
        self._pool = ThreadPoolExecutor(max(ahead, 1), thread_name_prefix="batch")

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self) -> tuple[int, Batch]:
        """(number, batch). What `batch` raises is raised here."""
        if not self._ahead:
            number = next(self._rest)
            return number, self._batch(number)
        while len(self._waiting) <= self._ahead and (index := next(self._rest, None)) is not None:
            self._waiting.append((index, self._pool.submit(self._batch, index)))
        first, future = self._waiting.popleft()
        return first, future.result()


def count_samples(batch: Batch) -> int:
    """Length of the first tensor in a batch."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, Sequence) else ()
    return next((n for part in parts if not isinstance(part, str) and (n := count_samples(part))), 0)
