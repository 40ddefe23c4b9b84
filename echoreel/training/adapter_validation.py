"""What an adapter's references are worth: the base's loss with the right ones, with others, with none."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from einops import reduce
from torch import Tensor

from echoreel.common.randomness import seeded
from echoreel.training.adapter_loss import FrozenBase
from echoreel.training.adapter_settings import AdapterTaskSettings, level_name
from echoreel.training.motion_loss import changing
from echoreel.training.pair_cache import Pairs

KINDS = ("", "_motion")  # suffixes: the plain error, and that of what changes over time


class AdapterValidation:
    """Held-back pairs, at fixed noise and fixed noise levels."""

    def __init__(self, frozen: FrozenBase, held_back: Pairs, settings: AdapterTaskSettings) -> None:
        self._frozen, self._pairs, self._settings = frozen, held_back, settings

    def numbers(self) -> dict[str, float]:
        """The plain loss with the right references, with those of another pair, and with none; per noise
        level and over all.

        `gain_over_shuffled` and `gain_over_none` are what the right ones save, `gain_t` the former over
        its standard error: an adapter that uses references has a large one. The same with `_motion` is of
        the error of what changes over time; `@0.5` is of noise level 0.5 alone.
        """
        losses: dict[str, list[Tensor]] = {"right": [], "shuffled": [], "none": []}
        per_level: dict[str, float] = {}
        for level in self._settings.validation_levels:
            found = {"right": self._losses(level, 0), "shuffled": self._losses(level, 1)}
            for name, values in (found | {"none": self._alone[level]}).items():
                losses[name].append(values)
                for i, suffix in enumerate(KINDS):
                    per_level[f"{name}{suffix}@{level_name(level)}"] = values[i].mean().item()
        self._frozen.adapter.clear_references()
        return _overall(losses) | per_level

    @cached_property
    def _alone(self) -> Mapping[float, Tensor]:
        """The losses (2, N) without references per noise level: the base does not change, so they do not."""
        return {level: self._losses(level, None) for level in self._settings.validation_levels}

    def _losses(self, level: float, shift: int | None) -> Tensor:
        """Mean squared error of each held-back pair, and of what changes in it over time (2, N), while it
        reads the pair half the set on (`shift` 1), itself (0) or nothing (None)."""
        count, size, found = len(self._pairs.targets), self._settings.batch, []
        device = self._frozen.device
        for first in range(0, count, size):
            rows = range(first, min(first + size, count))
            batch, shown = _rows(self._pairs, rows, device), None
            levels = torch.full((len(rows),), level)
            if shift is not None:
                other = [(row + shift * (count // 2)) % count for row in rows]
                shown = _rows(self._pairs, other, device)._replace(captions=batch.captions)
            self._frozen.read(shown, levels)
            chances = [seeded(self._settings.seed, 2, row) for row in rows]
            noise = torch.stack([torch.randn(batch.targets.shape[1:], generator=c) for c in chances])
            wrong = self._frozen.errors(batch, noise.to(device), levels)
            both = torch.stack([wrong, changing(wrong)]).square()
            found.append(reduce(both, "k b c t h w -> k b", "mean"))
        return torch.cat(found, dim=1).cpu()


def _overall(losses: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    """Means over all levels of losses (2, N), and what the right references save."""
    means = {name: torch.stack([*values]).mean(0) for name, values in losses.items()}  # (2, N)
    numbers: dict[str, float] = {}
    for i, suffix in enumerate(KINDS):
        right, shuffled, none = (means[name][i] for name in ("right", "shuffled", "none"))
        gain = shuffled - right
        error = (gain.std() / len(gain) ** 0.5).clamp(min=1e-12)
        numbers |= {
            f"right{suffix}": right.mean().item(),
            f"shuffled{suffix}": shuffled.mean().item(),
            f"none{suffix}": none.mean().item(),
            f"gain_over_shuffled{suffix}": gain.mean().item(),
            f"gain_over_none{suffix}": (none - right).mean().item(),
            f"gain_t{suffix}": (gain.mean() / error).item(),
        }
    return numbers


def _rows(pairs: Pairs, rows: Sequence[int], device: torch.device) -> Pairs:
    index = list(rows)
    return Pairs(
        pairs.targets[index].to(device),
        pairs.references[index].to(device),
        [pairs.captions[i] for i in index],
        [pairs.reference_captions[i] for i in index],
    )
