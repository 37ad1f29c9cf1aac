"""Where the ego is on its route."""

from __future__ import annotations

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph, Route

ANNOUNCE = 15.0  # m before a manoeuvre, from where its command is given
BACK, FORTH = 8.0, 25.0  # m of the route that are searched around the last place


class RouteTracker:
    """Follows the ego along a route, resampled every metre; progress never falls unless the ego is moved."""

    def __init__(self, route: Route) -> None:
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(route.points[:, :2], axis=0), axis=1))])
        self.length = float(arc[-1])
        self.s_grid = np.arange(0.0, self.length + 1e-9, 1.0)
        self.points = np.stack([np.interp(self.s_grid, arc, route.points[:, k]) for k in range(3)], axis=-1)
        nearest = np.clip(np.searchsorted(arc, self.s_grid, side="left"), 0, len(arc) - 1)
        self.commands = route.commands[nearest]
        self.lanes = route.lanes[nearest]
        delta = np.gradient(self.points[:, :2], axis=0)
        self.yaw = np.unwrap(np.arctan2(delta[:, 1], delta[:, 0]))
        self.s = 0.0  # m, of the ego's projection
        self.lateral = 0.0  # m left of the route
        self.farthest = 0.0  # m

    @property
    def completion(self) -> float:
        """0 .. 1; the last 3 m count as reached."""
        return 1.0 if self.farthest >= self.length - 3.0 else self.farthest / self.length

    @property
    def lane(self) -> int:
        """Lane of the route at the ego."""
        return int(self.lanes[self._index(self.s)])

    def reset(self, position: np.ndarray) -> None:
        """Start anew from the nearest place of the whole route."""
        self._project(position, 0, len(self.points))
        self.farthest = self.s

    def update(self, position: np.ndarray) -> None:
        """Follow the ego to `position` (2 or 3,) m."""
        low = max(self._index(self.s - BACK), 0)
        self._project(position, low, min(self._index(self.s + FORTH) + 2, len(self.points)))
        self.farthest = max(self.farthest, self.s)

    def distance(self, position: np.ndarray) -> float:
        """m from `position` to the nearest point of the whole route."""
        return float(np.linalg.norm(self.points[:, :2] - position[:2], axis=1).min())

    def pose(self, s: float, lateral: float = 0.0) -> tuple[np.ndarray, float]:
        """Position (3,) m and heading at `s` m along and `lateral` m left of the route."""
        point = np.array([np.interp(s, self.s_grid, self.points[:, k]) for k in range(3)])
        yaw = float(np.interp(s, self.s_grid, self.yaw))
        return point + lateral * np.array([-np.sin(yaw), np.cos(yaw), 0.0]), yaw

    def command(self) -> Command:
        """Of the manoeuvre at the ego, else of the next one within ANNOUNCE m."""
        here = self._index(self.s)
        ahead = self.commands[here : here + int(ANNOUNCE) + 1]
        manoeuvres = ahead[ahead != Command.LANEFOLLOW]
        return Command(int(manoeuvres[0])) if len(manoeuvres) else Command.LANEFOLLOW

    def ahead(self, length: float) -> np.ndarray:
        """(R, 3) m, map: points 1 m apart from the ego's projection on."""
        s = np.arange(self.s, min(self.s + length, self.length) + 1e-9, 1.0)
        return np.stack([np.interp(s, self.s_grid, self.points[:, k]) for k in range(3)], axis=-1)

    def first_junction(self, graph: LaneGraph) -> float | None:
        """Completion at which the route enters its first junction, None where it has none."""
        inside = np.array([graph.lanes[lane].junction >= 0 for lane in self.lanes])
        return float(inside.argmax() / max(len(inside) - 1, 1)) if inside.any() else None

    def _index(self, s: float) -> int:
        return int(min(max(s, 0.0), len(self.points) - 1))

    def _project(self, position: np.ndarray, low: int, high: int) -> None:
        points = self.points[low:high, :2]
        k = low + int(((points - position[:2]) ** 2).sum(-1).argmin())
        delta = position[:2] - self.points[k, :2]
        c, s = np.cos(self.yaw[k]), np.sin(self.yaw[k])
        self.s = float(np.clip(self.s_grid[k] + delta[0] * c + delta[1] * s, 0.0, self.length))
        self.lateral = float(delta[1] * c - delta[0] * s)
