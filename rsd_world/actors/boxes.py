"""Upright boxes seen from above: corners, outlines, overlap."""

from __future__ import annotations

import numpy as np

from rsd_world.state import ActorState

# Corners, middles of the ends, quarter points of the sides: an 8 m truck's outline has no gap wider than 2 m.
_OUTLINE = 0.5 * np.array(
    [[1, 1], [1, 0], [1, -1], [0.5, -1], [0, -1], [-0.5, -1], [-1, -1], [-1, 0], [-1, 1], [-0.5, 1], [0, 1], [0.5, 1]]
)
DOOR_REACH = 0.95  # m that an open door stands out
_CORNERS = 0.5 * np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], float)


def box_outlines(centers: np.ndarray, yaws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N, 12, 2) points around boxes at `centers` (N, 2) m, `yaws` (N,) rad, `sizes` (N, 2) length and width in m."""
    return _place(_OUTLINE, centers, yaws, sizes)


def box_corners_2d(centers: np.ndarray, yaws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N, 4, 2) corners, arguments as `box_outlines`."""
    return _place(_CORNERS, centers, yaws, sizes)


def door_place(actor: ActorState) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Centre (2,) m in map, yaw in rad, length and width in m of the box that the open left front door takes."""
    length, width, _ = actor.size
    reach = max(DOOR_REACH * actor.door_open, 0.02)
    x, y = 0.12 * length, 0.5 * (width + reach)
    c, s = np.cos(actor.yaw), np.sin(actor.yaw)
    return actor.position[:2] + np.array([c * x - s * y, s * x + c * y]), actor.yaw, (0.9, reach)


def boxes_overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) bool: which of `others` (N, 4, 2) corners overlap `box` (4, 2), by the separating axis theorem."""
    count = len(others)
    if count == 0:
        return np.zeros(0, bool)
    own_axes = np.broadcast_to(_axes(box[None]), (count, 2, 2))
    axes = np.concatenate([own_axes, _axes(others)], axis=1)  # (N, 4, 2)
    own = np.einsum("nad,cd->nac", axes, box)
    their = np.einsum("nad,ncd->nac", axes, others)
    apart = (own.max(-1) < their.min(-1)) | (their.max(-1) < own.min(-1))
    return ~apart.any(axis=1)


def _axes(corners: np.ndarray) -> np.ndarray:
    return np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]], axis=1)


def _place(shape: np.ndarray, centers: np.ndarray, yaws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    local = shape[None] * np.asarray(sizes, float)[:, None, :2]
    c, s = np.cos(yaws)[:, None], np.sin(yaws)[:, None]
    x = c * local[..., 0] - s * local[..., 1]
    y = s * local[..., 0] + c * local[..., 1]
    return np.stack([x, y], axis=-1) + np.asarray(centers)[:, None, :2]
