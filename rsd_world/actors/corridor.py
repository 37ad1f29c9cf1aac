"""What is in a vehicle's way: the nearest obstacle inside the corridor of its path, for all vehicles at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP = 3  # m between window samples
SAMPLES = 24  # of a window: 69 m ahead
MARGIN = 0.35  # m beside the vehicle
_AROUND = np.arange(-3, 4)


@dataclass(frozen=True)
class Corridors:
    """Path windows of V vehicles; sample 0 is within a metre behind the vehicle's centre."""

    points: np.ndarray  # (V, SAMPLES, 2) m
    yaw: np.ndarray  # (V, SAMPLES) rad
    offset: np.ndarray  # (V,) m from sample 0 to the vehicle's centre
    half_length: np.ndarray  # (V,) m
    half_width: np.ndarray  # (V,) m
    ignored: np.ndarray  # (V, N) bool, obstacles that a vehicle does not heed: itself, and what yields to it


@dataclass(frozen=True)
class Obstacles:
    """N things to keep clear of."""

    centers: np.ndarray  # (N, 2) m
    outlines: np.ndarray  # (N, K, 2) m
    velocities: np.ndarray  # (N, 2) m/s


@dataclass(frozen=True)
class Leaders:
    """The nearest obstacle of each vehicle."""

    gap: np.ndarray  # (V,) m from the front bumper, inf = free
    speed: np.ndarray  # (V,) m/s along the vehicle's path
    pace: np.ndarray  # (V,) m/s whichever way
    index: np.ndarray  # (V,) into the obstacles, -1 = none


def find_leaders(corridors: Corridors, obstacles: Obstacles) -> Leaders:
    """The nearest obstacle in each corridor; what is beside or behind the front half of the vehicle does not count."""
    count = len(corridors.offset)
    leaders = Leaders(np.full(count, np.inf), np.zeros(count), np.zeros(count), np.full(count, -1))
    if count == 0 or len(obstacles.centers) == 0:
        return leaders
    vehicle, obstacle, sample = _near_pairs(corridors, obstacles)
    if len(vehicle) == 0:
        return leaders
    along, inside, speed = _in_corridor(corridors, obstacles, vehicle, obstacle, sample)
    ahead = inside & (along > 0.6 * corridors.half_length[vehicle][:, None])
    nearest = np.where(ahead, along, np.inf).min(axis=1) - corridors.half_length[vehicle]
    for k in np.argsort(-nearest, kind="stable"):  # the nearest is written last and stays
        if np.isfinite(nearest[k]):
            leaders.gap[vehicle[k]] = nearest[k]
            leaders.speed[vehicle[k]] = speed[k]
            leaders.pace[vehicle[k]] = np.hypot(*obstacles.velocities[obstacle[k]])
            leaders.index[vehicle[k]] = obstacle[k]
    return leaders


def _near_pairs(corridors: Corridors, obstacles: Obstacles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that may touch: vehicle (M,), obstacle (M,), and the window sample nearest to the latter's centre (M,)."""
    offsets = obstacles.outlines - obstacles.centers[:, None]
    radius = np.sqrt((offsets * offsets).sum(-1).max(axis=1))
    delta = obstacles.centers[None] - corridors.points[:, :1]  # (V, N, 2)
    near = (delta * delta).sum(-1) < (STEP * SAMPLES + radius[None]) ** 2
    vehicle, obstacle = np.nonzero(near & ~corridors.ignored)
    gaps = corridors.points[vehicle] - obstacles.centers[obstacle][:, None]
    squared = gaps[..., 0] ** 2 + gaps[..., 1] ** 2
    sample = squared.argmin(axis=1)
    closest = squared[np.arange(len(sample)), sample]
    touch = closest < (radius[obstacle] + corridors.half_width[vehicle] + MARGIN + 0.5 * STEP) ** 2
    return vehicle[touch], obstacle[touch], sample[touch]


def _in_corridor(
    corridors: Corridors, obstacles: Obstacles, vehicle: np.ndarray, obstacle: np.ndarray, sample: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For M pairs: way along the path (M, K), inside the corridor or not (M, K), speed along the path (M,)."""
    around = np.clip(sample[:, None] + _AROUND, 0, SAMPLES - 1)  # an outline reaches no further than that
    rows = np.arange(len(vehicle))[:, None]
    window, outline = corridors.points[vehicle[:, None], around], obstacles.outlines[obstacle]
    gaps = outline[:, :, None] - window[:, None]  # (M, K, samples around, 2)
    nearest = around[rows, (gaps[..., 0] ** 2 + gaps[..., 1] ** 2).argmin(axis=-1)]  # (M, K)
    yaw = corridors.yaw[vehicle[:, None], nearest]
    delta = outline - corridors.points[vehicle[:, None], nearest]
    cos, sin = np.cos(yaw), np.sin(yaw)
    forward = delta[..., 0] * cos + delta[..., 1] * sin
    lateral = delta[..., 1] * cos - delta[..., 0] * sin
    along = STEP * nearest + forward - corridors.offset[vehicle][:, None]
    inside = (np.abs(lateral) < corridors.half_width[vehicle][:, None] + MARGIN) & (forward < STEP)
    first = np.where(inside, along, np.inf).argmin(axis=1)
    direction = yaw[rows[:, 0], first]
    velocity = obstacles.velocities[obstacle]
    speed = velocity[:, 0] * np.cos(direction) + velocity[:, 1] * np.sin(direction)
    return along, inside, speed


def idm_acceleration(
    speed: np.ndarray,
    desired: np.ndarray,
    gap: np.ndarray,
    leader_speed: np.ndarray,
    minimum_gap: np.ndarray | float = 2.0,
) -> np.ndarray:
    """Intelligent Driver Model (Treiber 2000, improved free term of 2013): m/s^2, all arguments (V,), m and m/s."""
    a, b, headway = 1.8, 2.5, 1.3
    ratio = speed / np.maximum(desired, 0.1)
    slower = a * (1.0 - ratio**4)
    faster = -b * (1.0 - np.maximum(ratio, 1.0) ** (-4.0 * a / b))
    free = np.where(ratio < 1.0, slower, np.maximum(faster * 3.0, -3.0))
    closing = speed - np.maximum(leader_speed, 0.0)
    wish = minimum_gap + np.maximum(0.0, speed * headway + speed * closing / (2.0 * np.sqrt(a * b)))
    pressure = (wish / np.maximum(gap, 0.1)) ** 2
    return np.clip(np.minimum(free, a * (1.0 - np.minimum(ratio, 1.0) ** 4 - pressure)), -8.0, a)
