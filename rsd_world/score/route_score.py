"""Score of one route from its traffic events (leaderboard 2.0 as Bench2Drive 0.0.4 configures it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Event type: key among a record's infractions, factor on the score (None: no fixed factor).
EVENTS: dict[str, tuple[str, float | None]] = {
    "COLLISION_STATIC": ("collisions_layout", 0.65),
    "COLLISION_PEDESTRIAN": ("collisions_pedestrian", 0.5),
    "COLLISION_VEHICLE": ("collisions_vehicle", 0.6),
    "TRAFFIC_LIGHT_INFRACTION": ("red_light", 0.7),
    "STOP_INFRACTION": ("stop_infraction", 0.8),
    "OUTSIDE_ROUTE_LANES_INFRACTION": ("outside_route_lanes", None),
    "MIN_SPEED_INFRACTION": ("min_speed_infractions", None),
    "YIELD_TO_EMERGENCY_VEHICLE": ("yield_emergency_vehicle_infractions", 0.7),
    "SCENARIO_TIMEOUT": ("scenario_timeouts", 0.7),
    "ROUTE_DEVIATION": ("route_dev", None),
    "VEHICLE_BLOCKED": ("vehicle_blocked", None),
}
INFRACTIONS = tuple(name for name, _ in EVENTS.values()) + ("route_timeout",)
FAILURES = {"ROUTE_DEVIATION": "Agent deviated from the route", "VEHICLE_BLOCKED": "Agent got blocked"}
SCORE_DIGITS = 6


@dataclass(frozen=True)
class RouteScore:
    """What the leaderboard's record of one route says."""

    status: str  # Perfect | Completed | Failed[ - reason]
    score_route: float  # route completion, %
    score_penalty: float  # product of the infraction factors, 0 .. 1
    score_composed: float  # driving score of the route, 0 .. 100
    infractions: dict[str, list[str]] = field(default_factory=dict)  # infraction key -> messages

    @property
    def num_infractions(self) -> int:
        """Entries of every kind, min-speed entries included."""
        return sum(map(len, self.infractions.values()))

    @property
    def success(self) -> bool:
        """Completed without any infraction other than min-speed entries."""
        return is_success(self.status, self.infractions)


def is_success(status: str, infractions: Mapping[str, Sequence[Any]]) -> bool:
    """Success of a route as merge_route_json.py and ability_benchmark.py of Bench2Drive decide it."""
    failed = any(entries for name, entries in infractions.items() if name != "min_speed_infractions")
    return status in ("Completed", "Perfect") and not failed


def event_factor(event: Mapping[str, Any]) -> float:
    """Factor of one event on the score; leaving the route's lanes costs its share of the completed route."""
    if event["type"] not in EVENTS:
        raise ValueError(f"unknown event type {event['type']!r}; known: {', '.join(EVENTS)}")
    if event["type"] == "OUTSIDE_ROUTE_LANES_INFRACTION":
        return 1.0 - float(event["percentage"]) / 100.0
    return EVENTS[event["type"]][1] or 1.0


def score_route(
    events: Sequence[Mapping[str, Any]], completion: float, failure: str = "", timed_out: bool = False
) -> RouteScore:
    """Score a route from its events in order.

    `events`: mappings with `type` (a key of EVENTS), `message`, and `percentage` where the type has one. `completion`
    in %. `failure`: why something outside the criteria ended the route; later events override it, as they do there.
    """
    infractions: dict[str, list[str]] = {name: [] for name in INFRACTIONS}
    penalty, reason = 1.0, failure
    if timed_out:
        infractions["route_timeout"].append("Route timeout.")
        reason = "Agent timed out"
    for event in events:
        penalty *= event_factor(event)
        infractions[EVENTS[event["type"]][0]].append(event.get("message", ""))
        reason = FAILURES.get(event["type"], reason)
    count = sum(map(len, infractions.values()))
    return RouteScore(
        status=_status(completion, count, reason),
        score_route=round(completion, SCORE_DIGITS),
        score_penalty=round(penalty, SCORE_DIGITS),
        score_composed=round(max(completion * penalty, 0.0), SCORE_DIGITS),
        infractions=infractions,
    )


def _status(completion: float, infractions: int, reason: str) -> str:
    if completion >= 100:
        return "Completed" if infractions else "Perfect"
    return f"Failed - {reason}" if reason else "Failed"
