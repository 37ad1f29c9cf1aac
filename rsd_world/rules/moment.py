"""What a rule may look at in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsd_world.route_tracker import RouteTracker
from rsd_world.state import ActorState, EgoVehicle, LightState


@dataclass(frozen=True)
class Moment:
    """The world after one step."""

    time: float  # s
    dt: float  # s
    ego: EgoVehicle
    before: np.ndarray  # (3,) m, where the ego was one step ago
    tracker: RouteTracker
    lights: dict[int, LightState]
    actors: Sequence[ActorState]
    traffic_speed: float | None  # m/s, mean of the moving traffic near the ego, None = no traffic
    may_leave_lane: bool  # the scenario asks for the other lane
