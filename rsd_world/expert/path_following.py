"""The way the ego will really take to and along its reference: pure pursuit of a bicycle, by distance."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

REAR_AXLE = -1.43  # m, x in base_link
MAX_CURVATURE = 0.24  # 1/m of the rear axle's path
MAX_CURVATURE_CHANGE = 0.12  # 1/m per m driven, what the steering can follow
STEP = 0.75  # m between path points
REJOIN_ACCELERATION = 2.2  # m/s^2 to the side, on the way back to the line


@dataclass(frozen=True)
class DrivenPath:
    """Path of the ego's centre; index i lies i * STEP m ahead."""

    points: np.ndarray  # (N, 2) m, map
    yaw: np.ndarray  # (N,) rad, heading of the vehicle
    curvature: np.ndarray  # (N,) 1/m of the rear axle, left positive

    @property
    def length(self) -> float:
        """m."""
        return (len(self.points) - 1) * STEP

    def at(self, s: np.ndarray) -> np.ndarray:
        """(..., 2) m, map: places at `s` m along the path."""
        grid = np.arange(len(self.points)) * STEP
        return np.stack([np.interp(s, grid, self.points[:, k]) for k in range(2)], axis=-1)

    def project(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Arc length, left offset and path heading (...,) of places (..., 2) m."""
        flat = positions.reshape(-1, 2)
        p = self.points
        # |a - b|^2 without the large difference tensor
        squared = (p * p).sum(axis=1)[None] - 2.0 * (flat @ p.T)
        nearest = squared.argmin(axis=1)
        delta = flat - p[nearest]
        yaw = self._course[nearest]
        cos, sin = np.cos(yaw), np.sin(yaw)
        along = nearest * STEP + delta[:, 0] * cos + delta[:, 1] * sin
        lateral = delta[:, 1] * cos - delta[:, 0] * sin
        shape = positions.shape[:-1]
        return along.reshape(shape), lateral.reshape(shape), yaw.reshape(shape)

    @functools.cached_property
    def _course(self) -> np.ndarray:
        step = np.gradient(self.points, axis=0)
        return np.arctan2(step[:, 1], step[:, 0])


def way_back(aside: float, ahead: np.ndarray, speed: float) -> np.ndarray:
    """Offsets in m, `ahead` (N,) m of the ego, that lead from `aside` m beside the line back to it without a jerk."""
    if abs(aside) < 0.3:
        return np.zeros(len(ahead))
    # A cosine over this time has a lateral acceleration of at most REJOIN_ACCELERATION.
    seconds = math.pi * math.sqrt(abs(aside) / (2.0 * REJOIN_ACCELERATION))
    length = max(speed * seconds, 2.0 + 2.2 * abs(aside))
    return aside * (0.5 + 0.5 * np.cos(np.pi * np.clip(ahead / length, 0.0, 1.0)))


def lookahead_distance(speed: float) -> float:
    """Distance in m from the rear axle at which the path is aimed at."""
    return min(max(2.0 + 0.42 * speed, 3.2), 10.0)


def follow(
    position: np.ndarray, yaw: float, reference: np.ndarray, speed: float, length: float, curvature: float | None = None
) -> DrivenPath:
    """Roll the bicycle out for `length` m from `position` (2,) m, `yaw` rad along `reference` (R, 2) m, map, 1 m apart.

    The reference starts beside or behind the ego. `curvature` is what the wheels are set to now, None = free to jump.
    """
    targets = reference.tolist()
    ahead = lookahead_distance(speed)
    x, y = position[0] + REAR_AXLE * math.cos(yaw), position[1] + REAR_AXLE * math.sin(yaw)
    bend = 0.0 if curvature is None else curvature
    rows, index, last = [], 0, len(targets) - 1
    for k in range(int(length / STEP) + 1):
        index = _advance(targets, index, last, x, y, ahead)
        wanted = _pursuit(targets[index], x, y, yaw)
        if k or curvature is not None:
            change = MAX_CURVATURE_CHANGE * STEP
            wanted = min(max(wanted, bend - change), bend + change)
        bend = wanted
        rows.append((x - REAR_AXLE * math.cos(yaw), y - REAR_AXLE * math.sin(yaw), yaw, bend))
        middle = yaw + 0.5 * bend * STEP
        x += STEP * math.cos(middle)
        y += STEP * math.sin(middle)
        yaw += bend * STEP
    table = np.array(rows)
    return DrivenPath(table[:, :2], table[:, 2], table[:, 3])


def _advance(targets: list, index: int, last: int, x: float, y: float, ahead: float) -> int:
    squared = ahead * ahead
    while index < last and (targets[index][0] - x) ** 2 + (targets[index][1] - y) ** 2 < squared:
        index += 1
    return index


def _pursuit(target: list, x: float, y: float, yaw: float) -> float:
    dx, dy = target[0] - x, target[1] - y
    cos, sin = math.cos(yaw), math.sin(yaw)
    forward, left = dx * cos + dy * sin, dy * cos - dx * sin
    squared = forward * forward + left * left
    if forward <= 0.0:  # the aim lies behind: turn as tightly as possible
        return math.copysign(MAX_CURVATURE, left)
    return min(max(2.0 * left / max(squared, 0.5), -MAX_CURVATURE), MAX_CURVATURE)
