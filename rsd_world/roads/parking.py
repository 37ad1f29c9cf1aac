"""Roadside parking spots on the parking lanes (or wide shoulders) of a map."""

from __future__ import annotations

import numpy as np

from rsd_world.roads.import_lanes import Strip
from rsd_world.roads.lane_graph import LaneGraph, LaneLocation
from rsd_world.roads.lane_index import point_headings
from rsd_world.roads.town import ParkingSpot

SPOT_LENGTH = 6.2  # m
_NARROWEST = 1.9  # m, of a lane that a car can park on
_JUNCTION_CLEARANCE = 10.0  # m of the lane's ends kept free


def place_parking(strips: tuple[Strip, ...], graph: LaneGraph, fast_roads: frozenset[int]) -> tuple[ParkingSpot, ...]:
    """Spots along all parking lanes, or along shoulders where the map has no parking lane; none on fast roads."""
    kinds = {"parking"} if any(strip.type == "parking" for strip in strips) else {"shoulder"}
    spots: list[ParkingSpot] = []
    for strip in strips:
        if strip.type in kinds and strip.junction < 0 and strip.road not in fast_roads:
            spots += _spots_along(strip, graph)
    return tuple(spots)


def _spots_along(strip: Strip, graph: LaneGraph) -> list[ParkingSpot]:
    points = strip.points if strip.lane < 0 else strip.points[::-1]
    widths = strip.widths if strip.lane < 0 else strip.widths[::-1]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))])
    headings = point_headings(points) if along[-1] > SPOT_LENGTH else np.zeros(len(points))
    spots = []
    for middle in np.arange(SPOT_LENGTH, along[-1] - SPOT_LENGTH, SPOT_LENGTH):
        reach = [middle - SPOT_LENGTH / 2.0, middle, middle + SPOT_LENGTH / 2.0]
        if np.interp(reach, along, widths).min() < _NARROWEST:
            continue
        position = np.array([np.interp(middle, along, points[:, axis]) for axis in range(3)])
        yaw = float(np.interp(middle, along, headings))
        beside = graph.nearest(position, yaw, 6.0)
        if beside is not None and _may_park(graph, beside):
            spots.append(ParkingSpot(position, float((yaw + np.pi) % (2.0 * np.pi) - np.pi), beside.lane, beside.s))
    return spots


def _may_park(graph: LaneGraph, beside: LaneLocation) -> bool:
    lane = graph.lanes[beside.lane]
    clear = _JUNCTION_CLEARANCE <= beside.s <= lane.length - _JUNCTION_CLEARANCE
    return clear and lane.junction < 0 and beside.lateral < 0.0
