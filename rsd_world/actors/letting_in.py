"""Courtesy: an ego that has waited beside its route's lane to change into it is let in."""

from __future__ import annotations

import numpy as np

from rsd_world.roads.lane_graph import LaneGraph, Route
from rsd_world.state import EgoVehicle

PATIENCE = 3.0  # s of standing beside its lane, after which the next driver lets the ego in
STANDING, SLOW = 1.0, 4.0  # m/s, to be let in, and while it moves over
BESIDE = (1.0, 5.0)  # m from the middle of the route's lane
GAP = 1.5  # m kept behind the ego


class LettingIn:
    """Sees by its route where the ego wants to go."""

    def __init__(self, graph: LaneGraph, route: Route) -> None:
        self._graph = graph
        self._route = route
        self._waited = 0.0  # s

    def gate(self, ego: EgoVehicle, dt: float) -> tuple[int, float] | None:
        """Lane and m along it where the next one holds; None while nobody has to be let in."""
        points = self._route.points[:, :2]
        lane = self._graph.lanes[int(self._route.lanes[((points - ego.position[:2]) ** 2).sum(axis=1).argmin()])]
        k = int(((lane.points[:, :2] - ego.position[:2]) ** 2).sum(axis=1).argmin())
        heading = float(lane.headings[min(k, len(lane.headings) - 1)])
        delta = ego.position[:2] - lane.points[k, :2]
        lateral = float(delta[1] * np.cos(heading) - delta[0] * np.sin(heading))
        neighbour = lane.left if lateral > 0.0 else lane.right
        beside = neighbour >= 0 and BESIDE[0] < abs(lateral) < BESIDE[1] and np.cos(ego.yaw - heading) > 0.5
        if not beside or abs(ego.speed) > (SLOW if self._waited > PATIENCE else STANDING):
            self._waited = 0.0
            return None
        self._waited += dt
        place = float(lane.arc_lengths[k]) - 0.5 * ego.size[0] - GAP
        return (lane.id, place) if self._waited > PATIENCE else None
