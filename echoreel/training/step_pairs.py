"""Which pairs a training step takes: a function of the step's number and a seed, and of nothing else."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from echoreel.common.randomness import seeded
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.pair_cache import Pairs, PairSet, PairSetError


class TrainingPairs:
    """The pairs that steps take, and those that no step takes, since they are for validation."""

    def __init__(
        self, data: PairSet, validation: PairSet | None, held_back: int, batch: int, seed: int
    ) -> None:
        """Held back are the first pairs of `validation`, or without it of `data`, at most so many.

        Raises PairSetError when there are too few.
        """
        held = validation or data
        count = min(held_back, len(held) if validation else len(held) - 1)
        if count < 2:
            raise PairSetError(
                f"got {len(held)} pairs, need at least {2 if validation else 3}: two to validate with"
                f"{'' if validation else ', the rest to train on'}"
            )
        self.held_back: Pairs = held.batch(range(count))
        self.most_references = data.shape[0]
        self._data, self._batch, self._seed = data, batch, seed
        self._first = 0 if validation else count  # pairs before are held back

    def numbers(self, step: int) -> list[int]:
        """Which pairs of the set step `step` takes: each once per epoch."""
        count = len(self._data) - self._first
        return [self._first + index for index in step_indices(step, self._batch, count, self._seed)]

    def batch(self, step: int) -> Pairs:
        """These pairs as they are stored."""
        return self._data.batch(self.numbers(step))

    def told(self, step: int) -> str:
        """Names the pairs of a step in a message."""
        return f"pairs {', '.join(map(str, self.numbers(step)))} of {self._data.name}"


def adapter_batch(pairs: TrainingPairs, step: int, settings: AdapterTaskSettings) -> Pairs:
    """Pairs number `step`: roles, number of references and dropped captions drawn by (seed, step)."""
    chance = seeded(settings.seed, 1, step)
    taken = pairs.batch(step)
    most = min(settings.references or pairs.most_references, pairs.most_references)
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


def step_indices(step: int, batch: int, count: int, seed: int) -> list[int]:
    """Which of `count` things make batch number `step`: each once per epoch, in that epoch's order."""
    positions = range(step * batch, (step + 1) * batch)
    return [int(_epoch_order(count, seed, position // count)[position % count]) for position in positions]


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=seeded(seed, epoch))
