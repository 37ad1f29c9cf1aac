"""Parked vehicles that come to life beside the ego's lane."""

from __future__ import annotations

from rsd_world.actors.catalogue import CAR
from rsd_world.scenarios.base import EMERGENCY_BRAKE, OVERTAKING, Scenario, Stage, release_vehicle
from rsd_world.scenarios.places import RouteView

KERB = 1.15  # m from the lane's edge to the middle of a car that parks beside it
INTRUSION = 0.25  # m that the car with the door stands inside the lane


class ParkingCutIn(Scenario):
    """A parked car pulls out in front of the ego."""

    name = "ParkingCutIn"
    abilities = (EMERGENCY_BRAKE,)

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Stretches of the rightmost lane, with room to pull out."""
        return view.clear_places((view.right < 0) & (view.limit < 15.0) & (view.curvature < 0.03), 10.0, 25.0)

    def prepare(self, stage: Stage) -> None:
        """The car waits at the kerb."""
        width = stage.town.lanes.width_at(int(stage.view.lanes[int(self.trigger_s)]), 1.0)
        kerb = -(0.5 * width + KERB)
        stage.clear_parked(self.trigger_s, 14.0)
        self._car = stage.spawn_on_route(CAR, self.trigger_s, 0.0, lateral=kerb, lateral_target=kerb, parked=True)
        self._car.lateral_rate = 1.5
        self.key_actors = (self._car.id,)

    def should_start(self, stage: Stage) -> bool:
        """The ego is 2.2 s away, or nearly beside it."""
        distance = stage.distance_to(self.trigger_s - self._car.half_length)
        return stage.ego.speed > 1.0 and -1.0 < distance < max(2.2 * stage.ego.speed, 8.0)

    def start(self, stage: Stage) -> None:
        """It pulls out without looking."""
        self._car.parked, self._car.blinker = False, 1
        self._car.lateral_target, self._car.desired_speed = 0.0, 6.0

    def is_over(self, stage: Stage) -> bool:
        """It has found its place in the lane and the ego is past the spot."""
        return abs(self._car.lateral) < 0.1 and super().is_over(stage)

    def finish(self, stage: Stage) -> None:
        """It drives on as traffic."""
        release_vehicle(self._car)


class VehicleOpensDoorTwoWays(Scenario):
    """A parked car opens its door into the ego's lane; the way past leads towards the oncoming lane."""

    name = "VehicleOpensDoorTwoWays"
    abilities = (OVERTAKING,)
    opening_time = 0.7  # s

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Roads with one lane each way."""
        suits = (view.right < 0) & (view.left < 0) & (view.opposite >= 0) & (view.limit < 15.0)
        return view.clear_places(suits, 12.0, 22.0)

    def prepare(self, stage: Stage) -> None:
        """The car stands at the kerb, a little inside the lane."""
        width = stage.town.lanes.width_at(int(stage.view.lanes[int(self.trigger_s)]), 1.0)
        kerb = -(0.5 * width + 0.5 * CAR.size[1] - INTRUSION)
        stage.clear_parked(self.trigger_s, 14.0)
        stage.close_to_traffic(0.0, self.trigger_s, 45.0)
        self._car = stage.spawn_on_route(CAR, self.trigger_s, 0.0, lateral=kerb, lateral_target=kerb, parked=True)
        self.key_actors = (self._car.id,)

    def should_start(self, stage: Stage) -> bool:
        """The ego is 2.4 s away."""
        return stage.distance_to(self.trigger_s) < max(2.4 * stage.ego.speed, 12.0)

    def start(self, stage: Stage) -> None:
        """From here on the ego may use the other lane."""
        self.ego_may_leave_lane = True

    def evolve(self, stage: Stage, dt: float) -> None:
        """The door swings open and stays."""
        self._car.door_open = min(1.0, self._car.door_open + dt / self.opening_time)

    def finish(self, stage: Stage) -> None:
        """The door closes."""
        self._car.door_open = 0.0
