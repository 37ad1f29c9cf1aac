"""Where vehicles may appear: places on lanes near the route, out of the ego's sight."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rsd_world.roads.lane_graph import LaneGraph, Route

SPACING = 6.0  # m between places on a lane
NEAR_ROUTE = 150.0  # m
HIDDEN = 40.0  # m, nothing appears nearer to the ego
AROUND = 120.0  # m, traffic is kept within
CLEARANCE = 13.0  # m to the next vehicle


class SpawnPlaces:
    """All places of a town near one route."""

    def __init__(self, graph: LaneGraph, route: Route) -> None:
        lanes = [lane for lane in graph.lanes if lane.junction < 0 and lane.length > 12.0 and lane.successors]
        s = [np.arange(5.0, lane.length - 5.0, SPACING) for lane in lanes]
        self.s = np.concatenate([*s, np.zeros(0)])
        self.lane = np.repeat([lane.id for lane in lanes], [len(v) for v in s]).astype(int)
        poses = [graph.poses_at(lane.id, v) for lane, v in zip(lanes, s, strict=True)]
        self.xy = np.concatenate([np.zeros((0, 4)), *poses])[:, :2]
        coarse = route.points[::10, :2]
        if len(self.xy):
            squared = ((self.xy[:, None] - coarse[None]) ** 2).sum(-1).min(axis=1)
            keep = squared < NEAR_ROUTE**2
            self.s, self.lane, self.xy = self.s[keep], self.lane[keep], self.xy[keep]
        self.blocked = np.zeros(len(self.s), bool)

    def block_circle(self, center: np.ndarray, radius: float) -> None:
        """Nothing appears within `radius` m of `center` from now on."""
        self.blocked |= ((self.xy - center[:2]) ** 2).sum(-1) < radius**2

    def block_lanes(self, lanes: Iterable[int]) -> None:
        """Nothing appears on these lanes from now on."""
        self.blocked |= np.isin(self.lane, list(lanes))

    def unblock(self) -> None:
        """All places are open again."""
        self.blocked[:] = False

    def pick(
        self,
        rng: np.random.Generator,
        ego: np.ndarray,
        taken: np.ndarray,
        nearest: float = HIDDEN,
        farthest: float = AROUND,
    ) -> int | None:
        """Index of a free place `nearest` to `farthest` m from `ego` (2,), clear of `taken` (N, 2); None = none."""
        distance = np.linalg.norm(self.xy - ego[:2], axis=1)
        open_ = np.flatnonzero((distance > nearest) & (distance < farthest) & ~self.blocked)
        if len(open_) == 0:
            return None
        if len(taken):
            squared = ((self.xy[open_][:, None] - taken[None]) ** 2).sum(-1).min(axis=1)
            open_ = open_[squared > CLEARANCE**2]
        return int(rng.choice(open_)) if len(open_) else None
