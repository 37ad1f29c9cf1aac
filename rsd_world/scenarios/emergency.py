"""An ambulance that comes from behind."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.catalogue import AMBULANCE
from rsd_world.actors.vehicle import Vehicle
from rsd_world.infractions import InfractionKind
from rsd_world.scenarios.base import GIVE_WAY, Scenario, Stage, release_vehicle
from rsd_world.scenarios.places import RouteView

BEHIND = 34.0  # m behind the ego, where it appears
HURRY = 1.6  # of the lane's limit
PATIENCE = 7.0  # s that it may be held up by the ego
HELD_UP = 25.0  # m behind the ego, nearer than this in its lane it is held up
RUN_OUT = 120.0  # m of route that the encounter takes


class YieldToEmergencyVehicle(Scenario):
    """An ambulance with its siren on comes from behind in the ego's lane; the ego has to let it pass."""

    name = "YieldToEmergencyVehicle"
    abilities = (GIVE_WAY,)
    timeout = 45.0

    def __init__(self) -> None:
        super().__init__()
        self._ambulance: Vehicle | None = None
        self._passed = False
        self._held = 0.0  # s

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Stretches with a second lane of the ego's direction, long enough to change and be passed."""
        beside = (view.left >= 0) | (view.right >= 0)
        places = [s for s in view.clear_places(beside, 25.0, 45.0) if s < view.length - RUN_OUT]
        return [s for s in places if not view.changing[max(int(s - BEHIND) - 3, 0) : int(s) + 60].any()]

    def prepare(self, stage: Stage) -> None:
        """Both lanes stay empty around the place, so that there is room to yield."""
        k = int(self.trigger_s)
        lanes = {int(i) for i in (stage.view.lanes[k], stage.view.left[k], stage.view.right[k]) if i >= 0}
        stage.traffic.places.block_lanes(lanes)
        stage.close_to_traffic(0.0, self.trigger_s + 40.0, 40.0)

    def should_start(self, stage: Stage) -> bool:
        """The ego is at the place and moves."""
        return stage.tracker.s > self.trigger_s and stage.ego.speed > 3.0

    def start(self, stage: Stage) -> None:
        """The ambulance appears behind."""
        self.ego_may_leave_lane = True
        s = max(stage.tracker.s - BEHIND, 3.0)
        self._make_way(stage)
        limit = float(stage.view.limit[int(self.trigger_s)])
        self._ambulance = stage.spawn_on_route(AMBULANCE, s, stage.ego.speed + 4.0, siren=True, assertive=True)
        self._ambulance.desired_speed = HURRY * limit
        self.key_actors = (self._ambulance.id,)

    def _make_way(self, stage: Stage) -> None:
        """Nobody is between the two, or where it appears."""
        heading = np.array([np.cos(stage.ego.yaw), np.sin(stage.ego.yaw)])
        for vehicle in list(stage.traffic.vehicles):
            delta = vehicle.position[:2] - stage.ego.position[:2]
            if -BEHIND - 15.0 < delta @ heading < 0.0 and abs(delta[1] * heading[0] - delta[0] * heading[1]) < 8.0:
                stage.traffic.remove(vehicle)

    def evolve(self, stage: Stage, dt: float) -> None:
        """Has it passed the ego?"""
        delta = self._ambulance.position[:2] - stage.ego.position[:2]
        ahead = delta[0] * np.cos(stage.ego.yaw) + delta[1] * np.sin(stage.ego.yaw)
        self._passed = self._passed or ahead > 8.0
        aside = delta[1] * np.cos(stage.ego.yaw) - delta[0] * np.sin(stage.ego.yaw)
        self._held += dt if -HELD_UP < ahead < 0.0 and abs(aside) < 1.8 else 0.0
        if not self._passed and self._held > PATIENCE:
            detail = f"held ambulance {self._ambulance.id} up for {PATIENCE:.0f} s"
            self._blame(stage, InfractionKind.YIELD_EMERGENCY, detail, self._ambulance.id)
            self._passed = True

    def is_over(self, stage: Stage) -> bool:
        """It has passed and is away, or was held up."""
        return self._passed

    def finish(self, stage: Stage) -> None:
        """It drives on; an ambulance that was held up turns its siren off."""
        release_vehicle(self._ambulance)
        self._ambulance.siren = self._held <= PATIENCE
