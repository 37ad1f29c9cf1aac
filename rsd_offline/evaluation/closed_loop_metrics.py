"""Every closed-loop figure of Bench2Drive 0.0.4 from recorded results, and the corrected variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rsd_offline.evaluation.records import ClosedLoopResults, RouteDescription, records_of, route_number
from rsd_world.score.abilities import (
    ABILITIES,
    AbilityCount,
    RouteVerdict,
    ability_counts,
    mean_ability,
    scenario_counts,
    traffic_sign_passed,
)
from rsd_world.score.benchmark_score import BENCHMARK_ROUTES, benchmark_score, global_record
from rsd_world.score.comfort import ComfortChunk, Motion, comfort_chunks
from rsd_world.score.efficiency import driving_efficiency, percentages, route_efficiency
from rsd_world.score.route_score import is_success, score_route

FirstJunction = tuple[int, int]  # 1-based way point index of the first junction, way points of the route
JunctionLookup = Callable[[RouteDescription], FirstJunction | None]


@dataclass(frozen=True)
class ClosedLoopFigures:
    """`published` has the layout of a bundle's `expected`; `notes` say what is missing."""

    published: dict[str, Any]
    corrected: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def closed_loop_figures(results: ClosedLoopResults, junctions: JunctionLookup | None = None) -> ClosedLoopFigures:
    """Compute all figures that the given results allow.

    `junctions` finds the first junction of a route for the Traffic_Signs rule. Without it the verdicts recorded in
    the bundle are used, and without those a failed route does not count (a note says so).
    """
    notes: list[str] = []
    records = results.records
    signs = _sign_junctions(results, junctions, notes)
    verdicts = _verdicts(results, signs)
    motions = _motions(results, notes)
    published = {
        "statistics_manager": {
            e["route_id"]: _route_scores(e) for e in results.route_events if e.get("has_record", True)
        },
        "statistics_manager_global": {name: _global(name, file) for name, file in results.result_files.items()},
        "merge_route_json": _merged(results),
        "merge_scaled_to_records": _scaled(results),
        "ability_benchmark": _abilities(results, verdicts, notes),
        "ability_counts": _counts(ability_counts(verdicts)),
        "scenario_counts": _counts(scenario_counts(verdicts)),
        "traffic_sign_junctions": signs,
        "efficiency_smoothness_benchmark": _efficiency_comfort(records, motions),
    }
    return ClosedLoopFigures(published, _corrected(results, verdicts, motions), notes)


def _route_scores(route: Mapping[str, Any]) -> dict[str, Any]:
    score = score_route(
        route["events"], route["route_completed"], route.get("failure_message", ""), route.get("route_timeout", False)
    )
    names = ("status", "num_infractions", "score_route", "score_penalty", "score_composed")
    return {name: getattr(score, name) for name in names}


def _global(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    progress = result["_checkpoint"].get("progress") or []
    records = records_of(result, name)
    return {"index": -1, "route_id": -1} | global_record(records, progress[1] if len(progress) > 1 else None)


def _merged(results: ClosedLoopResults) -> dict[str, Any]:
    score = benchmark_score(results.records, BENCHMARK_ROUTES)
    return {
        "driving score": score.driving_score,
        "success rate": score.success_rate,
        "eval num": score.routes,
        "success_routes": sorted(score.successes),
        "record_order": [record["route_id"] for record in results.records],
    }


def _scaled(results: ClosedLoopResults) -> dict[str, float]:
    score = benchmark_score(results.records)
    return {"driving score": score.driving_score, "success rate": score.success_rate}


def _by_route(results: ClosedLoopResults) -> dict[str, Mapping[str, Any]]:
    """Record of each route number; the first in merged order counts, as the public look-up takes it."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in results.records:
        found.setdefault(route_number(record), record)
    return found


def _sign_junctions(
    results: ClosedLoopResults, lookup: JunctionLookup | None, notes: list[str]
) -> dict[str, dict[str, Any]]:
    recorded = results.expected.get("traffic_sign_junctions", {})
    records, verdicts = _by_route(results), {}
    for route in results.routes:
        record = records.get(route.id)
        if record is None or route.scenario not in ABILITIES["Traffic_Signs"]:
            continue
        if is_success(record["status"], record["infractions"]):
            continue
        first = lookup(route) if lookup else None
        if first is None and route.id in recorded:
            first = (recorded[route.id]["first_junction_count"], recorded[route.id]["route_len"])
        if first is None:
            notes.append(
                f"route {route.id}: first junction unknown (no map of {route.town}), not counted for Traffic_Signs"
            )
            continue
        verdicts[route.id] = _sign_verdict(record, first)
    return verdicts


def _sign_verdict(record: Mapping[str, Any], first: FirstJunction) -> dict[str, Any]:
    infringed = bool(record["infractions"]["stop_infraction"] or record["infractions"]["red_light"])
    completion = record["scores"]["score_route"] / 100.0
    return {
        "first_junction_count": first[0],
        "route_len": first[1],
        "junction_completion": (first[0] + 8) / first[1],
        "record_completion": completion,
        "counted": traffic_sign_passed(first[0], first[1], completion, infringed),
    }


def _verdicts(results: ClosedLoopResults, signs: Mapping[str, Mapping[str, Any]]) -> list[RouteVerdict]:
    records = _by_route(results)
    ordered = sorted(results.routes, key=lambda route: route.town)
    return [
        RouteVerdict(
            route.scenario,
            is_success(records[route.id]["status"], records[route.id]["infractions"]),
            bool(signs.get(route.id, {}).get("counted", False)),
        )
        for route in ordered
        if route.id in records
    ]


def _abilities(results: ClosedLoopResults, verdicts: list[RouteVerdict], notes: list[str]) -> dict[str, Any]:
    counts = ability_counts(verdicts)
    if not results.routes:
        notes.append("no route file given: abilities are not available")
    missing = [name for name, count in counts.items() if count.rate is None]
    if results.routes and missing:
        notes.append(
            f"no route of {', '.join(missing)}: not available, left out of the mean (the public tool divides by 0)"
        )
    records = _by_route(results)
    lost = [[r.scenario, r.id] for r in sorted(results.routes, key=lambda r: r.town) if r.id not in records]
    if lost:
        notes.append(f"{len(lost)} route(s) of the route file have no record: {', '.join(id for _, id in lost)}")
    rates = {name: count.rate for name, count in counts.items()}
    return rates | {"mean": None if missing else mean_ability(counts), "crashed": lost}


def _counts(counts: Mapping[str, AbilityCount]) -> dict[str, dict[str, int]]:
    return {name: {"success": count.success, "total": count.total} for name, count in counts.items()}


def _motions(results: ClosedLoopResults, notes: list[str]) -> dict[str, Motion]:
    motions, missing, short = {}, [], []
    for record in results.records:
        name = record["save_name"]
        if name not in results.metric_info:
            missing.append(name)
            continue
        motion = Motion.from_metric_info(results.metric_info[name])
        if len(motion) < 3:
            short.append(name)
        else:
            motions[name] = motion
    if missing:
        notes.append(
            f"{len(missing)} record(s) without metric_info, left out of comfort: {', '.join(map(str, missing[:5]))}"
        )
    if short:
        notes.append(f"{len(short)} record(s) with fewer than 3 frames, left out of comfort: {', '.join(short[:5])}")
    return motions


def _efficiency_comfort(records: list[dict[str, Any]], motions: Mapping[str, Motion]) -> dict[str, Any]:
    entries = {r["save_name"]: percentages(r["infractions"].get("min_speed_infractions", ())) for r in records}
    comfort = {name: _comfort(motion) for name, motion in motions.items()}
    return {
        "driving_efficiency": driving_efficiency(entries.values()),
        "driving_smoothness": _mean([route["value"] for route in comfort.values()]),
        "efficiency_per_route": {name: route_efficiency(values) for name, values in entries.items()},
        "comfort_per_route": comfort,
    }


def _comfort(motion: Motion, corrected: bool = False) -> dict[str, Any]:
    chunks = comfort_chunks(motion, corrected)
    share = sum(chunk.comfortable for chunk in chunks) / len(chunks)
    return {"value": share, "frames": len(motion), "chunks": [_chunk(chunk) for chunk in chunks]}


def _chunk(chunk: ComfortChunk) -> dict[str, Any]:
    criteria = {name: {"ok": ok, "min": low, "max": high} for name, (low, high, ok) in chunk.criteria.items()}
    return {"criteria": criteria, "pass": chunk.comfortable}


def _corrected(
    results: ClosedLoopResults, verdicts: list[RouteVerdict], motions: Mapping[str, Motion]
) -> dict[str, Any]:
    counts = ability_counts(verdicts)
    comfort = _mean([_comfort(motion, corrected=True)["value"] for motion in motions.values()])
    figures = {name.replace(" ", "_"): value for name, value in _scaled(results).items()}
    entries = [percentages(r["infractions"].get("min_speed_infractions", ())) for r in results.records]
    figures |= {"routes": len(results.records), "driving_efficiency": driving_efficiency(entries)}
    figures |= {"comfort_percent": None if comfort is None else 100.0 * comfort, "routes_with_comfort": len(motions)}
    return figures | {
        "abilities": {name: count.rate for name, count in counts.items()},
        "mean_ability": mean_ability(counts),
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
