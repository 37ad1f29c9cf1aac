"""Driving efficiency: the ego's mean speed against that of the traffic around it, at 20 check points of a route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

CHECKPOINTS = 20  # per route
LARGEST_ENTRY = 1000.0  # %, entries above are dropped
_PERCENTAGE = re.compile(r"\b\d+\.?\d*%")


def percentages(messages: Iterable[str]) -> list[float]:
    """The percentages that min-speed entries carry in their messages; entries without a number are left out."""
    found = (_PERCENTAGE.search(message) for message in messages)
    return [float(match.group()[:-1]) for match in found if match]


def route_efficiency(entries: Sequence[float]) -> float | None:
    """Mean of a route's entries in % up to and including 1000; None where none remains (the public tool raises)."""
    kept = [entry for entry in entries if entry <= LARGEST_ENTRY]
    return sum(kept) / len(kept) if kept else None


def driving_efficiency(routes: Iterable[Sequence[float]]) -> float | None:
    """Mean over the routes that have entries, %."""
    values = [value for entries in routes if (value := route_efficiency(entries)) is not None]
    return sum(values) / len(values) if values else None


def checkpoint_entries(progress: np.ndarray, speed: np.ndarray, traffic_speed: np.ndarray) -> list[float]:
    """Entries of a drive, one per twentieth of the route passed.

    `progress` (N,) route completion 0 .. 1 per tick, `speed` (N,) m/s of the ego, `traffic_speed` (N,) m/s, mean of
    the background vehicles, nan where there is none. A stretch with standing or no traffic counts as 100 %.
    """
    section = np.clip((np.asarray(progress) * CHECKPOINTS).astype(int), 0, CHECKPOINTS)
    entries = []
    for index in range(int(section.max(initial=0))):
        inside = (section == index) & np.isfinite(traffic_speed)
        traffic = float(np.mean(traffic_speed[inside])) if inside.any() else 0.0
        entries.append(round(100.0 * float(np.mean(speed[inside])) / traffic, 2) if traffic > 1e-6 else 100.0)
    return entries
