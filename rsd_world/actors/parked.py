"""Parked cars at the roadside, and other things that stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rsd_world.actors.catalogue import pick_color, pick_vehicle
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Town
from rsd_world.state import ActorState

TAKEN = 0.45  # share of the spots with a car
NEAR_ROUTE = 40.0  # m, spots further off stay empty


def parked_cars(town: Town, route: Route, rng: np.random.Generator, next_id: Callable[[], int]) -> list[ActorState]:
    """Cars on a seeded share of the parking spots along the route."""
    cars = []
    coarse = route.points[::5, :2]
    for spot in town.parking:
        chosen, blueprint = rng.random() < TAKEN, pick_vehicle(rng, cars_only=True)
        color, shift = pick_color(rng, blueprint.kind), rng.uniform(-0.3, 0.3)
        if not chosen or ((coarse - spot.position[:2]) ** 2).sum(-1).min() > NEAR_ROUTE**2:
            continue
        along = np.array([np.cos(spot.yaw), np.sin(spot.yaw), 0.0])
        cars.append(
            ActorState(
                next_id(),
                blueprint.kind,
                spot.position + shift * along,
                spot.yaw,
                blueprint.size,
                np.zeros(2),
                color=color,
                parked=True,
            )
        )
    return cars
