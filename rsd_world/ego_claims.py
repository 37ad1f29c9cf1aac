"""The ego as other drivers see it at a junction: where its route leads, and whether it has the right to go."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.right_of_way import Claim, clearing_time
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.route_tracker import RouteTracker
from rsd_world.state import EgoVehicle, LightState

HORIZON = 45.0  # m before the junction
STOPPING = 3.0  # m/s^2, who cannot stop before the line with it is going in
EGO = 0  # its id among claims


class EgoClaims:
    """Junction crossings of the route."""

    def __init__(self, graph: LaneGraph, tracker: RouteTracker, size: tuple[float, float, float]) -> None:
        self._tracker = tracker
        self._half_length = 0.5 * size[0]
        inside = np.array([graph.lanes[lane].junction for lane in tracker.lanes])
        starts = np.flatnonzero((inside[1:] >= 0) & (inside[:-1] < 0)) + 1
        self._crossings = []  # (s of the line, s of the exit, approach lane, crossing lane)
        for k in starts:
            beyond = np.flatnonzero(inside[k:] != inside[k])
            end = k + int(beyond[0]) if len(beyond) else len(inside) - 1
            self._crossings.append((float(k), float(end), int(tracker.lanes[k - 1]), int(tracker.lanes[k])))

    def of(self, ego: EgoVehicle, lights: TrafficLights) -> tuple[list[Claim], list[tuple[int, int]]]:
        """The claim on the next junction, and the crossing lanes that the ego is on or cannot stop before."""
        s, lateral = self._tracker.s, self._tracker.lateral
        front, rear = s + self._half_length, s - self._half_length
        claims: list[Claim] = []
        inside: list[tuple[int, int]] = []
        if abs(lateral) > 6.0:
            return claims, inside
        for line, end, approach, crossing in self._crossings:
            if rear > end or front < line + 0.5 - HORIZON:
                continue
            claim = self._claim(ego, line - front, end - line, approach, crossing, lights)
            going_in = claim.may_go and ego.speed**2 / (2.0 * STOPPING) > claim.distance
            if front > line + 0.5 or going_in:
                inside.append((EGO, crossing))
            else:
                claims.append(claim)
        return claims, inside

    def _claim(
        self, ego: EgoVehicle, distance: float, length: float, approach: int, crossing: int, lights: TrafficLights
    ) -> Claim:
        distance = max(distance, 0.0)
        may_go = lights.of_lane(approach) in (None, LightState.GREEN)
        clearing = clearing_time(distance, length + 2.0 * self._half_length, ego.speed)
        return Claim(EGO, crossing, distance, ego.speed, clearing, 0.0, may_go, False)
