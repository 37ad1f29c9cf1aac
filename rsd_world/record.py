"""What the scoring needs to know of a drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_world.infractions import Infraction
from rsd_world.state import EgoVehicle


@dataclass(frozen=True)
class DriveRecord:
    """A drive so far, in map (right-handed); Bench2Drive's metric_info holds the same left-handed and in degrees."""

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


class DriveLog:
    """Collects the ego's motion step by step."""

    def __init__(self) -> None:
        self._time: list[float] = []
        self._rows: list[tuple[float, ...]] = []

    def add(self, time: float, ego: EgoVehicle) -> None:
        """One more step."""
        self._time.append(time)
        self._rows.append((*ego.position, ego.yaw, ego.speed, ego.acceleration, ego.lateral_acceleration, ego.yaw_rate))

    def arrays(self) -> dict[str, np.ndarray]:
        """The per-step fields of `DriveRecord`."""
        rows = np.array(self._rows).reshape(-1, 8)
        yaw, along, aside = rows[:, 3], rows[:, 5:6], rows[:, 6:7]
        zeros = np.zeros_like(yaw)
        forward = np.stack([np.cos(yaw), np.sin(yaw), zeros], axis=-1)
        right = np.stack([np.sin(yaw), -np.cos(yaw), zeros], axis=-1)
        return {
            "time": np.array(self._time),
            "location": rows[:, :3],
            "yaw": yaw,
            "speed": rows[:, 4],
            "acceleration": along * forward - aside * right,
            "angular_velocity": np.stack([zeros, zeros, rows[:, 7]], axis=-1),
            "forward_vector": forward,
            "right_vector": right,
        }
