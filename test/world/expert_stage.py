"""A bare stage for the expert's tests: a town, a route, an ego and whatever actors a test puts there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rsd_model.contracts import VehicleControl
from rsd_world.actors.boxes import box_corners_2d, boxes_overlap
from rsd_world.dynamics import EgoDynamics
from rsd_world.expert.expert import Expert
from rsd_world.roads.routes import town_routes
from rsd_world.roads.towns import load_town
from rsd_world.route_tracker import RouteTracker
from rsd_world.state import ActorKind, ActorState, LightState, Snapshot


class Stage:
    """Answers what the expert asks of a World; actors drive straight on at constant velocity."""

    def __init__(self, town="alder", route=0, seed=0, lights=LightState.GREEN):
        self.town = load_town(town)
        self.route = town_routes(self.town, route + 1, seed)[route]
        self.tracker = RouteTracker(self.route)
        self.dynamics = EgoDynamics()
        self.time = 0.0
        self.actors: list[ActorState] = []
        self.lights = {light.id: lights for light in self.town.lights}
        self.place_ego(0.0)

    def place_ego(self, s, lateral=0.0, turn=0.0, speed=0.0):
        position, yaw = self.tracker.pose(s, lateral)
        self.dynamics.reset(position, yaw + turn, speed)
        self.tracker.reset(position)
        self._snap()

    def add_actor(self, kind, s, lateral, size=(4.5, 1.8, 1.5), along=0.0, aside=0.0, turn=0.0, **state):
        """An actor at route coordinates with a velocity (along, aside) m/s relative to the route there."""
        position, yaw = self.tracker.pose(s, lateral)
        c, n = np.cos(yaw), np.sin(yaw)
        velocity = np.array([along * c - aside * n, along * n + aside * c])
        if kind is ActorKind.PEDESTRIAN and velocity.any():
            yaw = np.arctan2(velocity[1], velocity[0])
        actor = ActorState(len(self.actors) + 1, kind, position, yaw + turn, size, velocity, **state)
        self.actors.append(actor)
        self._snap()
        return actor

    @property
    def progress(self):
        return self.tracker.completion

    def actor_path(self, actor):
        state = self.actors[actor - 1]
        speed = float(np.hypot(*state.velocity))
        direction = state.velocity / speed if speed > 0.1 else np.array([np.cos(state.yaw), np.sin(state.yaw)])
        return state.position[:2] + np.arange(41.0)[:, None] * direction

    def step(self, control: VehicleControl, dt=0.1):
        self.dynamics.step(control, dt)
        self.time += dt
        self.actors = [replace(a, position=a.position + np.array([*a.velocity, 0.0]) * dt) for a in self.actors]
        self.tracker.update(self.dynamics.state.position)
        self._snap()

    def _snap(self):
        self.snapshot = Snapshot(round(self.time * 10), self.time, self.dynamics.state, tuple(self.actors), self.lights)


def touches(stage):
    ego = stage.snapshot.ego
    box = box_corners_2d(ego.position[None, :2], np.array([ego.yaw]), np.array([ego.size[:2]]))[0]
    others = [
        box_corners_2d(a.position[None, :2], np.array([a.yaw]), np.array([a.size[:2]])) for a in stage.snapshot.actors
    ]
    return bool(others) and bool(boxes_overlap(box, np.concatenate(others)).any())


def drive(stage, seconds, expert=None, until=lambda stage: False):
    """Drive on; returns speeds, lateral offsets, reasons, and whether anything was touched."""
    expert = expert or Expert(stage)
    speeds, laterals, reasons, touched = [], [], [], False
    for _ in range(int(seconds / 0.1)):
        plan = expert.plan()
        stage.step(plan.control)
        speeds.append(stage.snapshot.ego.speed)
        laterals.append(stage.tracker.lateral)
        reasons.append(plan.reason)
        touched |= touches(stage)
        if until(stage):
            break
    return np.array(speeds), np.array(laterals), reasons, touched
