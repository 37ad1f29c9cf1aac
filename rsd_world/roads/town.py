"""A town: the lane graph plus everything that stands beside the road."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rsd_world.roads.lane_graph import LaneGraph


@dataclass(frozen=True)
class TrafficLight:
    """A signal head at the far or near side of a junction, facing its approach lanes."""

    id: int
    position: np.ndarray  # (3,) m, map, foot of the pole
    yaw: float  # rad, direction in which the lamp faces (towards oncoming drivers)
    lanes: tuple[int, ...]  # approach lanes that end at the stop line it controls
    group: int  # lights of one junction and one group are green together
    junction: int


@dataclass(frozen=True)
class StopSign:
    """A stop sign at the end of its approach lanes."""

    id: int
    position: np.ndarray  # (3,) m, map, foot of the pole
    yaw: float  # rad, direction in which the sign faces
    lanes: tuple[int, ...]


@dataclass(frozen=True)
class Crossing:
    """A marked pedestrian crossing: where a walker steps off, and where it arrives."""

    start: np.ndarray  # (3,) m, map, on the sidewalk
    end: np.ndarray  # (3,) m
    width: float  # m along the road


@dataclass(frozen=True)
class Building:
    """An upright box."""

    center: np.ndarray  # (3,) m, map, on the ground
    size: tuple[float, float, float]  # length, width, height, m
    yaw: float
    style: int  # picks facade colour and windows


@dataclass(frozen=True)
class Prop:
    """Small scenery: kind is tree | bush | lamp | bench | sign."""

    kind: str
    position: np.ndarray  # (3,) m, map, foot
    yaw: float
    height: float  # m


@dataclass(frozen=True)
class ParkingSpot:
    """A roadside spot beside a lane; the simulation decides by seed which are taken."""

    position: np.ndarray  # (3,) m, map, centre on the ground
    yaw: float
    lane: int  # the lane it lies beside
    s: float  # m along that lane


@dataclass(frozen=True)
class Town:
    """A road network and its surroundings. `polygons` are flat outlines in map coordinates, (V, 3) each."""

    name: str
    lanes: LaneGraph
    lights: tuple[TrafficLight, ...]
    stop_signs: tuple[StopSign, ...]
    crossings: tuple[Crossing, ...]
    sidewalks: tuple[np.ndarray, ...]  # centre lines (V, 3), m; walkers stroll along them
    sidewalk_polygons: tuple[np.ndarray, ...]
    buildings: tuple[Building, ...]
    props: tuple[Prop, ...]
    parking: tuple[ParkingSpot, ...]
    # (T, 3, 3) m, map: all asphalt (lanes, parking, junctions), counter-clockwise seen from above
    road_triangles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 3)))
    # road_triangles are drawn: lanes and what is derived from them leave asphalt out (shoulders, medians)
    wide_asphalt: bool = False
    style: str = "brick"  # look of the buildings, name among `rsd_world.roads.scenery.STYLES`
