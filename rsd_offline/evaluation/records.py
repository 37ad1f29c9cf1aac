"""Closed-loop results on disk: the leaderboard's result files, metric_info folders, route files, recorded bundles."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RouteDescription:
    """A route of a Bench2Drive route file, CARLA coordinates."""

    id: str
    town: str
    scenario: str  # type of its first scenario
    positions: tuple[tuple[float, float, float], ...]  # m, CARLA world


@dataclass(frozen=True)
class ClosedLoopResults:
    """Everything one evaluation needs; `expected` is empty unless the file says what public tools made of it."""

    result_files: dict[str, dict[str, Any]]  # file name -> what the leaderboard wrote
    routes: tuple[RouteDescription, ...] = ()
    metric_info: dict[str, Any] = field(default_factory=dict)  # save_name -> step -> vectors
    route_events: tuple[dict[str, Any], ...] = ()  # events of each route, to score it from scratch
    expected: dict[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of all files, by falling route id as merge_route_json.py leaves them."""
        merged = [record for name in sorted(self.result_files) for record in records_of(self.result_files[name], name)]
        return sorted(merged, key=lambda record: record["route_id"], reverse=True)


def records_of(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The route records of one result file, checked; raises ValueError naming file, record and key."""
    try:
        records = result["_checkpoint"]["records"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} is no leaderboard result: it lacks _checkpoint.records") from error
    for index, record in enumerate(records):
        for key in ("route_id", "status", "infractions", "scores", "save_name"):
            if key not in record:
                raise ValueError(f"{name}: record {index} lacks {key!r}")
        for key in ("score_composed", "score_route", "score_penalty"):
            score = record["scores"].get(key)
            if not isinstance(score, int | float) or not math.isfinite(score):
                raise ValueError(
                    f"{name}: record {index} ({record['route_id']}) has {key} {score!r}, expected a number"
                )
    return records


def route_number(record: Mapping[str, Any]) -> str:
    """Route id within the route file: RouteScenario_<id>_rep<n> -> <id>."""
    parts = str(record["route_id"]).split("_")
    if len(parts) < 2:
        raise ValueError(f"route_id {record['route_id']!r} is not of the form RouteScenario_<id>_rep<n>")
    return parts[1]


def parse_routes(xml: str) -> tuple[RouteDescription, ...]:
    """Read a route file's text; raises ValueError where it is no route file."""
    try:
        root = ElementTree.fromstring(xml)
        return tuple(_parse_route(route) for route in root.findall("route"))
    except (ElementTree.ParseError, AttributeError, TypeError) as error:
        raise ValueError(f"not a Bench2Drive route file: {error}") from error


def _parse_route(route: ElementTree.Element) -> RouteDescription:
    scenario = route.find("scenarios/scenario")
    if scenario is None:
        raise ValueError(f"route {route.get('id')} names no scenario")
    positions = tuple(
        (float(p.get("x")), float(p.get("y")), float(p.get("z"))) for p in route.findall("waypoints/position")
    )
    return RouteDescription(str(route.get("id")), str(route.get("town")), str(scenario.get("type")), positions)


def read_results(
    paths: Iterable[Path], routes: Path | None = None, metric_info: Path | None = None
) -> ClosedLoopResults:
    """Read recorded bundles (layout of `inputs` and `expected`) or result files; a folder stands for its *.json.

    `routes`: route file, `metric_info`: folder with <save_name>/metric_info.json; each fills what a bundle lacks.
    """
    loaded = {path.name: _load(path) for path in _result_paths(paths)}
    bundles = {name: content for name, content in loaded.items() if "inputs" in content}
    if bundles and len(loaded) > 1:
        raise ValueError(f"a recorded bundle stands alone, got {', '.join(loaded)}; give one file at a time")
    results = _from_bundle(*bundles.values()) if bundles else ClosedLoopResults(loaded)
    return ClosedLoopResults(
        results.result_files,
        parse_routes(routes.read_text()) if routes else results.routes,
        results.metric_info | (_read_metric_info(results, metric_info) if metric_info else {}),
        results.route_events,
        results.expected,
    )


def _result_paths(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.json")) if path.is_dir() else [path]
    # merge_route_json.py leaves its sum beside the parts.
    found = [path for path in found if path.name != "merged.json"] or found
    if not found:
        raise ValueError("no result file found; give *.json files or a folder that holds some")
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def _from_bundle(bundle: Mapping[str, Any]) -> ClosedLoopResults:
    inputs = bundle["inputs"]
    return ClosedLoopResults(
        result_files=dict(inputs.get("result_files", {})),
        routes=parse_routes(inputs["routes_xml"]) if inputs.get("routes_xml") else (),
        metric_info=dict(inputs.get("metric_info", {})),
        route_events=tuple(inputs.get("routes", ())),
        expected=dict(bundle.get("expected", {})),
    )


def _read_metric_info(results: ClosedLoopResults, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; metric_info is read from <folder>/<save_name>/metric_info.json")
    files = {r["save_name"]: folder / str(r["save_name"]) / "metric_info.json" for r in results.records}
    return {name: _load(path) for name, path in files.items() if path.is_file()}
