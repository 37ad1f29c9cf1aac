"""The lane graph: sampled lanes with their topology. All that runs needs of a road network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_index import LaneIndex, NearestLanes, point_headings


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

    @cached_property
    def arc_lengths(self) -> np.ndarray:
        """(P,) m, distance along the centre (seen from above) from the first point to each."""
        steps = np.linalg.norm(np.diff(self.points[:, :2], axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @cached_property
    def headings(self) -> np.ndarray:
        """(P,) rad, heading at each point; unwrapped, so it may leave [-pi, pi)."""
        return point_headings(self.points)

    @property
    def length(self) -> float:
        """Length in m of the centre, seen from above."""
        return float(self.arc_lengths[-1])


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

    @property
    def length(self) -> float:
        """Length in m, seen from above."""
        return float(np.linalg.norm(np.diff(self.points[:, :2], axis=0), axis=1).sum())


@dataclass(frozen=True)
class LaneGraph:
    """All driving lanes of a town. Reads and writes one `.npz` without pickling."""

    lanes: tuple[Lane, ...]

    @cached_property
    def index(self) -> LaneIndex:
        """Search structure over all lane points, built at first use."""
        return LaneIndex(self.lanes)

    def nearest(self, xy: np.ndarray, yaw: float | None = None, max_distance: float = 10.0) -> LaneLocation | None:
        """The lane place nearest to `xy` (2 or 3,) m in `map`, or None where no lane is within `max_distance` m.

        With `yaw` (rad) lanes of that heading are preferred: a lane the other way counts as 5 m further off (see
        `LaneIndex.query`). Use `nearest_many` for more than a few points.
        """
        found = self.nearest_many(
            np.asarray(xy, float)[None, :2], None if yaw is None else np.array([yaw]), max_distance
        )
        if found.lanes[0] < 0:
            return None
        return LaneLocation(int(found.lanes[0]), float(found.s[0]), float(found.lateral[0]))

    def nearest_many(self, xy: np.ndarray, yaw: np.ndarray | None = None, max_distance: float = 10.0) -> NearestLanes:
        """`nearest` for points (N, 2) and headings (N,) at once; lane -1 where none is near enough."""
        return self.index.query(np.atleast_2d(np.asarray(xy, float))[:, :2], yaw, max_distance)

    def length(self, lane: int) -> float:
        """Length of a lane in m."""
        return self.lanes[lane].length

    def pose_at(self, lane: int, s: float) -> tuple[float, float, float, float]:
        """(x, y, z, yaw) in `map` at `s` m along a lane; `s` is held to the lane's ends, yaw is within [-pi, pi)."""
        x, y, z, yaw = self.poses_at(lane, np.array([s]))[0]
        return float(x), float(y), float(z), float(yaw)

    def poses_at(self, lane: int, s: np.ndarray) -> np.ndarray:
        """(N, 4) x, y, z, yaw at each of `s` (N,) m along a lane, as `pose_at`."""
        found = self.lanes[lane]
        columns = [np.interp(s, found.arc_lengths, found.points[:, axis]) for axis in range(3)]
        yaw = np.interp(s, found.arc_lengths, found.headings)
        return np.stack([*columns, (yaw + np.pi) % (2.0 * np.pi) - np.pi], axis=-1)

    def position(self, location: LaneLocation) -> np.ndarray:
        """(3,) m in `map` of a place on a lane, its lateral offset included."""
        x, y, z, yaw = self.pose_at(location.lane, location.s)
        return np.array([x - location.lateral * np.sin(yaw), y + location.lateral * np.cos(yaw), z])

    def width_at(self, lane: int, s: float) -> float:
        """Lane width in m at `s` m along the lane."""
        found = self.lanes[lane]
        return float(np.interp(s, found.arc_lengths, found.widths))

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest coordinates of all lane centres: x min, y min, x max, y max in m."""
        points = np.concatenate([lane.points[:, :2] for lane in self.lanes])
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def save(self, path: str | Path) -> None:
        """Write one compressed `.npz` that loads without pickling."""
        from rsd_world.roads.storage import lanes_to_arrays, write_arrays

        write_arrays(path, lanes_to_arrays(self.lanes))

    @classmethod
    def load(cls, path: str | Path) -> LaneGraph:
        """Read and check a graph; raises FileNotFoundError, or MapFileError that names the file, field and value."""
        from rsd_world.roads.storage import lanes_from_arrays, read_arrays

        return cls(lanes_from_arrays(read_arrays(path), str(path)))
