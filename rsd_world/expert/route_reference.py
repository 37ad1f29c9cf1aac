"""A route as the expert uses it: smooth, sampled every metre, with limits, room to the sides and stop lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.geometry import wrap_angle
from rsd_world.roads.lane_graph import LaneGraph, Route
from rsd_world.roads.town import Town

TAIL = 60.0  # m, the route is prolonged so that there is always a path to follow


@dataclass(frozen=True)
class StopLine:
    """The end of an approach lane on the route."""

    s: float  # m along the reference
    exit_s: float  # m, where the junction behind it ends
    light: int | None  # id of the light that governs it
    sign: int | None  # id of its stop sign


class RouteReference:
    """Reference line of one route; index i lies at i metres."""

    def __init__(self, town: Town, route: Route) -> None:
        points, source = _sampled(route.points[:, :2])
        self.end = float(len(points) - 1)  # m, where the route ends
        self.points = _with_tail(points, town.lanes, int(route.lanes[-1]))  # (R, 2) m, map
        self.lanes = _extended(route.lanes[source], len(self.points))
        self.commands = _extended(route.commands[source], len(self.points))
        step = np.gradient(self.points, axis=0)
        self.yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))  # (R,) rad
        self.normals = np.stack([-np.sin(self.yaw), np.cos(self.yaw)], axis=1)  # (R, 2), to the left
        lanes = [town.lanes.lanes[i] for i in self.lanes]
        self.limit = np.array([lane.speed_limit for lane in lanes])  # (R,) m/s
        self.in_junction = np.array([lane.junction >= 0 for lane in lanes])
        self.half_width = np.array([0.5 * float(lane.widths[0]) for lane in lanes])
        self.left_same = np.array([_width(town.lanes, lane.left) for lane in lanes])  # (R,) m of same direction
        self.left_opposite = np.array([_width(town.lanes, lane.opposite) for lane in lanes])
        self.right_same = np.array([_width(town.lanes, lane.right) for lane in lanes])
        self.stop_lines = _stop_lines(town, self.lanes, self.in_junction)

    def project(self, position: np.ndarray, hint: float, reach: float = 25.0) -> tuple[float, float]:
        """Arc length and left offset in m of a place, searched within `reach` m around arc length `hint`."""
        first = max(int(hint - reach), 0)
        window = self.points[first : int(hint + reach) + 2]
        nearest = first + int(np.argmin(((window - position[:2]) ** 2).sum(axis=1)))
        delta = position[:2] - self.points[nearest]
        yaw = self.yaw[nearest]
        along = float(delta[0] * np.cos(yaw) + delta[1] * np.sin(yaw))
        return nearest + float(np.clip(along, -1.0, 1.0)), float(delta @ self.normals[nearest])

    def project_many(self, positions: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Arc lengths and left offsets (N,) of places (N, 2) relative to the stretch `first` .. `last` (indices)."""
        window = self.points[first:last]
        nearest = first + ((positions[:, None] - window[None]) ** 2).sum(axis=-1).argmin(axis=1)
        delta = positions - self.points[nearest]
        yaw = self.yaw[nearest]
        along = delta[:, 0] * np.cos(yaw) + delta[:, 1] * np.sin(yaw)
        return nearest + along, (delta * self.normals[nearest]).sum(axis=1)


def _width(graph: LaneGraph, lane: int) -> float:
    return float(graph.lanes[lane].widths[0]) if lane >= 0 else 0.0


def _sampled(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points every metre, and for each the index of the given point it stems from."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    grid = np.arange(0.0, along[-1], 1.0)
    sampled = np.stack([np.interp(grid, along, points[:, k]) for k in range(2)], axis=1)
    return sampled, np.clip(np.searchsorted(along, grid), 0, len(points) - 1)


def _with_tail(points: np.ndarray, graph: LaneGraph, lane: int) -> np.ndarray:
    """Go on along the route's last lane and those that follow most nearly straight ahead; at a dead end, straight."""
    found = graph.lanes[lane].points[:, :2]
    nearest = int(((found - points[-1]) ** 2).sum(axis=1).argmin())
    parts, length = [found[nearest + 1 :]], float(len(found) - nearest)
    while length < TAIL + 10.0 and graph.lanes[lane].successors:
        heading = graph.lanes[lane].headings[-1]
        lane = min(
            graph.lanes[lane].successors, key=lambda k: float(abs(wrap_angle(graph.lanes[k].headings[-1] - heading)))
        )
        parts.append(graph.lanes[lane].points[1:, :2])
        length += graph.lanes[lane].length
    tail = np.concatenate(parts)
    tail = tail[np.linalg.norm(tail - points[-1], axis=1) > 0.5]
    last = points[-1] - points[-2] if len(tail) < 2 else tail[-1] - tail[-2]
    end = tail[-1] if len(tail) else points[-1]
    straight = end + np.arange(1.0, TAIL + 1.0)[:, None] * last / max(float(np.linalg.norm(last)), 1e-6)
    line = np.concatenate([points[-1:], tail, straight])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    stations = np.arange(1.0, TAIL + 1.0)
    return np.concatenate([points, np.stack([np.interp(stations, along, line[:, k]) for k in range(2)], axis=1)])


def _extended(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values, np.repeat(values[-1:], length - len(values))])


def _stop_lines(town: Town, lanes: np.ndarray, in_junction: np.ndarray) -> tuple[StopLine, ...]:
    lights = {lane: light.id for light in town.lights for lane in light.lanes}
    signs = {lane: sign.id for sign in town.stop_signs for lane in sign.lanes}
    found = []
    for i in np.flatnonzero(in_junction[1:] & ~in_junction[:-1]):
        inside = np.flatnonzero(~in_junction[i + 1 :])
        exit_s = float(i + 1 + (inside[0] if len(inside) else 10))
        approach = int(lanes[i])
        found.append(StopLine(float(i) + 0.5, exit_s, lights.get(approach), signs.get(approach)))
    return tuple(found)
