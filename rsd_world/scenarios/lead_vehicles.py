"""Vehicles ahead of the ego that do something sudden."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.catalogue import CAR
from rsd_world.actors.vehicle import Vehicle
from rsd_world.scenarios.base import EMERGENCY_BRAKE, MERGING, Scenario, Stage, release_vehicle
from rsd_world.scenarios.places import HIGHWAY_SPEED, RouteView

MISSED = 25.0  # m past the place, from where it does not come any more
FIRST_GAP = 42.0  # m ahead of the ego, where they appear
FORESIGHT = 2.5  # s, the ego's acceleration over this time is added, or a driver who speeds up with it lags behind


class _Leading(Scenario):
    """Something drives ahead of the ego and keeps its distance until the place is reached."""

    run = 55.0  # m before the place, where it appears
    gap = 14.0  # m, kept to the ego's front
    gap_time = 0.5  # s, on top

    def __init__(self) -> None:
        super().__init__()
        self._car: Vehicle | None = None

    def appear(self, stage: Stage, s: float) -> Vehicle:
        """The vehicle at `s` m of the route."""
        raise NotImplementedError

    def prepare(self, stage: Stage) -> None:
        """Where the place is near the start it is there from the start."""
        stage.close_to_traffic(0.0, self.trigger_s, 40.0)
        if self.trigger_s - self.run <= 0.0:
            self._begin(stage, 16.0)

    def approach(self, stage: Stage, dt: float) -> None:
        """Appears in time, then keeps its distance."""
        if self._car is None:
            if stage.tracker.s > self.trigger_s - self.run:
                self._begin(stage, stage.tracker.s + FIRST_GAP)
            return
        if stage.tracker.s > self.trigger_s + MISSED:
            self._end(stage)  # the ego kept too far away for it
            return
        gap = self._gap(stage)
        wished = self.gap + self.gap_time * stage.ego.speed
        limit = 1.2 * float(stage.view.limit[int(self.trigger_s)])
        pace = stage.ego.speed + FORESIGHT * max(stage.ego.acceleration, 0.0)
        self._car.desired_speed = float(np.clip(pace + 0.5 * (wished - gap), 1.5, limit))

    def should_start(self, stage: Stage) -> bool:
        """The ego is at the place, and the vehicle at its distance."""
        if self._car is None or stage.tracker.s < self.trigger_s - 20.0:
            return False
        return self._gap(stage) < self.gap + self.gap_time * stage.ego.speed + 4.0 and stage.ego.speed > 3.0

    def finish(self, stage: Stage) -> None:
        """It drives on as traffic."""
        if self._car is not None:
            self._car.lateral_target = 0.0
            release_vehicle(self._car)

    def _begin(self, stage: Stage, s: float) -> None:
        self._car = self.appear(stage, s)
        self.key_actors = (self._car.id,)

    def _gap(self, stage: Stage) -> float:
        delta = self._car.position[:2] - stage.ego.position[:2]
        along = delta[0] * np.cos(stage.ego.yaw) + delta[1] * np.sin(stage.ego.yaw)
        return float(along - self._car.half_length - 0.5 * stage.ego.size[0])


class HardBreakRoute(_Leading):
    """The vehicle ahead brakes as hard as it can, stands, and drives on."""

    name = "HardBreakRoute"
    abilities = (EMERGENCY_BRAKE,)
    gap, gap_time = 7.0, 0.75
    braking, stand = 7.5, 4.0  # m/s^2, s

    def __init__(self) -> None:
        super().__init__()
        self._stood = 0.0

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Stretches without junction or lane change before and behind."""
        return view.clear_places(np.ones(len(view.lanes), bool), 40.0, 30.0)

    def appear(self, stage: Stage, s: float) -> Vehicle:
        """A car in the ego's lane."""
        return stage.spawn_on_route(CAR, s, 0.8 * stage.ego.speed)

    def start(self, stage: Stage) -> None:
        """It brakes."""
        self._car.forced_acceleration = -self.braking

    def evolve(self, stage: Stage, dt: float) -> None:
        """It stands for some seconds, then drives on."""
        self._stood = self._stood + dt if self._car.speed < 0.1 else self._stood
        if self._stood > self.stand:
            self._car.forced_acceleration = self._car.desired_speed = None

    def is_over(self, stage: Stage) -> bool:
        """It has driven on."""
        return self._stood > self.stand and self._car.speed > 2.0


class HighwayCutIn(_Leading):
    """A vehicle on the next lane cuts in close ahead of the ego and is slower."""

    name = "HighwayCutIn"
    abilities = (MERGING,)
    run = 75.0
    gap, gap_time = 5.0, 0.2
    slower = 0.6  # of the ego's speed

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Stretches with a lane beside the ego's, on a fast road where there is one."""
        beside = (view.left >= 0) | (view.right >= 0)
        fast = view.clear_places(beside & (view.limit >= HIGHWAY_SPEED), 45.0, 30.0)
        return fast or view.clear_places(beside & (view.limit > 10.0), 45.0, 30.0)

    def appear(self, stage: Stage, s: float) -> Vehicle:
        """A car on the lane beside, level with that place."""
        k = int(self.trigger_s)
        lane = int(stage.view.lanes[k])
        side = 1.0 if stage.view.left[k] >= 0 else -1.0
        offset = side * stage.town.lanes.width_at(lane, 1.0)
        stage.traffic.places.block_lanes([int(stage.view.left[k]), int(stage.view.right[k])])
        return stage.spawn_on_route(CAR, s, 0.8 * stage.ego.speed, lateral=offset, lateral_target=offset)

    def should_start(self, stage: Stage) -> bool:
        """Only with a gap in which braking still helps."""
        return super().should_start(stage) and self._gap(stage) > self.gap

    def start(self, stage: Stage) -> None:
        """It crosses over within two seconds and slows down."""
        self._car.blinker = -1 if self._car.lateral > 0.0 else 1
        self._car.lateral_target, self._car.lateral_rate = 0.0, 2.0
        self._car.desired_speed = max(self.slower * stage.ego.speed, 3.0)

    def is_over(self, stage: Stage) -> bool:
        """It is in the lane and has driven there for some seconds."""
        return abs(self._car.lateral) < 0.1 and self._active_for > 7.0
