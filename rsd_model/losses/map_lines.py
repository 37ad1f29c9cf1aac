"""Polylines as the map loss wants them: evenly spaced points, and every order of them that means the same line."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ABSENT = -10000.0  # m; fills the places of orders that a line does not have


def resample_polyline(points: np.ndarray, count: int) -> np.ndarray:
    """(K, 2) vertices to (count, 2) points evenly spaced along the line, ends included; K >= 2."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(places, along, points[:, axis]) for axis in range(2)], axis=1)


def equivalent_orders(points: Tensor) -> Tensor:
    """(M, P, 2) evenly spaced lines to (M, V, P, 2): both directions, or every start of a closed line (V = P - 1).

    Pattern "v2" of MapTR. V is 2 unless a line is closed (first point = last point); missing orders hold ABSENT.
    """
    open_orders = torch.stack([points, points.flip(1)], 1)
    closed = (points[:, 0] == points[:, -1]).all(-1) if len(points) else torch.zeros(0, dtype=torch.bool)
    if not bool(closed.any()):
        return open_orders
    count = points.shape[1] - 1
    orders = points.new_full((len(points), count, *points.shape[1:]), ABSENT)
    orders[:, :2] = open_orders
    ring = points[closed, :-1]
    rolled = torch.stack([ring.roll(shift, dims=1) for shift in range(count)], 1)
    orders[closed] = torch.cat([rolled, rolled[:, :, :1]], 2)
    return orders
