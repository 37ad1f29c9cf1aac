"""What lies along a route: where a scenario can be staged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph, Route
from rsd_world.roads.town import Town
from rsd_world.route_tracker import RouteTracker

RUN_UP = 45.0  # m of route before a place, so that the ego comes with speed
RUN_OUT = 25.0  # m after it
HIGHWAY_SPEED = 20.0  # m/s


@dataclass(frozen=True)
class JunctionPass:
    """One junction on the route."""

    line: float  # m along the route
    exit: float  # m along the route
    approach: int  # lane
    crossing: int  # lane
    turn: Command


class RouteView:
    """A route metre by metre, with what its lanes have beside them."""

    def __init__(self, town: Town, route: Route) -> None:
        self.town, self.graph = town, town.lanes
        self.tracker = RouteTracker(route)
        self.lanes = self.tracker.lanes
        info = [self.graph.lanes[i] for i in self.lanes]
        self.in_junction = np.array([lane.junction >= 0 for lane in info])
        self.left = np.array([lane.left for lane in info])
        self.right = np.array([lane.right for lane in info])
        self.opposite = np.array([lane.opposite for lane in info])
        self.limit = np.array([lane.speed_limit for lane in info])
        self.changing = np.isin(self.tracker.commands, (Command.CHANGELANELEFT, Command.CHANGELANERIGHT))
        self.curvature = np.abs(np.gradient(self.tracker.yaw))

    @property
    def length(self) -> float:
        """m."""
        return self.tracker.length

    def clear_places(self, suits: np.ndarray, before: float, after: float, step: int = 4) -> list[float]:
        """Places s with `suits` true, and no junction or lane change, from s - before to s + after."""
        free = suits & ~self.in_junction & ~self.changing
        window = int(before + after) + 1
        if len(free) < window:
            return []
        run = np.convolve(free, np.ones(window, int), mode="valid") == window
        places = np.flatnonzero(run) + before
        places = places[(places >= RUN_UP) & (places <= self.length - RUN_OUT)]
        return [float(s) for s in places[::step]]

    def junctions(self) -> Iterator[JunctionPass]:
        """The junctions on the route, in order, that leave room before and after."""
        starts = np.flatnonzero(self.in_junction[1:] & ~self.in_junction[:-1]) + 1
        for k in starts:
            beyond = np.flatnonzero(~self.in_junction[k:])
            end = int(k + beyond[0]) if len(beyond) else len(self.in_junction) - 1
            crossing = int(self.lanes[k])
            if k >= 30.0 and end <= self.length - 10.0:
                turn = self.graph.lanes[crossing].turn
                yield JunctionPass(float(k), float(end), int(self.lanes[k - 1]), crossing, turn)

    def chain(self, s: float) -> tuple[list[int], float]:
        """Lanes of the route from `s` m on, as far as they follow each other, and the place on the first of them."""
        ahead = self.lanes[int(s) :]
        lanes = [int(ahead[0])]
        for lane in ahead[1:]:
            if lane == lanes[-1]:
                continue
            if lane not in self.graph.lanes[lanes[-1]].successors:
                break
            lanes.append(int(lane))
        point, _yaw = self.tracker.pose(s)
        return lanes, place_on_lane(self.graph, lanes[0], point)

    def crossings(self) -> list[tuple[float, int]]:
        """(m along the route, index) of the pedestrian crossings that the route goes over."""
        found = []
        for k, crossing in enumerate(self.town.crossings):
            s = self._meets(crossing.start[:2], crossing.end[:2])
            if s is not None and 35.0 <= s <= self.length - 12.0:
                found.append((s, k))
        return sorted(found)

    def _meets(self, start: np.ndarray, end: np.ndarray) -> float | None:
        """m along the route where it goes over the segment, None where it does not."""
        axis = (end - start) / np.linalg.norm(end - start)
        delta = self.tracker.points[:, :2] - start
        along = delta @ axis
        aside = delta[:, 1] * axis[0] - delta[:, 0] * axis[1]
        change = (aside[:-1] * aside[1:] <= 0.0) & (along[:-1] > 0.0) & (along[:-1] < np.linalg.norm(end - start))
        near = np.abs(aside[:-1]) < 3.0
        hits = np.flatnonzero(change & near)
        return float(hits[0]) if len(hits) else None


def place_on_lane(graph: LaneGraph, lane: int, point: np.ndarray) -> float:
    """m along a lane of its point nearest to `point` (2 or 3,)."""
    points = graph.lanes[lane].points[:, :2]
    return float(graph.lanes[lane].arc_lengths[((points - point[:2]) ** 2).sum(-1).argmin()])
