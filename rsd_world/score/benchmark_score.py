"""Figures over many routes: the leaderboard's global record and Bench2Drive's driving score and success rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsd_world.score.route_score import INFRACTIONS, SCORE_DIGITS, is_success

BENCHMARK_ROUTES = 220  # routes of Bench2Drive; its tools divide by this whatever was run
SCORES = ("score_composed", "score_route", "score_penalty")
Record = Mapping[str, Any]  # a route record as the leaderboard writes it


@dataclass(frozen=True)
class BenchmarkScore:
    """Driving score and success rate over a set of route records."""

    driving_score: float  # 0 .. 100
    success_rate: float  # 0 .. 1
    routes: int  # records counted
    successes: tuple[str, ...]  # route ids


def benchmark_score(records: Sequence[Record], divisor: int | None = None) -> BenchmarkScore:
    """Driving score and success rate.

    `divisor` None divides by the routes that were run (corrected); BENCHMARK_ROUTES is what merge_route_json.py does.
    """
    count = len(records) if divisor is None else divisor
    if count == 0:
        raise ValueError("no route record to score: the driving score of nothing is not defined")
    successes = tuple(r["route_id"] for r in records if is_success(r["status"], r["infractions"]))
    total = sum(r["scores"]["score_composed"] for r in records)
    return BenchmarkScore(total / count, len(successes) / count, len(records), successes)


def global_record(records: Sequence[Record], total_routes: int | None = None) -> dict[str, Any]:
    """The leaderboard's global record; `total_routes` is the denominator of the means (progress[1] of a result file).

    Infractions are per kilometre driven, leaving the route's lanes in kilometres. Standard deviations are about the
    rounded means over `total_routes` - 1.
    """
    total = len(records) if total_routes is None else total_routes
    means = {key: round(sum(r["scores"][key] / total for r in records), SCORE_DIGITS) for key in SCORES}
    kilometres = sum(r["meta"]["route_length"] / 1000 * r["scores"]["score_route"] / 100 for r in records)
    meta: dict[str, Any] = {
        "total_length": sum(r["meta"]["route_length"] for r in records),
        "duration_game": sum(r["meta"]["duration_game"] for r in records),
        "duration_system": sum(r["meta"]["duration_system"] for r in records),
        "exceptions": [[r["route_id"], r["index"], r["status"]] for r in records if "Failed" in r["status"]],
    }
    return {
        "status": _worst_status(records),
        "infractions": {key: _infraction_rate(records, key, max(kilometres, 0.001)) for key in INFRACTIONS},
        "scores_mean": means,
        "scores_std_dev": {key: _deviation(records, key, means[key], total) for key in SCORES},
        "meta": meta,
    }


def _worst_status(records: Sequence[Record]) -> str:
    if any("Failed" in r["status"] for r in records):
        return "Failed"
    return next((r["status"] for r in records if r["status"] != "Perfect"), "Perfect")


def _deviation(records: Sequence[Record], key: str, mean: float, total: int) -> float:
    if total == 1:
        return 0
    return round((sum((r["scores"][key] - mean) ** 2 for r in records) / (total - 1)) ** 0.5, 3)


def _infraction_rate(records: Sequence[Record], key: str, kilometres: float) -> float:
    if key != "outside_route_lanes":
        return round(sum(len(r["infractions"][key]) for r in records) / kilometres, 3)
    # The message is the only place where the metres are kept: "... lanes for about 17.126 meters (...".
    return round(sum(float(r["infractions"][key][0].split()[8]) / 1000 for r in records if r["infractions"][key]), 3)
