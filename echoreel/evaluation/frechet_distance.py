"""Fréchet distance between two sets of features."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def frechet_distance(features: Floats, others: Floats) -> float:
    """Of two sets of features (N, D) and (M, D), taken as normally distributed (Dowson & Landau 1982, Eq. 4;
    Heusel et al. 2017). Smaller is nearer; sets of a few hundred videos overrate it, all alike.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)); the last trace is that of (S^(1/2) S' S^(1/2))^(1/2), which is
    symmetric.
    """
    means = features.mean(0, dtype=np.float64) - others.mean(0, dtype=np.float64)
    one, other = (np.cov(each.astype(np.float64), rowvar=False) for each in (features, others))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(max(0.0, means @ means + np.trace(one) + np.trace(other) - 2 * shared))
