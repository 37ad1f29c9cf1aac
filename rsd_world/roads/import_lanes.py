"""OpenDRIVE to a lane graph, through the offline `carla.Map` of the `carla` wheel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsd_model.contracts import Command
from rsd_model.geometry import carla_to_map_point, wrap_angle
from rsd_world.roads.lane_graph import Lane, LaneGraph
from rsd_world.roads.opendrive import LaneSection, OpenDriveError, OpenDriveMap

STRAIGHT_LIMIT = math.radians(35.0)  # CARLA's planner takes less heading change than this for STRAIGHT
_END_GAP = 1e-3  # m kept from both ends of a lane section, so that a query falls into it
_SHORTEST_LANE = 0.3  # m; shorter lanes are passed through
_PAVED = {"driving", "parking", "shoulder", "bidirectional", "biking", "stop", "entry", "exit", "onRamp", "offRamp"}

LaneKey = tuple[int, int, int]  # road, lane section, signed lane id


@dataclass(frozen=True)
class Strip:
    """One paved lane of any type: its centre in reference-line direction."""

    type: str
    road: int
    lane: int  # signed OpenDRIVE id
    junction: int
    points: np.ndarray  # (P, 3) m, map
    widths: np.ndarray  # (P,) m


@dataclass(frozen=True)
class ImportedRoads:
    """Lane graph and paved surface of one OpenDRIVE file."""

    graph: LaneGraph
    strips: tuple[Strip, ...]


def import_roads(source: OpenDriveMap) -> ImportedRoads:
    """Sample all driving lanes about 1 m apart and link them; raises OpenDriveError, or ImportError without `carla`."""
    carla_map = _carla_map(source)
    lanes: dict[LaneKey, Lane] = {}
    ends: dict[LaneKey, Any] = {}
    strips = []
    for section, lane_id in _lanes(source):
        samples = _samples(carla_map, section, lane_id)
        if not samples:
            continue
        strips.append(_strip(section, lane_id, samples))
        if section.lane_types[lane_id] == "driving":
            key = (section.road, section.index, lane_id)
            lanes[key] = _lane(len(lanes), section, lane_id, samples)
            ends[key] = samples[-1 if lane_id < 0 else 0]
    if not lanes:
        raise OpenDriveError(f"{source.name}: no lane of type driving")
    return ImportedRoads(LaneGraph(_link(lanes, ends, source)), tuple(strips))


def _carla_map(source: OpenDriveMap) -> Any:
    try:
        import carla
    except ImportError as error:
        raise ImportError("importing OpenDRIVE needs the `carla` and `shapely` packages: pip install 'rsd[opendrive]'") from error
    try:
        return carla.Map(source.name, source.text)
    except RuntimeError as error:
        raise OpenDriveError(f"{source.name}: carla.Map cannot read it ({error})") from error


def _lanes(source: OpenDriveMap) -> Iterator[tuple[LaneSection, int]]:
    for section in source.sections:
        if "driving" not in section.lane_types.values():
            continue  # railway tracks, footways
        for lane_id, kind in section.lane_types.items():
            if kind in _PAVED:
                yield section, lane_id


def _samples(carla_map: Any, section: LaneSection, lane_id: int) -> list[Any]:
    """Waypoints along the reference line; empty where the lane cannot be sampled (no length)."""
    length = section.end - section.start - 2.0 * _END_GAP
    if length <= 0.0:
        return []
    stations = np.linspace(section.start + _END_GAP, section.end - _END_GAP, max(2, math.ceil(length) + 1))
    samples = [carla_map.get_waypoint_xodr(section.road, lane_id, float(s)) for s in stations]
    return [] if any(sample is None for sample in samples) else samples


def _points(samples: list[Any]) -> np.ndarray:
    locations = [sample.transform.location for sample in samples]
    return carla_to_map_point(np.array([[at.x, at.y, at.z] for at in locations]))


def _strip(section: LaneSection, lane_id: int, samples: list[Any]) -> Strip:
    widths = np.array([sample.lane_width for sample in samples])
    kind = section.lane_types[lane_id]
    return Strip(kind, section.road, lane_id, section.junction, _points(samples), widths)


def _lane(number: int, section: LaneSection, lane_id: int, samples: list[Any]) -> Lane:
    ordered = samples if lane_id < 0 else samples[::-1]
    points = _points(ordered)
    middle = ordered[len(ordered) // 2]
    change = str(middle.lane_change)
    lane = Lane(
        id=number, points=points, widths=np.array([sample.lane_width for sample in ordered]), successors=(),
        predecessors=(), left=-1, right=-1, opposite=-1, left_marking=_marking(middle.left_lane_marking),
        right_marking=_marking(middle.right_lane_marking), left_change=change in ("Left", "Both"),
        right_change=change in ("Right", "Both"), junction=section.junction, turn=Command.LANEFOLLOW,
        speed_limit=section.speed_limit, road=section.road, opendrive_lane=lane_id,
    )  # fmt: skip
    return replace(lane, turn=_turn(lane)) if section.junction >= 0 else lane


def _marking(marking: Any) -> str:
    kind = str(marking.type)
    if kind in ("SolidBroken", "BrokenSolid", "BrokenBroken", "BottsDots"):
        return "Broken"
    if kind in ("Curb", "Grass"):
        return "Solid"
    return kind if kind in ("Broken", "Solid", "SolidSolid") else "None"


def _turn(lane: Lane) -> Command:
    change = float(wrap_angle(lane.headings[-1] - lane.headings[0]))
    if abs(change) < STRAIGHT_LIMIT:
        return Command.STRAIGHT
    return Command.LEFT if change > 0 else Command.RIGHT


def _link(lanes: dict[LaneKey, Lane], ends: dict[LaneKey, Any], source: OpenDriveMap) -> tuple[Lane, ...]:
    """Join ends to starts; drop lanes too short to matter and number the rest anew."""
    kept = [key for key, lane in lanes.items() if lane.length >= _SHORTEST_LANE]
    number = {key: i for i, key in enumerate(kept)}
    successors = {key: [number[to] for to in _successors(key, ends, lanes, set(number))] for key in kept}
    predecessors: dict[int, list[int]] = {i: [] for i in number.values()}
    for key, targets in successors.items():
        for target in targets:
            predecessors[target].append(number[key])
    neighbours = _neighbours(source, number)
    return tuple(
        replace(
            lanes[key], id=i, **_joined(lanes[key], [lanes[kept[to]] for to in successors[key]]),
            successors=tuple(successors[key]), predecessors=tuple(sorted(predecessors[i])), **neighbours[key],
            left_change=lanes[key].left_change and neighbours[key]["left"] >= 0,
            right_change=lanes[key].right_change and neighbours[key]["right"] >= 0,
        )
        for key, i in number.items()
    )  # fmt: skip


def _successors(key: LaneKey, ends: dict[LaneKey, Any], lanes: dict[LaneKey, Lane], kept: set[LaneKey]) -> list[LaneKey]:
    """Keys of the kept lanes that follow, walking through lanes that were dropped."""
    found: list[LaneKey] = []
    for following in ends[key].next(3.0 * _END_GAP):
        target = (following.road_id, following.section_id, following.lane_id)
        if target == key or target not in lanes:
            continue
        found += [target] if target in kept else _successors(target, ends, lanes, kept)
    return sorted(set(found))


def _joined(lane: Lane, following: list[Lane]) -> dict[str, np.ndarray]:
    """Points and widths of a lane, led up to the start of what follows across the gap that a dropped lane leaves."""
    if not following:
        return {"points": lane.points, "widths": lane.widths}
    target = following[0].points[0]
    gap = float(np.linalg.norm(target - lane.points[-1]))
    if gap < 0.05:
        return {"points": np.concatenate([lane.points[:-1], target[None]]), "widths": lane.widths}
    if gap > 2.0 * _SHORTEST_LANE:
        return {"points": lane.points, "widths": lane.widths}
    return {"points": np.concatenate([lane.points, target[None]]), "widths": np.append(lane.widths, lane.widths[-1])}


def _neighbours(source: OpenDriveMap, number: dict[LaneKey, int]) -> dict[LaneKey, dict[str, int]]:
    found = {}
    for section in source.sections:
        here = {lane_id: number.get((section.road, section.index, lane_id), -1) for lane_id in section.lane_types}
        for lane_id, lane in here.items():
            if lane < 0:
                continue
            side = 1 if lane_id > 0 else -1
            facing = [other for other in here if other * side < 0 and here[other] >= 0]
            opposite = here[min(facing, key=abs)] if facing else -1
            left, right = here.get(lane_id - side, -1), here.get(lane_id + side, -1)
            found[(section.road, section.index, lane_id)] = {"left": left, "right": right, "opposite": opposite}
    return found
