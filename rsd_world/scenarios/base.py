"""What a scenario is: a conflict staged at one place of the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Town
from rsd_world.state import ActorState, EgoVehicle

if TYPE_CHECKING:
    from rsd_world.world import World


class Stage:
    """What a scenario may use of the world."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.rng = rng
        self.town = world.town
        self.route = world.route
        self.tracker = world.tracker
        self.traffic = world.traffic
        self.pedestrians = world.pedestrians
        self.lights = world.lights
        self.props: list[ActorState] = world.props
        self.parked: list[ActorState] = world.parked
        self.next_id = world._next_id
        self._world = world

    @property
    def ego(self) -> EgoVehicle:
        """The ego now."""
        return self._world.dynamics.state

    @property
    def time(self) -> float:
        """s since the episode began."""
        return self._world.time


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
    def places(cls, town: Town, route: Route) -> list[float]:
        """Places on the route, in m along it, where it can be staged."""
        return []

    def setup(self, stage: Stage) -> None:
        """Choose the place and put what stands there from the start."""

    def step(self, stage: Stage, dt: float) -> None:
        """Watch the ego and direct the actors; called before the actors move."""

    def take_infractions(self) -> list[Infraction]:
        """Infractions that the scenario itself found since the last call."""
        found, self._infractions = self._infractions, []
        return found

    def _blame(self, stage: Stage, kind: InfractionKind, detail: str, actor: int | None = None) -> None:
        self._infractions.append(Infraction(kind, stage.time, stage.ego.position, detail, actor=actor))
