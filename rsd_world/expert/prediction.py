"""Where other road users will be: along the way they mean to go, at the speed they have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rsd_world.state import ActorKind, ActorState, LightState

if TYPE_CHECKING:
    from rsd_world.world import World

TIMES = np.arange(0.0, 6.01, 0.25)  # s
STILL = 0.25  # m/s, below it an actor counts as standing
BRAKING = 2.0  # m/s^2 assumed of a vehicle ahead whose brake lights are on, and of one that has to stop at a line
SOFT = (ActorKind.PEDESTRIAN, ActorKind.BICYCLE)


@dataclass(frozen=True)
class Prediction:
    """One actor over TIMES."""

    actor: ActorState
    positions: np.ndarray  # (T, 2) m, map
    yaws: np.ndarray  # (T,) rad
    speed: float  # m/s now
    path: np.ndarray  # (P, 2) m, map: the way it means to go, from where it is

    @property
    def standing(self) -> bool:
        """It does not move."""
        return self.speed < STILL

    @property
    def soft(self) -> bool:
        """A person on foot or on a bicycle."""
        return self.actor.kind in SOFT


def predict_actors(world: World, radius: float = 60.0) -> list[Prediction]:
    """Predictions of all actors within `radius` m of the ego."""
    ego = world.snapshot.ego
    near = [a for a in world.snapshot.actors if np.hypot(*(a.position[:2] - ego.position[:2])) < radius]
    room = _room_to_stop_line(world, near)
    stops = [float(np.cos(a.yaw - ego.yaw)) > 0.5 for a in near]
    return [_predict(world, a, limit, stop) for a, limit, stop in zip(near, room, stops, strict=True)]


def give_way_assumed(world: World, predictions: list[Prediction], actors: set[int]) -> list[Prediction]:
    """The same predictions, but the given actors brake because they see the ego in their way."""
    return [
        _predict(world, replace(p.actor, braking=True), np.inf, stops=True)
        if p.actor.id in actors and not p.standing
        else p
        for p in predictions
    ]


def _predict(world: World, actor: ActorState, room: float, stops: bool) -> Prediction:
    position = actor.position[:2]
    speed = float(np.hypot(*actor.velocity))
    path = position[None]
    if speed < STILL:
        if actor.kind is ActorKind.PEDESTRIAN:
            path = np.concatenate([path, world.actor_path(actor.id)])
        still = np.broadcast_to(position, (len(TIMES), 2))
        return Prediction(actor, still, np.full(len(TIMES), actor.yaw), speed, path)
    # Who crosses or comes the other way may brake for a moment only: it is expected as soon as it can be here.
    brakes = stops and actor.braking and actor.kind is not ActorKind.PEDESTRIAN
    travelled = _travel(speed, brakes, room)
    path = _path_from(position, actor, world.actor_path(actor.id))
    step = np.diff(path, axis=0)
    length = np.linalg.norm(step, axis=1)
    along = np.concatenate([[0.0], np.cumsum(length)])
    positions = np.stack([np.interp(travelled, along, path[:, k]) for k in range(2)], axis=1)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    yaws = np.interp(travelled, 0.5 * (along[1:] + along[:-1]), heading)
    yaws[0] = actor.yaw
    return Prediction(actor, positions, yaws, speed, path)


def _travel(speed: float, brakes: bool, room: float) -> np.ndarray:
    """(T,) m driven; who brakes does so to rest, and it comes to rest within `room` m where it can."""
    slowing = np.minimum(TIMES, speed / BRAKING)
    free = speed * slowing - 0.5 * BRAKING * slowing**2 if brakes else speed * TIMES
    return np.minimum(free, max(room, 0.0)) if speed**2 / 10.0 < room else free


def _path_from(position: np.ndarray, actor: ActorState, path: np.ndarray) -> np.ndarray:
    """The intended path moved sideways onto the actor, prolonged straight past its end."""
    direction = actor.velocity / max(float(np.hypot(*actor.velocity)), 0.1)
    if len(path) < 2:
        return np.stack([position, position + 60.0 * direction])
    nearest = int(((path[:8] - position) ** 2).sum(axis=1).argmin())
    ahead = path[nearest:] + (position - path[nearest]) * np.exp(-0.1 * np.arange(len(path) - nearest))[:, None]
    keep = (ahead - position) @ direction > 0.3
    keep[int(keep.argmax()) :] = keep.any()
    ahead = np.concatenate([position[None], ahead[keep]])
    if actor.kind is ActorKind.PEDESTRIAN:
        return ahead if len(ahead) > 1 else np.stack([position, position + direction])
    last = ahead[-1] - ahead[-2] if len(ahead) > 1 else direction
    return np.concatenate([ahead, ahead[-1:] + 60.0 * last / max(float(np.hypot(*last)), 1e-6)])


def _room_to_stop_line(world: World, actors: list[ActorState]) -> list[float]:
    """m from each vehicle's front to a line at which it has to stop, inf = none."""
    rooms = [np.inf] * len(actors)
    moving = [
        k
        for k, a in enumerate(actors)
        if a.kind is not ActorKind.PEDESTRIAN and not a.siren and np.hypot(*a.velocity) > STILL
    ]
    if not moving:
        return rooms
    graph = world.town.lanes
    found = graph.nearest_many(
        np.array([actors[k].position[:2] for k in moving]), np.array([actors[k].yaw for k in moving]), 4.0
    )
    governed = {lane: light.id for light in world.town.lights for lane in light.lanes}
    signs = {lane for sign in world.town.stop_signs for lane in sign.lanes}
    for k, lane, s in zip(moving, found.lanes.tolist(), found.s.tolist(), strict=True):
        held = lane in signs
        if lane in governed:
            held = world.snapshot.lights.get(governed[lane]) in (LightState.RED, LightState.YELLOW)
        if held and lane >= 0:
            rooms[k] = graph.length(lane) - s - 0.5 * actors[k].size[0]
    return rooms
