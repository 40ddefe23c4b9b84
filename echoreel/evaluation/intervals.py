"""Means with their intervals, and how reports write them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt

from echoreel.common.settings import Settings


class BootstrapSettings(Settings):
    """How sure a mean is."""

    resamples: PositiveInt = 2000  # of the bootstrap
    confidence: float = Field(default=0.95, gt=0, lt=1)


@dataclass(frozen=True)
class Interval:
    """A mean, and where it would lie in 95 % of repetitions with other prompts."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.told()

    def told(self, digits: int = 2) -> str:
        """Such as "0.64 [0.60, 0.69]"."""
        mean, low, high = (
            f"{round(each, digits) + 0.0:.{digits}f}" for each in (self.mean, self.low, self.high)
        )
        return f"{mean} [{low}, {high}]"


def bootstrap(
    values: Sequence[float], clusters: Sequence[str], settings: BootstrapSettings, seed: int
) -> Interval:
    """Mean of `values`, nan left out, and its interval by resampling whole clusters with replacement."""
    kept = [
        (value, cluster) for value, cluster in zip(values, clusters, strict=True) if not math.isnan(value)
    ]
    if not kept:
        return Interval(math.nan, math.nan, math.nan)
    names = {name: i for i, name in enumerate(dict.fromkeys(cluster for _, cluster in kept))}
    index = [names[cluster] for _, cluster in kept]
    sums = np.bincount(index, [value for value, _ in kept])
    counts = np.bincount(index)
    drawn = np.random.default_rng(seed).integers(len(names), size=(settings.resamples, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def table_line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def without_nan(value: Any) -> Any:
    """For JSON: None in the place of what is not a number."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
