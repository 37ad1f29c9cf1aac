"""Bench2Drive's five abilities (tools/ability_benchmark.py, 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

JUNCTION_ROUTES = (
    "BlockedIntersection OppositeVehicleTakingPriority OppositeVehicleRunningRedLight PedestrianCrossing "
    "VehicleTurningRoute VehicleTurningRoutePedestrian"
)
TURNS = (
    "NonSignalizedJunctionLeftTurn NonSignalizedJunctionRightTurn NonSignalizedJunctionLeftTurnEnterFlow "
    "SignalizedJunctionLeftTurn SignalizedJunctionRightTurn SignalizedJunctionLeftTurnEnterFlow"
)
ABILITIES: dict[str, frozenset[str]] = {
    name: frozenset(scenarios.split())
    for name, scenarios in {
        "Overtaking": "Accident AccidentTwoWays ConstructionObstacle ConstructionObstacleTwoWays HazardAtSideLane "
        "HazardAtSideLaneTwoWays ParkedObstacle ParkedObstacleTwoWays VehicleOpensDoorTwoWays",
        "Merging": "CrossingBicycleFlow EnterActorFlow HighwayExit InterurbanActorFlow HighwayCutIn "
        "InterurbanAdvancedActorFlow MergerIntoSlowTraffic MergerIntoSlowTrafficV2 ParkingExit SequentialLaneChange "
        + TURNS,
        "Emergency_Brake": "DynamicObjectCrossing HardBreakRoute ParkingCutIn ParkingCrossingPedestrian StaticCutIn "
        "ControlLoss " + JUNCTION_ROUTES,
        "Give_Way": "InvadingTurn YieldToEmergencyVehicle",
        "Traffic_Signs": "EnterActorFlow CrossingBicycleFlow T_Junction VanillaNonSignalizedTurn "
        "VanillaSignalizedTurnEncounterGreenLight VanillaSignalizedTurnEncounterRedLight "
        "VanillaNonSignalizedTurnEncounterStopsign " + JUNCTION_ROUTES + " " + TURNS,
    }.items()
}


@dataclass(frozen=True)
class AbilityCount:
    """Successes over routes of one ability or scenario."""

    success: int
    total: int

    @property
    def rate(self) -> float | None:
        """0 .. 1, None where no route was run."""
        return self.success / self.total if self.total else None


@dataclass(frozen=True)
class RouteVerdict:
    """What an ability needs to know of a route."""

    scenario: str
    success: bool
    passed_junction: bool = False  # `traffic_sign_passed` of a failed route


def traffic_sign_passed(first_junction: int, route_points: int, completion: float, infringed: bool) -> bool:
    """Whether a failed route still counts for Traffic_Signs: the junction lies behind, no light or stop was run.

    `first_junction`: 1-based index of the first way point inside a junction, `route_points`: way points of the route
    (1 m apart); `completion` 0 .. 1. Eight way points are added so that the trigger volume is behind as well.
    """
    return completion > (first_junction + 8) / route_points and not infringed


def ability_counts(routes: Iterable[RouteVerdict]) -> dict[str, AbilityCount]:
    """Successes and routes by ability; a route may count in several, an ability without a route has total 0."""
    counts = {name: [0, 0] for name in ABILITIES}
    for route in routes:
        for name, scenarios in ABILITIES.items():
            if route.scenario in scenarios:
                by_rule = name == "Traffic_Signs" and route.passed_junction
                counts[name][0] += route.success or by_rule
                counts[name][1] += 1
    return {name: AbilityCount(success, total) for name, (success, total) in counts.items()}


def scenario_counts(routes: Iterable[RouteVerdict]) -> dict[str, AbilityCount]:
    """Successes and routes by scenario type, in order of first appearance."""
    counts: dict[str, list[int]] = {}
    for route in routes:
        count = counts.setdefault(route.scenario, [0, 0])
        count[0] += route.success
        count[1] += 1
    return {name: AbilityCount(success, total) for name, (success, total) in counts.items()}


def mean_ability(counts: dict[str, AbilityCount]) -> float | None:
    """Mean over the abilities that have routes (the public tool divides by zero where one has none)."""
    rates = [count.rate for count in counts.values() if count.rate is not None]
    return sum(rates) / len(rates) if rates else None
