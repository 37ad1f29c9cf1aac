"""All rules together: they watch each step, write down infractions and end the drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsd_world.infractions import InfractionKind
from rsd_world.roads.town import Town
from rsd_world.rules.collisions import CollisionRule
from rsd_world.rules.moment import Moment
from rsd_world.rules.progress_rules import EndRule, PaceRule
from rsd_world.rules.road_rules import LaneRule, RedLightRule, StopSignRule

if TYPE_CHECKING:
    from rsd_world.world import World

NEAR_TRAFFIC = 100.0  # m, traffic whose pace the ego is compared with


class Referee:
    """Keeps the rules' state between steps."""

    def __init__(self, town: Town, route_length: float) -> None:
        self._collisions = CollisionRule(town)
        self._events = (RedLightRule(town), StopSignRule(town), PaceRule())
        self._lanes = LaneRule(town.lanes)
        self._end = EndRule(route_length)

    @property
    def time_limit(self) -> float:
        """s, after which the drive times out."""
        return self._end.time_limit

    def moved(self) -> None:
        """The ego was put somewhere else."""
        self._collisions.clear()

    def check(self, world: World, before: np.ndarray) -> InfractionKind | None:
        """Judge a step: extends `world.infractions`, sets `world.outcome`; gives the kind of a new contact."""
        moment = Moment(
            world.time, world.episode.dt, world.snapshot.ego, before, world.tracker, world.snapshot.lights,
            world.snapshot.actors, _traffic_speed(world), world.scenario.ego_may_leave_lane,
        )  # fmt: skip
        contacts = self._collisions.check(moment)
        world.infractions += contacts
        for rule in self._events:
            world.infractions += rule.check(moment)
        self._lanes.check(moment, world.infractions)
        world.infractions += world.scenario.take_infractions()
        world.outcome, ending = self._end.check(moment)
        world.infractions += ending
        if world.outcome != "running":
            self._lanes.settle(world.infractions)
        return contacts[0].kind if contacts else None


def _traffic_speed(world: World) -> float | None:
    ego = world.snapshot.ego.position
    speeds = [
        v.speed
        for v in world.traffic.vehicles
        if not (v.pinned or v.parked) and np.hypot(*(v.position[:2] - ego[:2])) < NEAR_TRAFFIC
    ]
    return float(np.mean(speeds)) if speeds else None
