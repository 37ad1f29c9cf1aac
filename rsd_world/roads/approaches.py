"""The ways into a junction: lanes of one road that end at its stop line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph


@dataclass(frozen=True)
class Approach:
    """All lanes that drive from one road into one junction, leftmost first."""

    junction: int
    road: int
    lanes: tuple[int, ...]
    stop: np.ndarray  # (3,) m, map, end of the rightmost lane's centre
    heading: float  # rad, driving direction at the stop line
    half_width: float  # m, of the rightmost lane
    turns: frozenset[Command]

    @property
    def forward(self) -> np.ndarray:
        """(2,) unit vector in driving direction."""
        return np.array([np.cos(self.heading), np.sin(self.heading)])

    @property
    def right(self) -> np.ndarray:
        """(2,) unit vector to the right of the driver."""
        return np.array([np.sin(self.heading), -np.cos(self.heading)])


def junction_approaches(graph: LaneGraph) -> dict[int, list[Approach]]:
    """Approaches of every junction, by junction id."""
    groups: dict[tuple[int, int, bool], list[int]] = {}
    for lane in graph.lanes:
        into = {graph.lanes[to].junction for to in lane.successors} - {-1}
        if lane.junction < 0 and into:
            groups.setdefault((min(into), lane.road, lane.opendrive_lane < 0), []).append(lane.id)
    found: dict[int, list[Approach]] = {}
    for (junction, road, _), lanes in sorted(groups.items()):
        found.setdefault(junction, []).append(_approach(graph, junction, road, lanes))
    return found


def _approach(graph: LaneGraph, junction: int, road: int, lanes: list[int]) -> Approach:
    ordered = sorted(lanes, key=lambda i: abs(graph.lanes[i].opendrive_lane))
    outer = graph.lanes[ordered[-1]]
    turns = frozenset(graph.lanes[to].turn for lane in lanes for to in graph.lanes[lane].successors)
    return Approach(
        junction, road, tuple(ordered), outer.points[-1], float(outer.headings[-1]),
        float(outer.widths[-1]) / 2.0, turns,
    )  # fmt: skip
