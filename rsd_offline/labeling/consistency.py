"""How far answers agree: spread, rank agreement and Diff_Risk between risk assignments over the same objects.

The RSD paper names a metric Diff_Risk without a public formula; this one is ours (docs/labels.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np

TIE = 0.02  # risks closer than this are not put in an order
FULL_SPREAD = 0.25  # standard deviation at which a label's weight is 0


def diff_risk(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Disagreement in [0, 1] of two risk assignments {object: risk}, over the objects that both judge; None = none.

    Half of it is the mean difference of the values, weighted by the larger of the two risks; half is the share of
    discordant pairs, weighted by how far the surer assignment puts the two apart. Symmetric; 0 for equals.
    """
    shared = [key for key in first if key in second]
    if not shared:
        return None
    a, b = (np.array([side[key] for key in shared], float) for side in (first, second))
    larger = np.maximum(a, b)
    values = float((larger * np.abs(a - b)).sum() / larger.sum()) if larger.sum() > 0.0 else 0.0
    if len(shared) == 1:
        return values
    i, j = _pairs(len(shared))
    apart_a, apart_b = a[i] - a[j], b[i] - b[j]
    weight = np.maximum(np.abs(apart_a), np.abs(apart_b))
    order_a, order_b = (np.where(np.abs(d) < TIE, 0.0, np.sign(d)) for d in (apart_a, apart_b))
    order = float((weight * np.abs(order_a - order_b) / 2.0).sum() / weight.sum()) if weight.sum() > 0.0 else 0.0
    return 0.5 * (values + order)


def mean_diff_risk(samples: Sequence[Mapping[int, float]]) -> float | None:
    """Mean Diff_Risk over all pairs of samples; None for fewer than two that share an object."""
    found = [d for a, b in combinations(samples, 2) if (d := diff_risk(a, b)) is not None]
    return float(np.mean(found)) if found else None


def kendall_tau(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Kendall's tau-b of two assignments over shared objects; None where one of them has no order."""
    shared = [key for key in first if key in second]
    if len(shared) < 2:
        return None
    a, b = (np.array([side[key] for key in shared], float) for side in (first, second))
    i, j = _pairs(len(shared))
    order_a, order_b = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    norm = np.sqrt(np.count_nonzero(order_a) * np.count_nonzero(order_b))
    return float((order_a * order_b).sum() / norm) if norm > 0 else None


def mean_kendall_tau(samples: Sequence[Mapping[int, float]]) -> float | None:
    """Mean tau-b over all pairs of samples; None where no pair has one."""
    found = [t for a, b in combinations(samples, 2) if (t := kendall_tau(a, b)) is not None]
    return float(np.mean(found)) if found else None


def label_weight(spread: float, samples: int, asked_samples: int, disagreement: float | None, limit: float) -> float:
    """Trust in one object's label in [0, 1]: falls with the spread, missing samples, and the frame's Diff_Risk."""
    by_spread = max(0.0, 1.0 - spread / FULL_SPREAD) if samples > 1 else 1.0
    by_frame = 1.0 if disagreement is None else max(0.0, 1.0 - disagreement / max(limit, 1e-9))
    return float(by_spread * by_frame * samples / max(asked_samples, 1))


@cache
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices i < j of all pairs of `count` things."""
    return np.triu_indices(count, 1)
