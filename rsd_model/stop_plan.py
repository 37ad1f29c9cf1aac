"""Bringing the vehicle to a stop on its last good path, and carrying a plan on to a later instant. No ROS in here."""

from __future__ import annotations

import math

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS, PLAN_STEPS
from rsd_model.geometry import transform_points

SUBSTEPS = 25  # of a step, to follow a braking vehicle
STEP_TIMES = np.arange(1, PLAN_STEPS + 1) * PLAN_STEP_SECONDS


def carry_path(path: np.ndarray, pose_then: np.ndarray, pose_now: np.ndarray) -> np.ndarray:
    """Points (P, 2) m of base_link at `pose_then` expressed in base_link at `pose_now` (both (4, 4) to map)."""
    return transform_points(_flat_inverse(pose_now) @ _flat(pose_then), path)


def advance_trajectory(trajectory: np.ndarray, age: float, pose_then: np.ndarray, pose_now: np.ndarray) -> np.ndarray:
    """(6, 2) what is left of a plan `age` s old, in base_link of now; past its end it goes on at its last velocity."""
    points = np.vstack([np.zeros((1, 2)), trajectory])
    times = np.concatenate([[0.0], STEP_TIMES])
    velocity = (points[-1] - points[-2]) / PLAN_STEP_SECONDS
    wanted = STEP_TIMES + age
    later = np.stack([np.interp(wanted, times, points[:, k]) for k in range(2)], axis=1)
    later += np.maximum(wanted - times[-1], 0.0)[:, None] * velocity
    return carry_path(later, pose_then, pose_now)


def stopping_trajectory(path: np.ndarray, speed: float, deceleration: float) -> np.ndarray:
    """(6, 2) m, base_link, at 0.5 .. 3 s: braking from `speed` m/s at `deceleration` m/s^2 on `path` (P, 2).

    Starts at the vehicle, joins the part of the path that lies ahead, goes on straight where the path is too short.
    """
    speed = max(float(speed), 0.0)
    time = np.minimum(STEP_TIMES, speed / deceleration)
    distances = speed * time - 0.5 * deceleration * time**2
    return _along(path_ahead(path), distances)


def stop_within(trajectory: np.ndarray, speed: float, distance: float, deceleration: float) -> np.ndarray:
    """(6, 2) the trajectory, slowed so that it comes to a stop `distance` m ahead: never faster than planned.

    Nowhere is it faster than a vehicle may be that stops there by braking at `deceleration` m/s^2, or harder where that
    does not do from the `speed` m/s of now. One that stands further back drives up to that place.
    """
    points = np.vstack([np.zeros((1, 2)), trajectory])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if steps.sum() <= distance:
        return trajectory
    return _along(points, _braked(steps / PLAN_STEP_SECONDS, float(speed), max(float(distance), 0.0), deceleration))


def _braked(planned: np.ndarray, speed: float, distance: float, deceleration: float) -> np.ndarray:
    """(6,) m travelled at no more than the `planned` (6,) m/s of each step, to a stop after `distance` m."""
    deceleration = max(deceleration, 0.5 * speed**2 / max(distance, 1e-3))
    travelled, along = 0.0, []
    for step in planned.tolist():
        for _ in range(SUBSTEPS):
            possible = math.sqrt(2.0 * deceleration * (distance - travelled))
            travelled = min(travelled + min(step, possible) * PLAN_STEP_SECONDS / SUBSTEPS, distance)
        along.append(travelled)
    return np.array(along)


def path_ahead(path: np.ndarray) -> np.ndarray:
    """The vehicle's place followed by the points of the path that are still ahead of it."""
    passed = np.flatnonzero(path[:, 0] <= 0.1)
    rest = path[passed[-1] + 1 :] if len(passed) else path
    return np.vstack([np.zeros((1, 2)), rest])


def _along(points: np.ndarray, distances: np.ndarray) -> np.ndarray:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    moving = np.concatenate([[True], steps > 1e-3])
    points = points[moving]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    direction = points[-1] - points[-2] if len(points) > 1 else np.array([1.0, 0.0])
    direction = direction / np.linalg.norm(direction)
    result = np.stack([np.interp(distances, along, points[:, k]) for k in range(2)], axis=1)
    return result + np.maximum(distances - along[-1], 0.0)[:, None] * direction


def _flat(pose: np.ndarray) -> np.ndarray:
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    flat = np.eye(4)
    flat[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    flat[:2, 3] = pose[:2, 3]
    return flat


def _flat_inverse(pose: np.ndarray) -> np.ndarray:
    return np.linalg.inv(_flat(pose))
