"""The lane graph: sampled lanes with their topology. All that runs needs of a road network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command


@dataclass(frozen=True)
class Lane:
    """One driving lane of one road section, sampled along its centre in driving direction."""

    id: int  # index into LaneGraph.lanes
    points: np.ndarray  # (P, 3) m, map; about 1 m apart, P >= 2
    widths: np.ndarray  # (P,) m
    successors: tuple[int, ...]
    predecessors: tuple[int, ...]
    left: int  # neighbour lane in the SAME direction, -1 = none
    right: int
    opposite: int  # nearest lane of the other direction across the centre line, -1 = none
    left_marking: str  # Broken | Solid | SolidSolid | None
    right_marking: str
    left_change: bool  # a lane change to the left is allowed
    right_change: bool
    junction: int  # id of the junction this lane crosses, -1 = none
    turn: Command  # LEFT | RIGHT | STRAIGHT inside a junction, else LANEFOLLOW
    speed_limit: float  # m/s
    road: int  # OpenDRIVE road id, of the generated .xodr too
    opendrive_lane: int  # signed OpenDRIVE lane id


@dataclass(frozen=True)
class LaneLocation:
    """A place on a lane."""

    lane: int
    s: float  # m along the lane's centre
    lateral: float  # m left of the centre


@dataclass(frozen=True)
class Route:
    """A route along lane centres."""

    points: np.ndarray  # (R, 3) m, map, about 1 m apart
    commands: np.ndarray  # (R,) int, Command at each point (the command of the manoeuvre this point belongs to)
    lanes: np.ndarray  # (R,) int, lane id at each point


@dataclass(frozen=True)
class LaneGraph:
    """All driving lanes of a town. Reads and writes one `.npz` without pickling."""

    lanes: tuple[Lane, ...]
