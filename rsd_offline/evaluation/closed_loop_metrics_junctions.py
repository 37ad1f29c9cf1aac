"""First junction of a Bench2Drive route, found offline from the town's OpenDRIVE file (needs the `carla` package).

The route is traced way point by way point over the road topology as CARLA's global route planner does at 1 m: shortest
path between the topology edges of two successive positions, edges walked from the point nearest to where one is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

if TYPE_CHECKING:
    import carla

    from rsd_offline.evaluation.records import RouteDescription

SPACING = 1.0  # m between way points


@dataclass(frozen=True)
class _Segment:
    """One topology edge: its two end way points and those between them."""

    entry: carla.Waypoint
    exit: carla.Waypoint
    between: tuple[carla.Waypoint, ...]

    @property
    def walk(self) -> tuple[carla.Waypoint, ...]:
        return (self.entry, *self.between, self.exit)


class TopologyTracer:
    """Traces routes over one town's topology."""

    def __init__(self, town_map: carla.Map) -> None:
        self._map = town_map
        self._graph = nx.DiGraph()
        self._nodes: dict[tuple[float, ...], int] = {}
        self._edge_of_lane: dict[tuple[int, int, int], tuple[int, int]] = {}
        segments = [s for pair in town_map.get_topology() if (s := _sample(*pair)) is not None]
        for segment in segments:
            self._add_segment(segment)
        for segment in segments:
            self._add_loose_end(segment)
        for segment in segments:
            self._add_lane_changes(segment)

    def trace(self, positions: tuple[tuple[float, float, float], ...]) -> list[carla.Waypoint]:
        """Way points along successive positions, CARLA world, m."""
        import carla

        locations = [carla.Location(*position) for position in positions]
        traced: list[carla.Waypoint] = []
        for origin, destination in zip(locations, locations[1:], strict=False):
            traced += self._trace_pair(origin, destination)
        return traced

    def _node(self, key: tuple[float, ...], location: tuple[float, ...]) -> int:
        if key not in self._nodes:
            self._nodes[key] = len(self._nodes)
            self._graph.add_node(self._nodes[key], vertex=location)
        return self._nodes[key]

    def _add_segment(self, segment: _Segment) -> None:
        ends = [_rounded(segment.entry), _rounded(segment.exit)]
        a, b = (self._node(end, end) for end in ends)
        self._edge_of_lane[_lane_key(segment.entry)] = (a, b)
        self._graph.add_edge(a, b, length=len(segment.between) + 1, segment=segment, change=None)

    def _add_loose_end(self, segment: _Segment) -> None:
        key = _lane_key(segment.exit)
        if key in self._edge_of_lane:
            return
        between, following = [], segment.exit.next(SPACING)
        while following and _lane_key(following[0]) == key:
            between.append(following[0])
            following = following[0].next(SPACING)
        start, end = self._nodes[_rounded(segment.exit)], -1 - len(self._edge_of_lane)
        self._edge_of_lane[key] = (start, end)
        if between:
            self._graph.add_node(end, vertex=_place(between[-1]))
            tail = _Segment(segment.exit, between[-1], tuple(between))
            self._graph.add_edge(start, end, length=len(between) + 1, segment=tail, change=None)

    def _add_lane_changes(self, segment: _Segment) -> None:
        if segment.entry.is_junction:
            return
        for side in ("right", "left"):
            for waypoint in segment.between:
                if self._add_lane_change(segment, waypoint, side):
                    break

    def _add_lane_change(self, segment: _Segment, waypoint: carla.Waypoint, side: str) -> bool:
        import carla

        allowed = carla.LaneChange.Right if side == "right" else carla.LaneChange.Left
        marking = getattr(waypoint, f"{side}_lane_marking")
        if not marking or not marking.lane_change & allowed:
            return False
        target = getattr(waypoint, f"get_{side}_lane")()
        if target is None or target.lane_type != carla.LaneType.Driving or target.road_id != waypoint.road_id:
            return False
        edge = self._localize(target.transform.location)
        if edge is None:
            return False
        self._graph.add_edge(self._nodes[_rounded(segment.entry)], edge[0], length=0, segment=None, change=target)
        return True

    def _localize(self, location: carla.Location) -> tuple[int, int] | None:
        waypoint = self._map.get_waypoint(location)
        return None if waypoint is None else self._edge_of_lane.get(_lane_key(waypoint))

    def _path(self, origin: carla.Location, destination: carla.Location) -> list[int]:
        start, end = self._localize(origin), self._localize(destination)
        if start is None or end is None:
            raise ValueError(f"the map has no lane at {origin if start is None else destination}")

        def distance(a: int, b: int) -> float:
            vertices = self._graph.nodes
            return float(np.linalg.norm(np.subtract(vertices[a]["vertex"], vertices[b]["vertex"])))

        return [*nx.astar_path(self._graph, start[0], end[0], heuristic=distance, weight="length"), end[1]]

    def _trace_pair(self, origin: carla.Location, destination: carla.Location) -> list[carla.Waypoint]:
        path = self._path(origin, destination)
        here, goal = self._map.get_waypoint(origin), self._map.get_waypoint(destination)
        traced: list[carla.Waypoint] = []
        for index, nodes in enumerate(zip(path, path[1:], strict=False)):
            edge = self._graph.edges[nodes]
            if edge["change"] is not None:
                steps = [here, self._after_change(edge["change"], here)]
            else:
                steps = _walk(edge["segment"].walk, here, destination, goal, last=index >= len(path) - 2)
            here = steps[-1]
            traced += steps
        return traced

    def _after_change(self, target: carla.Waypoint, here: carla.Waypoint) -> carla.Waypoint:
        segment: _Segment = self._graph.edges[self._edge_of_lane[_lane_key(target)]]["segment"]
        if not segment.between:
            return segment.exit
        return segment.between[min(len(segment.between) - 1, _nearest(here, segment.between) + 5)]


def _walk(
    steps: tuple[carla.Waypoint, ...],
    here: carla.Waypoint,
    destination: carla.Location,
    goal: carla.Waypoint,
    last: bool,
) -> list[carla.Waypoint]:
    """Way points of an edge from the one nearest to `here`; on the last edge, up to the destination."""
    start, walked = _nearest(here, steps), []
    for waypoint in steps[start:]:
        walked.append(waypoint)
        if not last:
            continue
        if waypoint.transform.location.distance(destination) < 2 * SPACING:
            break
        if _lane_key(waypoint) == _lane_key(goal) and start > _nearest(goal, steps):
            break
    return walked


def _sample(entry: carla.Waypoint, exit_: carla.Waypoint) -> _Segment | None:
    end = exit_.transform.location
    following = entry.next(SPACING)
    if entry.transform.location.distance(end) <= SPACING:
        return _Segment(entry, exit_, (following[0],)) if following else None
    between: list[Any] = []
    while following and following[0].transform.location.distance(end) > SPACING:
        between.append(following[0])
        following = following[0].next(SPACING)
    return _Segment(entry, exit_, tuple(between))


def _lane_key(waypoint: carla.Waypoint) -> tuple[int, int, int]:
    return waypoint.road_id, waypoint.section_id, waypoint.lane_id


def _place(waypoint: carla.Waypoint) -> tuple[float, float, float]:
    location = waypoint.transform.location
    return location.x, location.y, location.z


def _rounded(waypoint: carla.Waypoint) -> tuple[float, ...]:
    return tuple(np.round(_place(waypoint), 0).tolist())


def _nearest(waypoint: carla.Waypoint, others: tuple[carla.Waypoint, ...]) -> int:
    here = waypoint.transform.location
    return int(np.argmin([here.distance(other.transform.location) for other in others]))


def junction_lookup(maps: Path) -> Callable[[RouteDescription], tuple[int, int] | None]:
    """Look-up of (1-based index of the first junction way point, way points) by route, from <maps>/**/<Town>.xodr.

    None for a town without a file; raises ImportError where `carla` is not installed and ValueError for a route that
    meets no junction.
    """
    tracers: dict[str, TopologyTracer | None] = {}

    def look_up(route: RouteDescription) -> tuple[int, int] | None:
        if route.town not in tracers:
            tracers[route.town] = _open_town(maps, route.town)
        tracer = tracers[route.town]
        return None if tracer is None else _first_junction(tracer, route)

    return look_up


def _open_town(maps: Path, town: str) -> TopologyTracer | None:
    import carla

    files = sorted(maps.rglob(f"{town}.xodr"))
    return TopologyTracer(carla.Map(town, files[0].read_text())) if files else None


def _first_junction(tracer: TopologyTracer, route: RouteDescription) -> tuple[int, int]:
    traced = tracer.trace(route.positions)
    for count, waypoint in enumerate(traced, 1):
        if waypoint.is_junction:
            return count, len(traced)
    raise ValueError(f"route {route.id} in {route.town} meets no junction")
