"""The scenarios by name, and the routes that suit them."""

from __future__ import annotations

from dataclasses import dataclass

from rsd_world.roads.lane_graph import Route
from rsd_world.roads.routes import town_routes
from rsd_world.roads.town import Town
from rsd_world.scenarios.base import Scenario

SCENARIOS: tuple[type[Scenario], ...] = ()


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
    routes = town_routes(town, 40, 0, 150.0, 400.0)
    if scenario is not None:
        chosen = scenario_class(scenario)
        routes = [route for route in routes if chosen.places(town, route)]
        if not routes:
            raise ValueError(f"scenario {scenario} has no suitable place in town {town.name!r}")
    return routes[index % len(routes)]
