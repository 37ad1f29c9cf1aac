"""When a vehicle must hold at its stop line: red light, stop sign, no right of way, or no room behind the junction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsd_world.actors.corridor import Leaders
from rsd_world.actors.lane_path import StopLine
from rsd_world.actors.right_of_way import Claim, RightOfWay, clearing_time
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.actors.vehicle import Vehicle
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.town import StopSign
from rsd_world.state import LightState

HORIZON = 80.0  # m, stop lines further off do not matter yet
YELLOW_BRAKING = 3.0  # m/s^2, who cannot stop with it drives on at yellow
HARD_BRAKING = 6.0  # m/s^2, who cannot stop with it enters whatever the light says
ASSERTS_AT = 25.0  # m before the line, from where an assertive vehicle keeps others out
SIGN_ZONE = 3.0  # m before the line in which a stop counts


class JunctionEntry:
    """Gives each vehicle the gap to the stop line that it must respect."""

    def __init__(self, graph: LaneGraph, signs: Sequence[StopSign], lights: TrafficLights) -> None:
        self.rights = RightOfWay(graph, signs)
        self._lights = lights

    def forget(self, vehicle: Vehicle) -> None:
        """Drop what a vehicle holds: it has gone."""
        self.rights.release(vehicle.id)

    def stop_gaps(
        self,
        vehicles: Sequence[Vehicle],
        leaders: Leaders,
        ego_claims: Sequence[Claim],
        ego_inside: Sequence[tuple[int, int]],
    ) -> np.ndarray:
        """(V,) m from the front to the line at which each vehicle has to stop, inf = free to go."""
        coming: dict[int, tuple[int, StopLine, float]] = {}
        claims = list(ego_claims)
        for k, vehicle in enumerate(vehicles):
            self._release(vehicle)
            stop = vehicle.next_stop
            if stop is None or vehicle.parked:
                continue
            distance = stop.s - vehicle.s - vehicle.half_length
            let_in = vehicle.entered is not None and abs(vehicle.entered - stop.s) < 0.5
            if distance > HORIZON or (let_in and not self._revoke(vehicle, stop, distance)):
                continue
            if distance < -1.0 and not let_in:
                continue  # it stands over the line already; the corridor keeps it safe
            coming[vehicle.id] = (k, stop, distance)
            claims.append(self._claim(vehicle, stop, distance, float(leaders.gap[k]), float(leaders.pace[k])))
        granted = self.rights.decide(claims, ego_inside)
        return self._gaps(vehicles, coming, granted)

    def _gaps(
        self, vehicles: Sequence[Vehicle], coming: dict[int, tuple[int, StopLine, float]], granted: set[int]
    ) -> np.ndarray:
        gaps = np.full(len(vehicles), np.inf)
        for actor, (k, stop, distance) in coming.items():
            vehicle = vehicles[k]
            if vehicle.assertive and distance > ASSERTS_AT:
                continue
            if actor in granted or vehicle.assertive:
                vehicle.entered, vehicle.release_s = stop.s, stop.exit_s
                vehicle.stopped_at_sign = False
                self.rights.holders[actor] = stop.crossing
            else:
                gaps[k] = max(distance, 0.0)
        return gaps

    def _claim(self, vehicle: Vehicle, stop: StopLine, distance: float, gap: float, leader_pace: float) -> Claim:
        """What the vehicle asks for; it wants nothing yet while it is far, behind another, or has no room beyond.

        Who crosses its way takes no room: it will have gone, and a place kept by patience must not be lost to it.
        """
        may_go = self._may_go(vehicle, stop, distance)
        asks_at = vehicle.speed**2 / (2.0 * 2.0) + 9.0
        length = stop.exit_s - stop.s + 2.0 * vehicle.half_length
        no_room = leader_pace < 1.5 and gap < distance + length + 1.0
        behind_another = gap < distance - 1.0
        return Claim(
            vehicle.id, stop.crossing, max(distance, 0.0), vehicle.speed,
            clearing_time(max(distance, 0.0), length, vehicle.speed),
            vehicle.still if distance < 4.0 else 0.0, may_go,
            distance < asks_at and not no_room and not behind_another,
        )  # fmt: skip

    def _may_go(self, vehicle: Vehicle, stop: StopLine, distance: float) -> bool:
        if stop.approach in self.rights.stop_lanes:
            if distance < SIGN_ZONE and vehicle.speed < 0.15:
                vehicle.stopped_at_sign = True
            return vehicle.stopped_at_sign
        light = self._lights.of_lane(stop.approach)
        if light is LightState.RED:
            return False
        if light is LightState.YELLOW:
            return vehicle.speed**2 / (2.0 * YELLOW_BRAKING) > distance
        return True

    def _revoke(self, vehicle: Vehicle, stop: StopLine, distance: float) -> bool:
        """Take a right back that cannot be used any more, because the light has changed in time to stop."""
        light = self._lights.of_lane(stop.approach)
        limit = {LightState.RED: HARD_BRAKING, LightState.YELLOW: YELLOW_BRAKING}.get(light)  # type: ignore[arg-type]
        if limit is None or vehicle.assertive or distance < 0.3 or vehicle.speed**2 / (2.0 * limit) > distance - 0.3:
            return False
        self.rights.release(vehicle.id)
        vehicle.entered = vehicle.release_s = None
        return True

    def _release(self, vehicle: Vehicle) -> None:
        if vehicle.release_s is not None and vehicle.s - vehicle.half_length > vehicle.release_s:
            self.rights.release(vehicle.id)
            vehicle.entered = vehicle.release_s = None
