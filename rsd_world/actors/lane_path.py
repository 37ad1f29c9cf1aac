"""The way a vehicle means to go: a chain of lanes sampled every metre."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsd_world.roads.lane_graph import LaneGraph

REACH = 150.0  # m, length of a new path
COMFORT_LATERAL = 2.2  # m/s^2, sets the speed in curves
COMFORT_BRAKING = 1.8  # m/s^2, how early it slows for them


@dataclass(frozen=True)
class StopLine:
    """The end of an approach lane."""

    s: float  # m along the path
    approach: int  # lane
    crossing: int  # lane inside the junction
    exit_s: float  # m along the path, where the junction ends


@dataclass(frozen=True)
class LanePath:
    """Samples 1 m apart: index = metres along the path."""

    points: np.ndarray  # (L, 3) m, map
    yaw: np.ndarray  # (L,) rad, unwrapped
    speed: np.ndarray  # (L,) m/s, limit and curves
    lanes: tuple[int, ...]
    ends: np.ndarray  # (lanes,) m along the path where each lane ends
    stops: tuple[StopLine, ...]
    open_ended: bool  # False: the last lane has no successor

    def pose(self, s: float, lateral: float = 0.0) -> tuple[np.ndarray, float]:
        """Position (3,) m and heading at `s` m along and `lateral` m left of the path."""
        i = min(max(int(s), 0), len(self.points) - 2)
        share = s - i
        point = self.points[i] + (self.points[i + 1] - self.points[i]) * share
        yaw = float(self.yaw[i] + (self.yaw[i + 1] - self.yaw[i]) * min(max(share, 0.0), 1.0))
        if lateral:
            point = point + lateral * np.array([-np.sin(yaw), np.cos(yaw), 0.0])
        return point, yaw

    def lane_at(self, s: float) -> int:
        """Lane id at `s` m along the path."""
        return self.lanes[min(int(np.searchsorted(self.ends, s)), len(self.lanes) - 1)]


def extend_lanes(
    graph: LaneGraph, lanes: list[int], length: float, choose: Callable[[tuple[int, ...]], int]
) -> tuple[list[int], bool]:
    """Append successors, picked by `choose`, until the chain is `length` m long; False: it met a dead end."""
    lanes = list(lanes)
    total = sum(graph.lanes[i].length for i in lanes)
    while total < length:
        options = graph.lanes[lanes[-1]].successors
        if not options:
            return lanes, False
        lanes.append(options[0] if len(options) == 1 else choose(options))
        total += graph.lanes[lanes[-1]].length
    return lanes, True


def build_path(graph: LaneGraph, lanes: list[int], start: float = 0.0, open_ended: bool = True) -> LanePath:
    """Path along `lanes` from `start` m on the first of them."""
    parts = [graph.lanes[i] for i in lanes]
    lengths = np.array([lane.length for lane in parts])
    begins = np.cumsum(lengths) - lengths
    arc = np.concatenate([lane.arc_lengths + b for lane, b in zip(parts, begins, strict=True)])
    points = np.concatenate([lane.points for lane in parts])
    limits = np.repeat([lane.speed_limit for lane in parts], [len(lane.points) for lane in parts])
    grid = np.arange(start, max(arc[-1], start + 2.0), 1.0)
    sampled = np.stack([np.interp(grid, arc, points[:, k]) for k in range(3)], axis=-1)
    if not open_ended:
        sampled, grid = _with_tail(sampled, grid)
    yaw = _headings(sampled)
    limit = np.interp(grid, arc, limits)
    if not open_ended:
        limit[grid > arc[-1] - 4.0] = 0.1
    ends = begins + lengths - start
    return LanePath(sampled, yaw, _curve_speeds(yaw, limit), tuple(lanes), ends, _stop_lines(parts, ends), open_ended)


def _with_tail(points: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Go straight on past a dead end, so that there is always a path ahead to measure against."""
    step = points[-1] - points[-2]
    step = step / max(float(np.linalg.norm(step[:2])), 1e-6)
    ahead = np.arange(1.0, 91.0)
    return np.concatenate([points, points[-1] + ahead[:, None] * step]), np.concatenate([grid, grid[-1] + ahead])


def _headings(points: np.ndarray) -> np.ndarray:
    delta = np.gradient(points[:, :2], axis=0)
    return np.unwrap(np.arctan2(delta[:, 1], delta[:, 0]))


def _curve_speeds(yaw: np.ndarray, limit: np.ndarray) -> np.ndarray:
    curvature = np.abs(np.gradient(yaw))
    curvature = np.convolve(curvature, np.ones(3) / 3.0, mode="same")
    squared = np.minimum(limit**2, COMFORT_LATERAL / np.maximum(curvature, 1e-4))
    # v^2 + 2 b s must not rise towards the start: slow down in time for what comes.
    ramp = 2.0 * COMFORT_BRAKING * np.arange(len(squared))
    return np.sqrt(np.minimum.accumulate((squared + ramp)[::-1])[::-1] - ramp)


def _stop_lines(parts: list, ends: np.ndarray) -> tuple[StopLine, ...]:
    stops = []
    for k in range(len(parts) - 1):
        if not parts[k].junction < 0 <= parts[k + 1].junction:
            continue
        last = k + 1  # a junction may be crossed on several lanes, one after the other
        while last + 1 < len(parts) and parts[last + 1].junction == parts[k + 1].junction:
            last += 1
        stops.append(StopLine(float(ends[k]), parts[k].id, parts[k + 1].id, float(ends[last])))
    return tuple(stops)
