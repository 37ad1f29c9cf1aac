"""Blind drivers for the simulation's tests: they follow the route and look at nothing."""

from __future__ import annotations

import numpy as np

from rsd_model.contracts import VehicleControl
from rsd_world.world import World


def follow_route(world: World, speed: float) -> VehicleControl:
    """Pure pursuit of the route at a constant speed in m/s."""
    ego = world.snapshot.ego
    route = world.route_ahead(20.0)
    reach = int(min(3.0 + 0.4 * ego.speed, len(route) - 1))
    target = route[reach]
    curvature = 2.0 * target[1] / max(float(target @ target), 1.0)
    wheel = np.arctan(curvature * world.dynamics.parameters.wheelbase)
    full = abs(world.dynamics.wheel_angle(1.0, ego.speed))
    error = speed - ego.speed
    throttle = float(np.clip(0.35 + 0.4 * error, 0.0, 0.75)) if error > -0.5 else 0.0
    return VehicleControl(
        throttle, float(np.clip(-wheel / full, -1.0, 1.0)), float(np.clip(-0.3 * error - 0.1, 0.0, 1.0))
    )
