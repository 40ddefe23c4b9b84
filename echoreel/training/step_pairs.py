"""Which pairs a training step takes: a function of the step's number and a seed, and of nothing else."""

import logging
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from echoreel.common.randomness import seeded
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.pair_cache import Pairs, PairSet, PairSetError

LOG = logging.getLogger(__name__)


class TrainingPairs:
    """The pairs that steps take, and those that no step takes, since they are for validation."""

    def __init__(
        self, data: PairSet, validation: PairSet | None, held_back: int, batch: int, seed: int
    ) -> None:
        """Held back are the first pairs of `validation`, or without it of `data`, at most so many: of the
        bucket that has most, so that all are of one shape.

        Raises PairSetError when there are too few, or more held back than trained on.
        """
        source, count = validation or data, held_back_count(data, validation, held_back)
        held = source.commonest
        if count < held_back:
            LOG.warning(
                "%s: %d of %d pairs are held back to validate with, not %d as task.held_back says; "
                "prepare more pairs, or lower it",
                source.name,
                count,
                len(held),
                held_back,
            )
        self.held_back: Pairs = source.batch(held[:count].tolist())
        self.most_references = data.shape[0]
        self._data, self._batch, self._seed = data, batch, seed
        kept = [bucket.numbers for bucket in data.buckets.values()]
        if not validation:
            kept = [numbers[count:] if numbers is held else numbers for numbers in kept]
        self._numbers = torch.cat(kept)
        self._counts = tuple(len(numbers) for numbers in kept)

    def numbers(self, step: int) -> list[int]:
        """Which pairs of the set step `step` takes, all of one bucket: each once per epoch."""
        found: list[int] = self._numbers[step_indices(step, self._batch, self._counts, self._seed)].tolist()
        return found

    def batch(self, step: int) -> Pairs:
        """These pairs as they are stored."""
        return self._data.batch(self.numbers(step))

    def told(self, step: int) -> str:
        """Names the pairs of a step in a message."""
        return f"pairs {', '.join(map(str, self.numbers(step)))} of {self._data.name}"


def held_back_count(data: PairSet, validation: PairSet | None, most: int) -> int:
    """How many pairs, at most so many, are held back. Raises PairSetError as `TrainingPairs` does."""
    source = validation or data
    held = source.commonest
    count = min(most, len(held) if validation else len(held) - 1)
    if count < 2:
        several = f" in the largest of {len(source.buckets)} buckets" if len(source.buckets) > 1 else ""
        raise PairSetError(
            f"got {len(held)} pairs{several}, need at least {2 if validation else 3}: "
            f"two to validate with{'' if validation else ', the rest to train on'}"
            f"{'; take fewer buckets, or other pairs for validation' if several else ''}"
        )
    left = len(data) - (0 if validation else count)
    if not validation and count > max(2, left):
        raise PairSetError(
            f"got {len(data)} pairs, of which held_back = {most} leaves {left} to train on; "
            f"set held_back in [task] to {max(2, len(data) // 5)}, or prepare more pairs"
        )
    return count


def check_task(settings: AdapterTaskSettings, data: PairSet, validation: PairSet | None) -> None:
    """Raises PairSetError where what is to be done with the pairs does not fit them."""
    held_back_count(data, validation, settings.held_back)
    if (settings.references or 1) > data.shape[0]:
        raise PairSetError(
            f"task.references is {settings.references}, and each pair of {data.name} has "
            f"{data.shape[0]}; prepare pairs with --references {settings.references}, or lower it"
        )
    if settings.swap_roles and data.disturbed:
        raise PairSetError(
            f"the references of {data.name} are disturbed on purpose (actors.disturb), and "
            "task.swap_roles would make targets of them, too; set task.swap_roles = false"
        )


def adapter_batch(pairs: TrainingPairs, step: int, settings: AdapterTaskSettings) -> Pairs:
    """Pairs number `step`: roles, number of references and dropped captions drawn by (seed, step)."""
    chance = seeded(settings.seed, 1, step)
    taken = pairs.batch(step)
    most = settings.references or pairs.most_references
    chosen = int(torch.randint(1, most + 1, (), generator=chance))
    taken = shuffled_roles(taken, chosen, settings.swap_roles, chance)
    if settings.moments is not None:
        taken = same_moments(taken, settings.moments, chance)
    dropped = torch.rand(settings.batch, 1 + chosen, generator=chance)
    captions = _without(taken.captions, dropped[:, 0], settings.drop_caption)
    reference_captions = [
        _without(row, drops, settings.drop_reference_caption)
        for row, drops in zip(taken.reference_captions, dropped[:, 1:], strict=True)
    ]
    return taken._replace(captions=captions, reference_captions=reference_captions)


def _without(captions: Sequence[str], chances: Tensor, share: float) -> list[str]:
    """Captions, empty where their chance (N,) in [0, 1) is below the share."""
    return ["" if chance < share else c for c, chance in zip(captions, chances.tolist(), strict=True)]


def shuffled_roles(pairs: Pairs, references: int, swap: bool, generator: torch.Generator) -> Pairs:
    """Every pair with so many of its references, reordered; with `swap`, any clip may be the target."""
    clips = torch.cat([pairs.targets[:, None], pairs.references], dim=1)
    batch, count = clips.shape[:2]
    order = torch.rand(batch, count, generator=generator)
    if not swap:
        order[:, 0] = -1
    order = order.argsort(1)[:, : 1 + references]
    chosen = clips[torch.arange(batch)[:, None], order]
    rows = zip(pairs.captions, pairs.reference_captions, order.tolist(), strict=True)
    captions = [[[caption, *others][place] for place in places] for caption, others, places in rows]
    return Pairs(chosen[:, 0], chosen[:, 1:], [row[0] for row in captions], [row[1:] for row in captions])


def same_moments(pairs: Pairs, moments: int, generator: torch.Generator) -> Pairs:
    """Every pair cut to so many consecutive latent frames, the same of its target and its references.

    With one moment, motion modules see single frames, 16 times cheaper than clips of 16: an adapter learns
    there how a reference's poses look before it learns how they move.
    """
    frames = pairs.targets.shape[2]
    starts = torch.randint(0, frames - min(moments, frames) + 1, pairs.targets.shape[:1], generator=generator)
    cut = [slice(start, start + moments) for start in starts.tolist()]
    return pairs._replace(
        targets=torch.stack([clip[:, window] for clip, window in zip(pairs.targets, cut, strict=True)]),
        references=torch.stack(
            [clips[:, :, window] for clips, window in zip(pairs.references, cut, strict=True)]
        ),
    )


def step_indices(step: int, batch: int, counts: tuple[int, ...], seed: int) -> list[int]:
    """Which things make batch number `step`, all of one bucket; they are counted one bucket after the other.

    An epoch draws all things in one order. Those of a bucket wait until they fill a batch, over as many
    epochs as that takes. So batches are full, and all things come equally often, however small their bucket.
    """

    def before(epoch: int) -> int:
        return sum(epoch * count // batch for count in counts)  # batches that earlier epochs fill

    most = (step + 1 + len(counts)) * batch // sum(counts) + 2  # epochs that surely fill batch `step`
    epoch = bisect_right(range(most), step, key=before) - 1
    bucket, number = _epoch(counts, batch, seed, epoch).batches[step - before(epoch)].tolist()
    epochs = [divmod(place, counts[bucket]) for place in range(number * batch, (number + 1) * batch)]
    return [int(_epoch(counts, batch, seed, each).orders[bucket][place]) for each, place in epochs]


class _Epoch(NamedTuple):
    """An order of all things."""

    orders: list[Tensor]  # per bucket, its things
    batches: Tensor  # (N, 2) in the order in which they fill: bucket, and which of its batches it is


@lru_cache(maxsize=4)
def _epoch(counts: tuple[int, ...], batch: int, seed: int, epoch: int) -> _Epoch:
    order = torch.randperm(sum(counts), generator=seeded(seed, epoch))
    orders, filled, first = [], [], 0
    for bucket, count in enumerate(counts):
        times = ((order >= first) & (order < first + count)).nonzero().flatten()
        drawn = epoch * count + torch.arange(1, count + 1)  # things of the bucket until then, over all epochs
        full = drawn % batch == 0
        filled.append(
            torch.stack([times[full], torch.full_like(times[full], bucket), drawn[full] // batch - 1])
        )
        orders.append(order[times])
        first += count
    when, *batches = torch.cat(filled, dim=1)
    return _Epoch(orders, torch.stack(batches)[:, when.argsort()].T)
