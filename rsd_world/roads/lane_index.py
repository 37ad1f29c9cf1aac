"""Nearest-lane search: a KD tree over lane points with their headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from rsd_world.roads.lane_graph import Lane

HEADING_WEIGHT = 2.5  # m; a lane the other way then counts as far as one 5 m off
_CANDIDATES = 12  # points looked at per query; a junction has at most a few lanes within half a metre


def point_headings(points: np.ndarray) -> np.ndarray:
    """(P,) rad, unwrapped headings at the points of a polyline (P, 2 or 3), exact on arcs (also at the two ends)."""
    steps = np.diff(points[:, :2], axis=0)
    chords = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    if len(chords) == 1:
        return np.repeat(chords, 2)
    lengths = np.linalg.norm(steps, axis=1)
    slopes = np.diff(chords) / (0.5 * (lengths[:-1] + lengths[1:]))
    inner = chords[:-1] + slopes * 0.5 * lengths[:-1]
    first = chords[0] - slopes[0] * 0.5 * lengths[0]
    last = chords[-1] + slopes[-1] * 0.5 * lengths[-1]
    return np.concatenate([[first], inner, [last]])


@dataclass(frozen=True)
class NearestLanes:
    """Answer of a batched search."""

    lanes: np.ndarray  # (N,) int, -1 = none near enough
    s: np.ndarray  # (N,) m along the lane
    lateral: np.ndarray  # (N,) m left of the lane's centre
    distances: np.ndarray  # (N,) m to the lane's centre; inf = none
    heights: np.ndarray  # (N,) m, z of the lane's centre there


class LaneIndex:
    """All lane points of a graph, searchable by place and heading."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._xy = np.concatenate([lane.points[:, :2] for lane in lanes])
        self._z = np.concatenate([lane.points[:, 2] for lane in lanes])
        self._s = np.concatenate([lane.arc_lengths for lane in lanes])
        headings = np.concatenate([lane.headings for lane in lanes])
        counts = [len(lane.points) for lane in lanes]
        self._lane = np.repeat(np.arange(len(lanes)), counts)
        self._is_last = np.zeros(len(self._xy), bool)
        self._is_last[np.cumsum(counts) - 1] = True
        self._is_first = np.roll(self._is_last, 1)
        self._direction = np.stack([np.cos(headings), np.sin(headings)], axis=-1)
        self._by_place = cKDTree(self._xy)
        # Squared distance here is d^2 + 2 w^2 (1 - cos(heading difference)): one search ranks place and heading.
        self._by_pose = cKDTree(np.hstack([self._xy, HEADING_WEIGHT * self._direction]))

    def query(self, xy: np.ndarray, yaw: np.ndarray | None, max_distance: float) -> NearestLanes:
        """Nearest lane of each point (N, 2) m in `map`.

        Without `yaw` (N,) rad the smallest distance wins; with it, the smallest d^2 + 2 w^2 (1 - cos dyaw) of distance
        d and heading difference dyaw, w = HEADING_WEIGHT.
        """
        candidates = self._candidates(xy, yaw)  # (N, K)
        before = np.where(self._is_first[candidates], candidates, candidates - 1)
        starts = np.concatenate([candidates, before], axis=1)
        starts = np.where(self._is_last[starts], starts - 1, starts)
        share, s, lateral, squared = self._project(xy, starts)
        cost = squared if yaw is None else squared + self._heading_cost(starts, yaw)
        best = np.argmin(cost, axis=1)
        rows = np.arange(len(xy))
        distances = np.sqrt(squared[rows, best])
        near = distances <= max_distance
        chosen, along = starts[rows, best], share[rows, best]
        return NearestLanes(
            np.where(near, self._lane[chosen], -1),
            s[rows, best],
            lateral[rows, best],
            np.where(near, distances, np.inf),
            (1.0 - along) * self._z[chosen] + along * self._z[chosen + 1],
        )

    def _candidates(self, xy: np.ndarray, yaw: np.ndarray | None) -> np.ndarray:
        count = min(_CANDIDATES, len(self._xy))
        if yaw is None:
            found = self._by_place.query(xy, k=count)[1]
        else:
            direction = HEADING_WEIGHT * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
            found = self._by_pose.query(np.hstack([xy, direction.reshape(-1, 2)]), k=count)[1]
        return found.reshape(len(xy), count)

    def _heading_cost(self, starts: np.ndarray, yaw: np.ndarray) -> np.ndarray:
        step = self._xy[starts + 1] - self._xy[starts]
        heading = np.arctan2(step[..., 1], step[..., 0])
        return 2.0 * HEADING_WEIGHT**2 * (1.0 - np.cos(heading - np.asarray(yaw).reshape(-1, 1)))

    def _project(self, xy: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Project points (N, 2) on the segments that begin at `starts` (N, K): share, s, lateral, squared distance."""
        a, b = self._xy[starts], self._xy[starts + 1]
        step, offset = b - a, xy[:, None, :] - a
        length = np.linalg.norm(step, axis=-1)
        share = np.clip((offset * step).sum(axis=-1) / length**2, 0.0, 1.0)
        gap = offset - share[..., None] * step
        lateral = (step[..., 0] * offset[..., 1] - step[..., 1] * offset[..., 0]) / length
        return share, self._s[starts] + share * length, lateral, (gap * gap).sum(axis=-1)
