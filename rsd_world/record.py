"""What the scoring needs to know of a drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_world.infractions import Infraction


@dataclass(frozen=True)
class DriveRecord:
    """A drive so far. Map frame (right-handed); Bench2Drive's metric_info holds the same quantities left-handed, in degrees."""

    town: str
    route: int
    scenario: str | None
    weather: str
    seed: int
    outcome: str  # completed | blocked | timeout | off_route | running
    duration: float  # s
    route_length: float  # m
    completion: float  # 0 .. 1
    infractions: tuple[Infraction, ...]
    dt: float  # s between two rows below
    time: np.ndarray  # (T,) s
    location: np.ndarray  # (T, 3) m
    yaw: np.ndarray  # (T,) rad
    speed: np.ndarray  # (T,) m/s, forward
    acceleration: np.ndarray  # (T, 3) m/s^2, map axes
    angular_velocity: np.ndarray  # (T, 3) rad/s, map axes
    forward_vector: np.ndarray  # (T, 3)
    right_vector: np.ndarray  # (T, 3)
    junction_progress: float | None  # completion at which the route enters its first junction, None = it has none
    scenario_abilities: tuple[str, ...] = ()
