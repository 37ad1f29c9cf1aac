"""The scenarios by name, and the routes that suit them."""

from __future__ import annotations

from dataclasses import dataclass

from rsd_world.roads.lane_graph import Route
from rsd_world.roads.routes import town_routes
from rsd_world.roads.town import Town
from rsd_world.scenarios.base import Scenario
from rsd_world.scenarios.construction import ConstructionObstacle
from rsd_world.scenarios.emergency import YieldToEmergencyVehicle
from rsd_world.scenarios.junction_flows import (
    NonSignalizedJunctionLeftTurn,
    NonSignalizedJunctionRightTurn,
    SignalizedJunctionLeftTurn,
    SignalizedJunctionRightTurn,
)
from rsd_world.scenarios.lead_vehicles import HardBreakRoute, HighwayCutIn
from rsd_world.scenarios.places import RouteView
from rsd_world.scenarios.roadside import ParkingCutIn, VehicleOpensDoorTwoWays
from rsd_world.scenarios.walkers import DynamicObjectCrossing, PedestrianCrossing

SCENARIOS: tuple[type[Scenario], ...] = (
    PedestrianCrossing,
    DynamicObjectCrossing,
    ParkingCutIn,
    HardBreakRoute,
    VehicleOpensDoorTwoWays,
    ConstructionObstacle,
    NonSignalizedJunctionLeftTurn,
    NonSignalizedJunctionRightTurn,
    SignalizedJunctionLeftTurn,
    SignalizedJunctionRightTurn,
    YieldToEmergencyVehicle,
    HighwayCutIn,
)
POOL, POOL_SEED = 150, 0  # routes of a town that episodes choose from
LENGTHS = (200.0, 500.0)  # m
_pools: dict[int, tuple[Town, list[Route], dict[str, list[int]]]] = {}


@dataclass(frozen=True)
class ScenarioInfo:
    """An entry of the catalogue."""

    name: str
    abilities: tuple[str, ...]  # of Overtaking, Merging, Emergency_Brake, Give_Way, Traffic_Signs
    description: str


def scenario_catalogue() -> tuple[ScenarioInfo, ...]:
    """All scenarios, by name."""
    infos = [ScenarioInfo(s.name, s.abilities, (s.__doc__ or "").split("\n")[0]) for s in SCENARIOS]
    return tuple(sorted(infos, key=lambda info: info.name))


def build_scenario(name: str | None) -> Scenario:
    """A fresh scenario; None gives plain driving. Raises ValueError for an unknown name."""
    if name is None:
        return Scenario()
    return scenario_class(name)()


def scenario_class(name: str) -> type[Scenario]:
    """The class of a scenario. Raises ValueError for an unknown name."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    known = ", ".join(sorted(s.name for s in SCENARIOS))
    raise ValueError(f"unknown scenario {name!r}; available: {known}")


def episode_route(town: Town, scenario: str | None, index: int) -> Route:
    """The route of that index among the town's, or among those that suit the scenario; indices wrap around.

    Raises ValueError for an unknown scenario or one that has no place in the town.
    """
    routes, suited = _pool(town)
    if scenario is None:
        return routes[index % len(routes)]
    if scenario not in suited:
        chosen = scenario_class(scenario)
        suited[scenario] = [k for k, route in enumerate(routes) if chosen.places(RouteView(town, route))]
    if not suited[scenario]:
        raise ValueError(f"scenario {scenario} has no suitable place in town {town.name!r}")
    return routes[suited[scenario][index % len(suited[scenario])]]


def suitable_routes(town: Town, scenario: str) -> int:
    """How many routes of the town's pool suit a scenario."""
    try:
        episode_route(town, scenario, 0)
    except ValueError:
        scenario_class(scenario)
        return 0
    return len(_pool(town)[1][scenario])


def _pool(town: Town) -> tuple[list[Route], dict[str, list[int]]]:
    """Routes of a town, planned once, and which of them suit each scenario asked for so far."""
    if id(town) not in _pools:
        _pools[id(town)] = (town, town_routes(town, POOL, POOL_SEED, *LENGTHS), {})
    return _pools[id(town)][1:]
