"""Score of drives in the embedded world, by the same functions that score Bench2Drive's result files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsd_world.infractions import InfractionKind
from rsd_world.record import DriveRecord
from rsd_world.score import SCORE_VERSION
from rsd_world.score.abilities import (
    ABILITIES,
    RouteVerdict,
    ability_counts,
    mean_ability,
    scenario_counts,
)
from rsd_world.score.comfort import Motion, route_comfort
from rsd_world.score.efficiency import route_efficiency
from rsd_world.score.route_score import EVENTS, RouteScore, event_factor, score_route

PLAIN_DRIVING = "PlainDriving"
_EVENT_OF = {key: event for event, (key, _) in EVENTS.items()}
_FAILURES = {"blocked": "Agent got blocked", "off_route": "Agent deviated from the route", "running": "stopped early"}


@dataclass(frozen=True)
class EpisodeScore:
    """One drive, scored."""

    scenario: str  # scenario name, PLAIN_DRIVING without one
    route: RouteScore
    penalties: dict[str, float]  # infraction key -> factor on the score, of the kinds that occurred
    efficiency: float | None  # %, None before the first check point
    comfort: float | None  # 0 .. 1, corrected variant; None for less than 3 ticks, or where left out
    comfort_as_published: float | None
    passed_junction: bool  # a failed drive that still counts for Traffic_Signs

    @property
    def driving_score(self) -> float:
        """0 .. 100."""
        return self.route.score_composed

    @property
    def route_completion(self) -> float:
        """%."""
        return self.route.score_route

    @property
    def success(self) -> bool:
        """Completed without an infraction other than min-speed entries."""
        return self.route.success

    @property
    def collided(self) -> bool:
        """Any collision."""
        return any(key.startswith("collisions_") for key in self.penalties)

    @property
    def abilities(self) -> tuple[str, ...]:
        """Bench2Drive's abilities that this scenario counts for."""
        return tuple(name for name, scenarios in ABILITIES.items() if self.scenario in scenarios)


def score_episode(drive: Any, comfort: bool = True) -> EpisodeScore:
    """Score a `DriveRecord`, or anything with a `record()` that gives one (a World).

    Comfort takes nearly all of the time, the more the longer the drive: while one is under way, it can be left out.
    """
    record: DriveRecord = drive if isinstance(drive, DriveRecord) else drive.record()
    completion = 100.0 if record.outcome == "completed" else min(100.0 * record.completion, 99.999999)
    events = [event for infraction in record.infractions if (event := _event(infraction)) is not None]
    timed_out = record.outcome == "timeout"
    route = score_route(events, completion, _FAILURES.get(record.outcome, ""), timed_out)
    penalties: dict[str, float] = {}
    for event in events:
        key = EVENTS[event["type"]][0]
        if (factor := event_factor(event)) != 1.0:
            penalties[key] = penalties.get(key, 1.0) * factor
    speeds = [
        i.percentage for i in record.infractions if i.kind is InfractionKind.MIN_SPEED and i.percentage is not None
    ]
    return EpisodeScore(
        scenario=record.scenario or PLAIN_DRIVING,
        route=route,
        penalties=penalties,
        efficiency=route_efficiency(speeds),
        comfort=_comfort(record, corrected=True) if comfort else None,
        comfort_as_published=_comfort(record, corrected=False) if comfort else None,
        passed_junction=_passed_junction(record, route),
    )


def _event(infraction: Any) -> dict[str, Any] | None:
    if infraction.kind is InfractionKind.ROUTE_TIMEOUT:
        return None  # told by the outcome; the leaderboard keeps it apart from the events as well
    event: dict[str, Any] = {"type": _EVENT_OF[infraction.kind.value], "message": infraction.detail}
    if infraction.kind is InfractionKind.OUTSIDE_LANES:
        event["percentage"] = infraction.percentage or 0.0
    return event


def _comfort(record: DriveRecord, corrected: bool) -> float | None:
    if len(record.time) < 3:
        return None
    motion = Motion(
        record.acceleration[:, :2],
        record.forward_vector[:, :2],
        record.right_vector[:, :2],
        np.degrees(record.angular_velocity[:, 2]),
    )
    return route_comfort(motion, corrected, record.dt)


def _passed_junction(record: DriveRecord, route: RouteScore) -> bool:
    if route.success or record.junction_progress is None or record.route_length <= 0.0:
        return False
    infringed = bool(route.infractions["red_light"] or route.infractions["stop_infraction"])
    margin = 8.0 / record.route_length  # eight way points of 1 m, as `abilities.traffic_sign_passed`
    return route.score_route / 100.0 > record.junction_progress + margin and not infringed


def aggregate(scores: Sequence[EpisodeScore]) -> dict[str, Any]:
    """Table over drives: means over the drives that were run, abilities and scenarios with their counts.

    Raises ValueError for no drive. A figure that no drive has is None.
    """
    if not scores:
        raise ValueError("no drive to aggregate: run at least one episode")
    verdicts = [RouteVerdict(s.scenario, s.success, s.passed_junction) for s in scores]
    counts = ability_counts(verdicts)
    return {
        "version": SCORE_VERSION,
        "drives": len(scores),
        "driving_score": _mean([s.driving_score for s in scores]),
        "route_completion": _mean([s.route_completion for s in scores]),
        "success_rate": _mean([float(s.success) for s in scores]),
        "collision_rate": _mean([float(s.collided) for s in scores]),
        "efficiency": _mean([s.efficiency for s in scores]),
        "comfort": _mean([s.comfort for s in scores]),
        "comfort_as_published": _mean([s.comfort_as_published for s in scores]),
        "infractions": _infractions_per_drive(scores),
        "abilities": {name: {"success": c.success, "total": c.total, "rate": c.rate} for name, c in counts.items()},
        "mean_ability": mean_ability(counts),
        "scenarios": _by_scenario(scores, verdicts),
    }


def _by_scenario(scores: Sequence[EpisodeScore], verdicts: Sequence[RouteVerdict]) -> dict[str, dict[str, Any]]:
    counts = scenario_counts(verdicts)
    means = {name: _mean([s.driving_score for s in scores if s.scenario == name]) for name in counts}
    return {n: {"success": c.success, "total": c.total, "driving_score": means[n]} for n, c in counts.items()}


def _infractions_per_drive(scores: Sequence[EpisodeScore]) -> dict[str, float]:
    keys = [key for key in scores[0].route.infractions if key != "min_speed_infractions"]
    return {key: sum(len(s.route.infractions[key]) for s in scores) / len(scores) for key in keys}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
