"""Traffic lights, stop signs and crossings: from the file's signals, else from the shape of the junctions."""

from __future__ import annotations

import numpy as np
import shapely
import shapely.ops
from shapely.geometry import LineString, Point

from rsd_model.contracts import Command
from rsd_model.geometry import wrap_angle
from rsd_world.roads.approaches import Approach
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.opendrive import STOP_SIGN_TYPE, TRAFFIC_LIGHT_TYPE, OpenDriveMap, RoadSignal
from rsd_world.roads.surface import Surface, lines
from rsd_world.roads.town import Crossing, StopSign, TrafficLight

CROSSING_WIDTH = 3.0  # m along the road
_CROSSING_SETBACK = 2.2  # m from the stop line to the middle of the crossing
_POLE_CLEARANCE = 0.7  # m from the asphalt
_NEAREST_FAR_SIDE = 20.0  # m; half of it ahead a light at the kerb is still in view of the first car at the line
_OPPOSITE = np.radians(40.0)


def controlled_approaches(
    source: OpenDriveMap, graph: LaneGraph, approaches: dict[int, list[Approach]]
) -> tuple[list[Approach], list[Approach]]:
    """Approaches under a traffic light and approaches with a stop sign.

    Taken from the file's signals. A file without any gets lights at junctions of four or more approaches, and a
    stop sign on the stem of every T junction.
    """
    everything = [approach for group in approaches.values() for approach in group]
    if not source.signals:
        lit = [approach for group in approaches.values() if len(group) >= 4 for approach in group]
        stems = [approach for group in approaches.values() if len(group) == 3 for approach in group]
        return lit, [approach for approach in stems if Command.STRAIGHT not in approach.turns]
    lit_lanes = _governed(source.signals, TRAFFIC_LIGHT_TYPE, graph)
    stop_lanes = _governed(source.signals, STOP_SIGN_TYPE, graph)
    lit = [approach for approach in everything if lit_lanes & set(approach.lanes)]
    return lit, [approach for approach in everything if approach not in lit and stop_lanes & set(approach.lanes)]


def _governed(signals: tuple[RoadSignal, ...], kind: str, graph: LaneGraph) -> set[int]:
    """Lanes that end at a junction under signals of one type; signals inside a junction govern the lanes before it."""
    found: set[int] = set()
    for signal in signals:
        for lane in graph.lanes:
            runs_along = lane.opendrive_lane < 0
            wrong_way = (signal.orientation == "+" and not runs_along) or (signal.orientation == "-" and runs_along)
            if signal.type != kind or lane.road != signal.road or wrong_way:
                continue
            if signal.lanes[0] <= lane.opendrive_lane <= signal.lanes[1]:
                found |= set(lane.predecessors) if lane.junction >= 0 else {lane.id}
    return found


def place_lights(lit: list[Approach], graph: LaneGraph, surface: Surface) -> tuple[TrafficLight, ...]:
    """One light per approach, on the far side of the junction, facing the drivers that wait for it."""
    by_junction: dict[int, list[Approach]] = {}
    for approach in lit:
        by_junction.setdefault(approach.junction, []).append(approach)
    lights: list[TrafficLight] = []
    for junction, group in by_junction.items():
        for approach, phase in zip(group, light_groups(group), strict=True):
            foot = surface.lifted(_far_side(approach, graph, surface))[0]
            facing = float(wrap_angle(approach.heading + np.pi))
            lights.append(TrafficLight(len(lights), foot, facing, approach.lanes, phase, junction))
    return tuple(lights)


def light_groups(approaches: list[Approach]) -> list[int]:
    """Group of each approach of one junction: opposite approaches share one, all others have their own."""
    groups = [-1] * len(approaches)
    for i, approach in enumerate(approaches):
        if groups[i] >= 0:
            continue
        groups[i] = max(groups) + 1
        for k in range(i + 1, len(approaches)):
            turned = abs(float(wrap_angle(approaches[k].heading - approach.heading + np.pi)))
            if groups[k] < 0 and turned < _OPPOSITE:
                groups[k] = groups[i]
                break
    return groups


def _far_side(approach: Approach, graph: LaneGraph, surface: Surface) -> np.ndarray:
    """(2,) m: beyond the crossing road, right of where the approach's lanes lead."""
    reach = _NEAREST_FAR_SIDE
    for lane in approach.lanes:
        for to in graph.lanes[lane].successors:
            reach = max(reach, float(((graph.lanes[to].points[:, :2] - approach.stop[:2]) @ approach.forward).max()))
    ahead, aside = np.meshgrid(np.arange(0.5 * reach, reach + 15.0, 0.5), np.arange(0.0, 15.0, 0.5), indexing="ij")
    offsets = approach.half_width + 1.2 + aside[..., None]
    feet = approach.stop[:2] + ahead[..., None] * approach.forward + offsets * approach.right  # (A, B, 2)
    effort = np.abs(ahead - 0.8 * reach) + 1.5 * aside
    on_road = shapely.distance(surface.pavement, shapely.points(feet)) < _POLE_CLEARANCE
    best = np.unravel_index(np.argmin(np.where(on_road, np.inf, effort)), effort.shape)
    return feet[best]


def _off_road(at: np.ndarray, direction: np.ndarray, surface: Surface) -> np.ndarray:
    """Move from `at` along `direction` until the asphalt is a pole's clearance away."""
    steps = np.arange(0.0, 60.0, 0.25)
    clear = [surface.pavement.distance(Point(at + direction * step)) >= _POLE_CLEARANCE for step in steps]
    return at + direction * float(steps[clear.index(True)] if any(clear) else steps[-1])


def place_stop_signs(stopping: list[Approach], surface: Surface) -> tuple[StopSign, ...]:
    """A sign to the right of each stop line."""
    signs: list[StopSign] = []
    for approach in stopping:
        foot = _off_road(approach.stop[:2] + approach.right * (approach.half_width + 0.8), approach.right, surface)
        facing = float(wrap_angle(approach.heading + np.pi))
        signs.append(StopSign(len(signs), surface.lifted(foot)[0], facing, approach.lanes))
    return tuple(signs)


def place_crossings(approaches: dict[int, list[Approach]], surface: Surface, seed: int) -> tuple[Crossing, ...]:
    """A crossing just beyond each stop line, and some between junctions, wherever both sides have a sidewalk."""
    found = []
    for group in approaches.values():
        for approach in group:
            if approach.road not in surface.fast_roads:
                found.append(
                    _crossing(approach.stop[:2] + approach.forward * _CROSSING_SETBACK, approach.right, surface)
                )
    found += _mid_block(surface, np.random.default_rng(seed))
    return _apart([crossing for crossing in found if crossing is not None])


def _apart(crossings: list[Crossing]) -> tuple[Crossing, ...]:
    """Leave out crossings that touch an earlier one."""
    kept: list[Crossing] = []
    placed: list[LineString] = []
    for crossing in crossings:
        line = LineString([crossing.start[:2], crossing.end[:2]])
        core = shapely.ops.substring(line, 0.2, 0.8, normalized=True)  # neighbours may meet on the sidewalk
        if all(core.distance(other) > CROSSING_WIDTH for other in placed):
            kept.append(crossing)
            placed.append(core)
    return tuple(kept)


def _mid_block(surface: Surface, rng: np.random.Generator) -> list[Crossing | None]:
    """Crossings in the middle of a share of the longer, slower streets."""
    found = []
    for lane in surface.graph.lanes:
        outermost = lane.right < 0 and lane.junction < 0 and lane.opendrive_lane == -1
        if not outermost or lane.length < 70.0 or lane.road in surface.fast_roads or rng.random() > 0.6:
            continue
        s = lane.length * rng.uniform(0.4, 0.6)
        x, y, _, yaw = surface.graph.pose_at(lane.id, s)
        found.append(_crossing(np.array([x, y]), np.array([np.sin(yaw), -np.cos(yaw)]), surface))
    return found


def _crossing(middle: np.ndarray, right: np.ndarray, surface: Surface) -> Crossing | None:
    """From sidewalk to sidewalk through `middle`, or None where one is missing."""
    near, far = _on_sidewalk(middle, right, surface), _on_sidewalk(middle, -right, surface)
    if near is None or far is None:
        return None
    start, end = surface.lifted(np.stack([near, far]))
    return Crossing(start, end, CROSSING_WIDTH)


def _on_sidewalk(middle: np.ndarray, direction: np.ndarray, surface: Surface) -> np.ndarray | None:
    ray = LineString([middle, middle + direction * 28.0])
    hits = [np.array(point.coords[0]) for line in surface.sidewalks for point in _points(line.intersection(ray))]
    return min(hits, key=lambda at: float(np.linalg.norm(at - middle))) if hits else None


def _points(geometry: shapely.Geometry) -> list[Point]:
    if isinstance(geometry, Point):
        return [] if geometry.is_empty else [geometry]
    parts = [part for part in getattr(geometry, "geoms", ()) if isinstance(part, Point)]
    return parts + [Point(line.coords[0]) for line in lines(geometry)]
