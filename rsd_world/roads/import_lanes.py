"""OpenDRIVE to a lane graph, through the offline `carla.Map` of the `carla` wheel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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


class _Neighbours(NamedTuple):
    left: int
    right: int
    opposite: int


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
        raise ImportError(
            "importing OpenDRIVE needs the `carla` and `shapely` packages: pip install '.[opendrive]'"
        ) from error
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
    """Join ends to starts; fold lanes too short to matter into their neighbours and number the rest anew."""
    onward = {key: _following(key, ends, lanes) for key in lanes}
    kept = [key for key, lane in lanes.items() if lane.length >= _SHORTEST_LANE]
    number = {key: i for i, key in enumerate(kept)}
    whole = _fold_short(lanes, onward, number)
    successors = {key: [number[to] for to in _through_short(key, onward, number)] for key in kept}
    predecessors: dict[int, list[int]] = {i: [] for i in number.values()}
    for key, targets in successors.items():
        for target in targets:
            predecessors[target].append(number[key])
    neighbours = _neighbours(source, number)
    return tuple(
        replace(
            whole[key], id=i, points=_closed(whole[key].points, [whole[kept[to]] for to in successors[key]]),
            successors=tuple(successors[key]), predecessors=tuple(sorted(predecessors[i])),
            left=neighbours[key].left, right=neighbours[key].right, opposite=neighbours[key].opposite,
            left_change=lanes[key].left_change and neighbours[key].left >= 0,
            right_change=lanes[key].right_change and neighbours[key].right >= 0,
        )
        for key, i in number.items()
    )  # fmt: skip


def _following(key: LaneKey, ends: dict[LaneKey, Any], lanes: dict[LaneKey, Lane]) -> list[LaneKey]:
    """Keys of all lanes that begin where this one ends."""
    found = {(at.road_id, at.section_id, at.lane_id) for at in ends[key].next(3.0 * _END_GAP)}
    return sorted(target for target in found if target != key and target in lanes)


def _through_short(key: LaneKey, onward: dict[LaneKey, list[LaneKey]], kept: dict[LaneKey, int]) -> list[LaneKey]:
    """Keys of the kept lanes that follow, walking through short ones."""
    found: set[LaneKey] = set()
    for target in onward[key]:
        found |= {target} if target in kept else set(_through_short(target, onward, kept))
    return sorted(found)


def _fold_short(
    lanes: dict[LaneKey, Lane], onward: dict[LaneKey, list[LaneKey]], kept: dict[LaneKey, int]
) -> dict[LaneKey, Lane]:
    """The kept lanes, each with the short lanes of its own road before or after it taken in."""
    whole = {key: lanes[key] for key in kept}
    heads, tails = {key: key for key in kept}, {key: key for key in kept}
    todo = [key for key in lanes if key not in kept]
    waiting = len(todo) + 1
    while len(todo) < waiting:  # a run of short lanes folds one by one
        waiting = len(todo)
        for short in list(todo):
            before = [key for key in kept if short in onward[tails[key]] and key[0] == short[0]]
            after = [key for key in kept if heads[key] in onward[short] and key[0] == short[0]]
            if before:
                whole[before[0]] = _chained(whole[before[0]], lanes[short], whole[before[0]])
                tails[before[0]] = short
            elif after:
                whole[after[0]] = _chained(lanes[short], whole[after[0]], whole[after[0]])
                heads[after[0]] = short
            if before or after:
                todo.remove(short)
    return whole


def _chained(first: Lane, second: Lane, host: Lane) -> Lane:
    """`host` with the points of both, evenly spaced."""
    points, widths = np.concatenate([first.points, second.points]), np.concatenate([first.widths, second.widths])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))])
    stations = np.linspace(0.0, along[-1], max(2, math.ceil(along[-1]) + 1))
    even = np.stack([np.interp(stations, along, points[:, axis]) for axis in range(3)], axis=-1)
    return replace(host, points=even, widths=np.interp(stations, along, widths))


def _closed(points: np.ndarray, following: list[Lane]) -> np.ndarray:
    """Move the last point onto the start of what follows where that closes a gap of millimetres."""
    if following and np.linalg.norm(following[0].points[0] - points[-1]) < 0.05:
        return np.concatenate([points[:-1], following[0].points[:1]])
    return points


def _neighbours(source: OpenDriveMap, number: dict[LaneKey, int]) -> dict[LaneKey, _Neighbours]:
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
            found[(section.road, section.index, lane_id)] = _Neighbours(left, right, opposite)
    return found
