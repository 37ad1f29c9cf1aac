"""How far answers agree: spread, rank agreement and Diff_Risk between risk assignments over the same objects.

The RSD paper names a metric Diff_Risk without a public formula; this one is ours (docs/labels.md).
"""

from __future__ import annotations

import math
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
    both = _shared(first, second)
    if both.size == 0:
        return None
    larger = both.max(0)
    values = float((larger * np.abs(both[0] - both[1])).sum() / larger.sum()) if larger.any() else 0.0
    if both.shape[1] == 1:
        return values
    apart = _differences(both)
    weight = np.abs(apart).max(0)
    order = np.where(np.abs(apart) < TIE, 0.0, np.sign(apart))
    discordant = float((weight * np.abs(order[0] - order[1])).sum() / weight.sum() / 2.0) if weight.any() else 0.0
    return 0.5 * (values + discordant)


def mean_diff_risk(samples: Sequence[Mapping[int, float]]) -> float | None:
    """Mean Diff_Risk over all pairs of samples; None for fewer than two that share an object."""
    found = [d for a, b in combinations(samples, 2) if (d := diff_risk(a, b)) is not None]
    return float(np.mean(found)) if found else None


def kendall_tau(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Kendall's tau-b of two assignments over shared objects; None where one of them has no order."""
    order = np.sign(_differences(_shared(first, second)))
    norm = math.sqrt(math.prod(np.count_nonzero(order, axis=1).tolist()))
    return float((order[0] * order[1]).sum() / norm) if norm > 0 else None


def mean_kendall_tau(samples: Sequence[Mapping[int, float]]) -> float | None:
    """Mean tau-b over all pairs of samples; None where no pair has one."""
    found = [t for a, b in combinations(samples, 2) if (t := kendall_tau(a, b)) is not None]
    return float(np.mean(found)) if found else None


def label_weight(spread: float, samples: int, asked_samples: int, disagreement: float | None, limit: float) -> float:
    """Trust in one object's label in [0, 1]: falls with the spread, missing samples, and the frame's Diff_Risk."""
    by_spread = max(0.0, 1.0 - spread / FULL_SPREAD) if samples > 1 else 1.0
    by_frame = 1.0 if disagreement is None else max(0.0, 1.0 - disagreement / max(limit, 1e-9))
    return float(by_spread * by_frame * samples / max(asked_samples, 1))


def _shared(first: Mapping[int, float], second: Mapping[int, float]) -> np.ndarray:
    """(2, K) risks of the objects that both judge."""
    return np.array([(risk, second[key]) for key, risk in first.items() if key in second], float).reshape(-1, 2).T


def _differences(risks: np.ndarray) -> np.ndarray:
    """(2, pairs) how far (2, K) risks put the two objects of each pair apart."""
    first, second = _pairs(risks.shape[1])
    return risks[:, first] - risks[:, second]


@cache
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices i < j of all pairs of `count` things."""
    return np.triu_indices(count, 1)
