"""What a drive is blamed for, by the names of Bench2Drive's result files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class InfractionKind(StrEnum):
    """Values are the keys of `infractions` in a Bench2Drive result file."""

    COLLISION_STATIC = "collisions_layout"
    COLLISION_PEDESTRIAN = "collisions_pedestrian"
    COLLISION_VEHICLE = "collisions_vehicle"
    RED_LIGHT = "red_light"
    STOP_SIGN = "stop_infraction"
    OUTSIDE_LANES = "outside_route_lanes"
    MIN_SPEED = "min_speed_infractions"
    YIELD_EMERGENCY = "yield_emergency_vehicle_infractions"
    SCENARIO_TIMEOUT = "scenario_timeouts"
    ROUTE_DEVIATION = "route_dev"
    BLOCKED = "vehicle_blocked"
    ROUTE_TIMEOUT = "route_timeout"

    @property
    def is_collision(self) -> bool:
        """True for the three collision kinds."""
        return self.value.startswith("collisions_")


@dataclass(frozen=True)
class Infraction:
    """One event of a drive."""

    kind: InfractionKind
    time: float  # s since the episode began
    position: np.ndarray  # (3,) m, map, where the ego was
    detail: str  # what happened, in words
    percentage: float | None = None  # OUTSIDE_LANES: of the way driven; MIN_SPEED: of the traffic's speed
    actor: int | None = None  # id of the actor, light or sign
