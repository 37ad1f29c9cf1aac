"""What a scenario is: a conflict staged at one place of the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsd_world.actors.catalogue import Blueprint
from rsd_world.actors.vehicle import Vehicle
from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.scenarios.places import RouteView
from rsd_world.state import ActorKind, ActorState, EgoVehicle

if TYPE_CHECKING:
    from rsd_world.world import World

OVERTAKING, MERGING, EMERGENCY_BRAKE = "Overtaking", "Merging", "Emergency_Brake"
GIVE_WAY, TRAFFIC_SIGNS = "Give_Way", "Traffic_Signs"


class Stage:
    """What a scenario may use of the world."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.rng = rng
        self.town = world.town
        self.view = RouteView(world.town, world.route)
        self.tracker = world.tracker
        self.traffic = world.traffic
        self.pedestrians = world.pedestrians
        self.lights = world.lights
        self.props: list[ActorState] = world.props
        self.parked: list[ActorState] = world.parked
        self.next_id = world.next_id
        self._world = world

    @property
    def ego(self) -> EgoVehicle:
        """The ego now."""
        return self._world.dynamics.state

    @property
    def time(self) -> float:
        """s since the episode began."""
        return self._world.time

    def distance_to(self, s: float) -> float:
        """m along the route from the ego's front to `s`."""
        return s - self.tracker.s - 0.5 * self.ego.size[0]

    def spawn_on_route(self, blueprint: Blueprint, s: float, speed: float, **directions: object) -> Vehicle:
        """A directed vehicle at `s` m of the route, following its lanes."""
        lanes, place = self.view.chain(s)
        return self.traffic.spawn(blueprint, lanes, place, speed, pinned=True, **directions)

    def add_prop(self, kind: ActorKind, size: tuple[float, float, float], s: float, lateral: float) -> ActorState:
        """Something that stands at `s` m of the route, `lateral` m left of it."""
        position, yaw = self.view.tracker.pose(s, lateral)
        prop = ActorState(self.next_id(), kind, position, yaw, size, np.zeros(2), color=(0.9, 0.3, 0.05))
        self.props.append(prop)
        return prop

    def clear_parked(self, s: float, radius: float) -> None:
        """Take parked cars away around a place of the route."""
        center = self.view.tracker.pose(s)[0][:2]
        self.parked[:] = [p for p in self.parked if np.hypot(*(p.position[:2] - center)) > radius]

    def close_to_traffic(self, start: float, end: float, radius: float) -> None:
        """Plain traffic keeps out of the route's lanes between two places, and out of a circle around the second."""
        self.traffic.avoid({int(i) for i in self.view.lanes[int(max(start, 0.0)) : int(end) + 1]})
        self.traffic.close(self.view.tracker.pose(end)[0][:2], radius)


class Scenario:
    """Plain driving; the scenarios derive from it."""

    name = ""
    abilities: tuple[str, ...] = ()
    timeout = 60.0  # s that it may be active before it counts as failed

    def __init__(self) -> None:
        self.trigger_s: float | None = None  # m along the route, where its conflict lies
        self.active = False
        self.finished = False
        self.key_actors: tuple[int, ...] = ()  # ids of the actors that make the conflict
        self.ego_may_leave_lane = False  # the way past leads over the other lane
        self._infractions: list[Infraction] = []
        self._active_for = 0.0

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Places on the route, in m along it, where it can be staged."""
        return []

    def setup(self, stage: Stage) -> None:
        """Choose the place and put what stands there from the start. Raises ValueError where the route has none."""
        if not self.name:
            return
        places = self.places(stage.view)
        if not places:
            raise ValueError(f"scenario {self.name} has no suitable place on this route of town {stage.town.name!r}")
        self.trigger_s = float(places[int(stage.rng.integers(len(places)))])
        self.prepare(stage)

    def step(self, stage: Stage, dt: float) -> None:
        """Watch the ego and direct the actors; called before the actors move."""
        if not self.name or self.finished:
            return
        if not self.active:
            self.approach(stage, dt)
            if not self.finished and self.should_start(stage):
                self.active = True
                self.start(stage)
            return
        self._active_for += dt
        self.evolve(stage, dt)
        if not self.finished and self.is_over(stage):
            self._end(stage)
        elif self._active_for > self.timeout:
            self._blame(stage, InfractionKind.SCENARIO_TIMEOUT, f"{self.name} not passed in {self.timeout:.0f} s")
            self._end(stage)

    def take_infractions(self) -> list[Infraction]:
        """Infractions that the scenario itself found since the last call."""
        found, self._infractions = self._infractions, []
        return found

    def prepare(self, stage: Stage) -> None:
        """Put what stands at the place from the start."""

    def approach(self, stage: Stage, dt: float) -> None:
        """Each step before the conflict starts."""

    def should_start(self, stage: Stage) -> bool:
        """The ego is near enough for the conflict to start."""
        raise NotImplementedError

    def start(self, stage: Stage) -> None:
        """The conflict starts."""

    def evolve(self, stage: Stage, dt: float) -> None:
        """Each step while it is active."""

    def is_over(self, stage: Stage) -> bool:
        """The ego is 15 m past the place."""
        return stage.tracker.s > self.trigger_s + 15.0

    def finish(self, stage: Stage) -> None:
        """Hand its actors back to plain traffic."""

    def _end(self, stage: Stage) -> None:
        self.finished, self.active, self.ego_may_leave_lane = True, False, False
        self.finish(stage)
        stage.traffic.reopen()

    def _blame(self, stage: Stage, kind: InfractionKind, detail: str, actor: int | None = None) -> None:
        self._infractions.append(Infraction(kind, stage.time, stage.ego.position, detail, actor=actor))


def release_vehicle(vehicle: Vehicle) -> None:
    """A directed vehicle becomes plain traffic."""
    vehicle.pinned = vehicle.assertive = vehicle.siren = vehicle.parked = False
    vehicle.yields_to_ego = True
    vehicle.desired_speed = vehicle.forced_acceleration = vehicle.blinker = None
