"""Privileged risk teacher: how dangerous each actor is to the ego as it means to drive, and why, in plain words.

Risk grows as an actor's predicted way comes near the ego's in space and time. Who is hidden, who has or takes the right
of way, and who is unprotected weighs more. The order of the risks means more than their values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsd_world.actors.boxes import box_corners_2d
from rsd_world.expert.occupancy import Occupancy, occupancies
from rsd_world.expert.path_following import DrivenPath, follow, way_back
from rsd_world.expert.prediction import TIMES, Prediction, predict_actors
from rsd_world.expert.route_reference import RouteReference
from rsd_world.roads.lane_graph import Route
from rsd_world.state import ActorKind, LightState

if TYPE_CHECKING:
    from rsd_world.world import World

RANGE = 50.0  # m
LOWEST_SPEED = 3.0  # m/s, a standing ego is judged as if it drove off
HARDEST_BRAKING = 6.0  # m/s^2
SOFT_WEIGHT = 1.25  # a person on foot or on a bicycle against a vehicle
HIDDEN_WEIGHT = 1.2
NAMES = {
    ActorKind.PEDESTRIAN: "pedestrian", ActorKind.BICYCLE: "cyclist", ActorKind.AMBULANCE: "emergency vehicle",
    ActorKind.TRAFFIC_CONE: "traffic cone", ActorKind.BARRIER: "barrier",
}  # fmt: skip


@dataclass(frozen=True)
class RiskAssessment:
    """What the teacher says of one actor."""

    id: int
    risk: float  # 0 .. 1
    crosses_ego_path: bool  # its predicted way meets the ego's path
    cause: str  # one line in plain words


@dataclass(frozen=True)
class _Scene:
    """The ego's intended motion and what may hide actors from it."""

    path: DrivenPath
    arrival: np.ndarray  # (T,) m along the path at TIMES, at the present speed
    speed: float  # m/s
    position: np.ndarray  # (2,) m, map
    half_length: float
    half_width: float
    hiding: list[tuple[int, np.ndarray]]  # id and (4, 2) corners of tall boxes


def assess_risk(world: World) -> list[RiskAssessment]:
    """Risk of every actor within RANGE m of the ego, most dangerous first. The world stays as it is."""
    predictions = predict_actors(world, RANGE)
    scene = _scene(world, predictions)
    on_path = {o.prediction.actor.id: o for o in occupancies(scene.path, predictions, scene.half_width)}
    found = [_assess(scene, p, on_path.get(p.actor.id)) for p in predictions]
    return sorted(found, key=lambda a: (-a.risk, a.id))


def stop_line_risks(world: World, reach: float = RANGE) -> list[tuple[np.ndarray, float]]:
    """Stop lines of red and yellow lights on the ego's route ahead: ends (2, 2) m in base_link, and risk.

    For dense risk maps. Risk rises as the braking that is left to stop at the line does.
    """
    ego, reference = world.snapshot.ego, route_reference(world)
    here, _ = reference.project(ego.position[:2], world.progress * reference.end)
    found = []
    for line in reference.stop_lines:
        distance = line.s - here - 0.5 * ego.size[0]
        state = world.snapshot.lights.get(line.light, LightState.OFF) if line.light is not None else LightState.OFF
        if state not in (LightState.RED, LightState.YELLOW) or not -0.5 < distance < reach:
            continue
        index = min(int(line.s), len(reference.points) - 1)
        across = reference.normals[index] * reference.half_width[index]
        ends = np.stack([reference.points[index] - across, reference.points[index] + across]) - ego.position[:2]
        cos, sin = math.cos(ego.yaw), math.sin(ego.yaw)
        needed = max(ego.speed, 1.0) ** 2 / (2.0 * max(distance, 0.5))
        risk = float(np.clip(0.35 + 0.65 * needed / HARDEST_BRAKING, 0.0, 1.0))
        found.append((ends @ np.array([[cos, -sin], [sin, cos]]), risk if state is LightState.RED else 0.7 * risk))
    return found


# One reference line per route; a route does not change and is kept with its line.
_REFERENCES: dict[int, tuple[Route, RouteReference]] = {}


def route_reference(world: World) -> RouteReference:
    """The reference line of the world's route, built once."""
    key = id(world.route)
    if key not in _REFERENCES:
        if len(_REFERENCES) > 16:
            _REFERENCES.clear()
        _REFERENCES[key] = (world.route, RouteReference(world.town, world.route))
    return _REFERENCES[key][1]


def _scene(world: World, predictions: list[Prediction]) -> _Scene:
    ego, reference = world.snapshot.ego, route_reference(world)
    here, aside = reference.project(ego.position[:2], world.progress * reference.end)
    speed = max(ego.speed, LOWEST_SPEED)
    first = max(int(here) - 3, 0)
    # Beside its route the ego means to come back to it further on, not to turn round to where it left it.
    offset = way_back(aside, np.arange(first, len(reference.points)) - here, speed)
    line = reference.points[first:] + offset[:, None] * reference.normals[first:]
    path = follow(ego.position[:2], ego.yaw, line, speed, min(7.0 * speed + 15.0, RANGE + 15.0))
    tall = [p.actor for p in predictions if p.actor.size[2] > 1.2 and p.actor.size[0] > 2.0]
    corners = box_corners_2d(
        np.array([a.position[:2] for a in tall]).reshape(-1, 2),
        np.array([a.yaw for a in tall]),
        np.array([a.size[:2] for a in tall]).reshape(-1, 2),
    )
    hiding = [(a.id, c) for a, c in zip(tall, corners, strict=True)]
    length, width, _ = ego.size
    return _Scene(path, speed * TIMES, speed, ego.position[:2], 0.5 * length, 0.5 * width, hiding)


def _assess(scene: _Scene, prediction: Prediction, occupancy: Occupancy | None) -> RiskAssessment:
    actor = prediction.actor
    place, aside, _ = (float(v[0]) for v in scene.path.project(actor.position[None, :2]))
    steps_out = occupancy is None and _way_meets_path(scene, prediction)
    if occupancy is not None:
        risk = _conflict_risk(scene, occupancy)
    elif steps_out:
        gap = max(place - scene.half_length, 0.0)
        aside_left = max(abs(aside) - scene.half_width, 0.0)
        risk = 0.55 * math.exp(-gap / 22.0 - aside_left / (5.0 if prediction.standing else 12.0))
    else:
        risk = _passing_risk(scene, prediction)
    hidden = _hidden(scene, prediction)
    weight = (SOFT_WEIGHT if prediction.soft else 1.0) * (HIDDEN_WEIGHT if hidden and (occupancy or steps_out) else 1.0)
    if actor.siren and not prediction.standing:
        risk = max(risk, 0.45 * math.exp(-max(abs(place) - 10.0, 0.0) / 40.0))
    risk = 1.0 - (1.0 - min(risk, 0.98)) ** weight
    crosses = steps_out or (occupancy is not None and not _follows(scene, occupancy))
    return RiskAssessment(
        actor.id, round(float(risk), 4), crosses, _cause(scene, prediction, occupancy, steps_out, hidden, place, aside)
    )


def _conflict_risk(scene: _Scene, occupancy: Occupancy) -> float:
    """From the braking that avoids it, and from how closely the two miss each other in time."""
    now_inside = bool(occupancy.inside[0])
    first = int(np.isfinite(occupancy.low).argmax())
    if _follows(scene, occupancy):
        return _follower_risk(scene, occupancy)
    gap = max(float(occupancy.low[first]) - scene.half_length, 0.2)
    closing = scene.speed - occupancy.speed if occupancy.angle < 0.8 or occupancy.angle > 2.4 else scene.speed
    if now_inside and occupancy.speed > 0.3 and occupancy.angle < 0.8:
        needed = max(closing, 0.0) ** 2 / (2.0 * gap)
        headway = gap / scene.speed
        return _squash(needed / HARDEST_BRAKING, 0.30 * math.exp(-headway / 1.6))
    miss = _time_between(scene, occupancy)
    needed = closing**2 / (2.0 * gap) if closing > 0.0 else 0.0
    return _squash(needed / HARDEST_BRAKING, 0.15) * math.exp(-((miss / 2.2) ** 2))


def _follows(scene: _Scene, occupancy: Occupancy) -> bool:
    return bool(occupancy.center[0] < -scene.half_length and occupancy.angle < 0.8)


def _follower_risk(scene: _Scene, occupancy: Occupancy) -> float:
    gap = max(-float(occupancy.center[0]) - 2.0 * scene.half_length, 0.3)
    closing = max(occupancy.speed - scene.speed, 0.0)
    return min(0.03 + 0.3 * closing**2 / (2.0 * gap) / HARDEST_BRAKING, 0.4)


def _squash(share: float, floor: float) -> float:
    """0 .. 1 from a share of the hardest braking; half of it already means 0.6."""
    return floor + (1.0 - floor) * (1.0 - math.exp(-1.9 * share))


def _time_between(scene: _Scene, occupancy: Occupancy) -> float:
    """s between the ego and the actor at the place that both use, 0 = at the same time; beyond the horizon large."""
    inside = np.flatnonzero(occupancy.inside)
    low, high = occupancy.low[inside], occupancy.high[inside]
    arrives = (low - scene.half_length) / scene.speed
    leaves = (high + scene.half_length) / scene.speed
    return float(np.maximum(np.maximum(arrives - TIMES[inside], TIMES[inside] - leaves), 0.0).min())


def _passing_risk(scene: _Scene, prediction: Prediction) -> float:
    """Of what stays off the path: by the closest approach, and by how soon."""
    along, aside, _ = scene.path.project(prediction.positions)
    clearance = np.abs(aside) - scene.half_width - 0.5 * prediction.actor.size[1]
    ahead = (along > -4.0) & (along < scene.path.length)
    if not ahead.any():
        return 0.01
    apart = np.hypot(
        np.maximum(clearance, 0.0), 0.35 * np.maximum(np.abs(along - scene.arrival) - scene.half_length, 0.0)
    )
    nearest = float(apart[ahead].min())
    fast = min(prediction.speed / 10.0, 1.0)
    return (0.10 + 0.10 * fast) * math.exp(-nearest / 2.5) + 0.01


def _way_meets_path(scene: _Scene, prediction: Prediction) -> bool:
    """Its intended way crosses the path ahead, though not within the horizon at its present speed."""
    if len(prediction.path) < 2 or not prediction.soft:
        return False
    along, aside, _ = scene.path.project(prediction.path[:16])
    return bool(((np.abs(aside) < scene.half_width + 0.4) & (along > 0.0) & (along < scene.path.length - 1.0)).any())


def _hidden(scene: _Scene, prediction: Prediction) -> bool:
    """A tall box stands between the ego's front cameras and the actor."""
    target = prediction.actor.position[:2]
    if prediction.actor.size[2] > 2.2:
        return False
    for actor, corners in scene.hiding:
        if actor != prediction.actor.id and _segment_hits(scene.position, target, corners):
            return True
    return False


def _segment_hits(a: np.ndarray, b: np.ndarray, corners: np.ndarray) -> bool:
    """The segment a b crosses a convex quadrilateral that holds neither end."""
    direction = b - a
    side = direction[0] * (corners[:, 1] - a[1]) - direction[1] * (corners[:, 0] - a[0])
    if side.min() > 0.0 or side.max() < 0.0:
        return False
    share = (corners - a) @ direction / max(float(direction @ direction), 1e-6)
    return bool(0.05 < share.mean() < 0.97)


def _cause(
    scene: _Scene,
    prediction: Prediction,
    occupancy: Occupancy | None,
    steps_out: bool,
    hidden: bool,
    place: float,
    aside: float,
) -> str:
    actor = prediction.actor
    name = NAMES.get(actor.kind, actor.kind.value)
    where = _where(place, aside, scene.half_length)
    veil = ", hidden behind a vehicle" if hidden else ""
    if actor.siren and not prediction.standing and place < 0.0:
        return f"{name} with its siren on comes from behind, {where}"
    if occupancy is None:
        if steps_out:
            return f"{name} {'waiting' if prediction.standing else 'about'} to cross the ego's way {where}{veil}"
        return f"{name} {'standing' if prediction.standing else 'moving'} beside the ego's way {where}"
    if prediction.standing:
        door = " with its door open" if actor.door_open > 0.05 else ""
        return f"{name}{door} stands in the ego's way {where}"
    if occupancy.angle < 0.8:
        if place < -scene.half_length:
            return f"{name} follows behind, {where}"
        if occupancy.inside[0]:
            braking = "braking " if actor.braking else ""
            return f"{braking}{name} ahead in the ego's lane {where}"
        return f"{name} moves into the ego's lane {where}{veil}"
    if occupancy.angle > 2.4:
        return f"oncoming {name} in the ego's way {where}"
    verb = "stepping onto" if actor.kind is ActorKind.PEDESTRIAN else "crossing"
    return f"{name} {verb} the ego's way {where}{veil}"


def _where(place: float, aside: float, half_length: float) -> str:
    if place > half_length:
        return f"{place - half_length:.0f} m ahead"
    if place < -half_length:
        return f"{-place - half_length:.0f} m behind"
    return "on the left" if aside > 0.0 else "on the right"
