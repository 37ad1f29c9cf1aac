"""Which stretch of the ego's path each actor takes, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_world.actors.boxes import box_outlines
from rsd_world.expert.path_following import DrivenPath
from rsd_world.expert.prediction import TIMES, Prediction
from rsd_world.state import ActorKind

CIRCLES = np.array([-0.75, -0.25, 0.25, 0.75])  # places along half the length of a box, covered by one circle each
STATIC_MARGIN = 0.18  # m beside the ego
VEHICLE_MARGIN = 0.35  # m
SOFT_MARGIN = 0.6  # m
DOOR_REACH = 0.85  # m, an open door sticks out


@dataclass(frozen=True)
class Occupancy:
    """Stretch of the path that one actor takes at each of TIMES; inf / -inf where it is clear of it."""

    prediction: Prediction
    low: np.ndarray  # (T,) m along the path
    high: np.ndarray  # (T,) m
    center: np.ndarray  # (T,) m along the path, of its middle wherever it is
    lateral: np.ndarray  # (T,) m left of the path, of its middle
    speed: float  # m/s along the path when it is first on it, negative = towards the ego
    angle: float  # rad, 0 .. pi, between its heading and the path when it is first on it

    @property
    def inside(self) -> np.ndarray:
        """(T,) bool: on the path."""
        return np.isfinite(self.low)


def occupancies(
    path: DrivenPath, predictions: list[Prediction], half_width: float, reach: float = np.inf
) -> list[Occupancy]:
    """Occupancy of every actor that is on the first `reach` m of the ego's path at some time."""
    if not predictions:
        return []
    found = []
    near = [p for p, close in zip(predictions, _close(path, predictions), strict=True) if close]
    for prediction in near:
        occupancy = (
            _standing(path, prediction, half_width, reach)
            if prediction.standing
            else _moving(path, prediction, half_width, reach)
        )
        if occupancy is not None:
            found.append(occupancy)
    return found


def _close(path: DrivenPath, predictions: list[Prediction]) -> np.ndarray:
    """(A,) bool: its middle comes near enough for its box to touch the corridor."""
    centers = np.stack([p.positions[::2] for p in predictions])  # (A, T/2, 2)
    p = path.points[::3]
    flat = centers.reshape(-1, 2)
    squared = (flat * flat).sum(1)[:, None] + (p * p).sum(1)[None] - 2.0 * flat @ p.T
    closest = squared.min(axis=1).reshape(len(predictions), -1).min(axis=1)
    reach = np.array([0.5 * np.hypot(*q.actor.size[:2]) + 3.6 + 0.25 * q.speed for q in predictions])
    return closest < reach**2


def actor_outline(prediction: Prediction) -> np.ndarray:
    """(K, 2) m, map: outline of an actor where it is now, an open left door included."""
    actor = prediction.actor
    outline = box_outlines(actor.position[None, :2], np.array([actor.yaw]), np.array([actor.size[:2]]))[0]
    if actor.door_open > 0.05:
        forward = np.array([np.cos(actor.yaw), np.sin(actor.yaw)])
        left = np.array([-forward[1], forward[0]])
        tip = actor.position[:2] + 0.6 * forward + left * (0.5 * actor.size[1] + DOOR_REACH * actor.door_open)
        outline = np.concatenate([outline, tip[None], tip[None] - 0.8 * forward])
    return outline


def _standing(path: DrivenPath, prediction: Prediction, half_width: float, reach: float) -> Occupancy | None:
    along, lateral, _ = path.project(actor_outline(prediction))
    margin = SOFT_MARGIN if prediction.soft else STATIC_MARGIN
    inside = (np.abs(lateral) < half_width + margin) & (along > -3.0) & (along < min(path.length, reach))
    # Its outline may straddle the corridor without a point inside.
    if not inside.any() and not (
        lateral.min() < 0.0 < lateral.max() and along.max() > -3.0 and along.min() < min(path.length, reach)
    ):
        return None
    chosen = along[inside] if inside.any() else along
    steps = len(TIMES)
    center, aside, heading = path.project(prediction.actor.position[None, :2])
    return Occupancy(
        prediction, np.full(steps, chosen.min()), np.full(steps, chosen.max()), np.full(steps, center[0]),
        np.full(steps, aside[0]), 0.0, _angle(prediction.actor.yaw - heading[0]),
    )  # fmt: skip


def _moving(path: DrivenPath, prediction: Prediction, half_width: float, reach: float) -> Occupancy | None:
    length, width = prediction.actor.size[:2]
    heading = np.stack([np.cos(prediction.yaws), np.sin(prediction.yaws)], axis=-1)
    places = prediction.positions[:, None] + heading[:, None] * (0.5 * length * CIRCLES)[:, None]  # (T, 4, 2)
    radius = float(np.hypot(0.125 * length, 0.5 * width))
    if prediction.actor.kind is ActorKind.PEDESTRIAN:
        places, radius = prediction.positions[:, None], 0.4
    along, lateral, course = path.project(places)
    margin = SOFT_MARGIN if prediction.soft else VEHICLE_MARGIN
    inside = (np.abs(lateral) < half_width + margin + radius) & (along > -6.0) & (along < min(path.length, reach) + 1.0)
    if not inside.any():
        return None
    low = np.where(inside, along - radius, np.inf).min(axis=1)
    high = np.where(inside, along + radius, -np.inf).max(axis=1)
    first = int(np.isfinite(low).argmax())
    center, aside, _ = path.project(prediction.positions)
    angle = _angle(prediction.yaws[first] - course[first].mean())
    return Occupancy(prediction, low, high, center, aside, prediction.speed * float(np.cos(angle)), angle)


def _angle(difference: float) -> float:
    return float(abs((difference + np.pi) % (2.0 * np.pi) - np.pi))
