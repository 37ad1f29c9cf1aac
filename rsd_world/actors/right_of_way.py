"""Who may enter a junction: one lock per crossing lane, given by rank and then by who comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.spatial.distance import cdist

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.town import StopSign

CONFLICT_DISTANCE = 2.9  # m between two centre lines
PATIENCE = 12.0  # s at the line, after which a vehicle counts as first in rank, before all that waited less
MARGIN = 1.5  # s between one leaving and the next arriving
STOP_SIGN_RANK = 4
_TURN_RANK = {Command.STRAIGHT: 0, Command.RIGHT: 1, Command.LEFT: 2}


@dataclass(frozen=True)
class Claim:
    """A driver that comes to a junction."""

    vehicle: int  # id; 0 = the ego
    lane: int  # crossing lane
    distance: float  # m from the front to the stop line
    speed: float  # m/s
    clearing: float  # s until its rear has left the junction
    waiting: float  # s it has stood at the line
    may_go: bool  # light is green, or it has stopped at its sign
    wants: bool  # False: it only comes near (the ego), nothing is granted to it


class RightOfWay:
    """Conflicts between the lanes of each junction, and who holds which lane."""

    def __init__(self, graph: LaneGraph, stop_signs: Sequence[StopSign]) -> None:
        self.stop_lanes = {lane for sign in stop_signs for lane in sign.lanes}
        self.conflicts = _conflicts(graph)
        self._rank = {
            lane.id: _TURN_RANK.get(lane.turn, 0)
            + (STOP_SIGN_RANK if self.stop_lanes.intersection(lane.predecessors) else 0)
            for lane in graph.lanes
            if lane.junction >= 0
        }
        self.holders: dict[int, int] = {}  # vehicle -> crossing lane

    def rank(self, lane: int) -> int:
        """Priority of a crossing lane, 0 = goes first."""
        return self._rank.get(lane, 0)

    def release(self, vehicle: int) -> None:
        """The vehicle has left the junction, or the world."""
        self.holders.pop(vehicle, None)

    def decide(self, claims: Iterable[Claim], inside: Iterable[tuple[int, int]] = ()) -> set[int]:
        """Vehicles that get the lock now; `inside` adds (vehicle, lane) pairs that hold a lane without having asked."""
        claims = sorted(claims, key=lambda c: (self._effective_rank(c), -_patient(c), c.distance, c.vehicle))
        held = [*self.holders.items(), *inside]
        granted: set[int] = set()
        for claim in claims:
            if not (claim.wants and claim.may_go) or claim.vehicle in self.holders:
                continue
            conflicts = self.conflicts.get(claim.lane, frozenset())
            busy = any(lane in conflicts and vehicle != claim.vehicle for vehicle, lane in held)
            if not busy and not any(self._goes_before(other, claim, conflicts) for other in claims):
                granted.add(claim.vehicle)
                self.holders[claim.vehicle] = claim.lane
            elif not _patient(claim):
                continue
            held.append((claim.vehicle, claim.lane))  # who has waited long is let in by those that come after it
        return granted

    def _effective_rank(self, claim: Claim) -> int:
        return 0 if _patient(claim) else self.rank(claim.lane)

    def _goes_before(self, other: Claim, claim: Claim, conflicts: frozenset[int]) -> bool:
        if other.vehicle == claim.vehicle or other.lane not in conflicts or not other.may_go:
            return False
        if self._effective_rank(other) >= self._effective_rank(claim) or other.speed < 0.5:
            return False
        return other.distance / max(other.speed, 0.5) < claim.clearing + MARGIN


def _patient(claim: Claim) -> float:
    """s a driver has waited, from PATIENCE on; before, 0."""
    return claim.waiting if claim.waiting > PATIENCE else 0.0


def _conflicts(graph: LaneGraph) -> dict[int, frozenset[int]]:
    by_junction: dict[int, list[int]] = {}
    for lane in graph.lanes:
        if lane.junction >= 0:
            by_junction.setdefault(lane.junction, []).append(lane.id)
    found: dict[int, set[int]] = {}
    for lanes in by_junction.values():
        for k, a in enumerate(lanes):
            for b in lanes[k + 1 :]:
                if _cross(graph, a, b):
                    found.setdefault(a, set()).add(b)
                    found.setdefault(b, set()).add(a)
    return {lane: frozenset(others) for lane, others in found.items()}


def conflicting_lanes(graph: LaneGraph, lane: int) -> list[int]:
    """Lanes of the same junction that cross or join a crossing lane."""
    junction = graph.lanes[lane].junction
    return [o.id for o in graph.lanes if o.junction == junction and o.id != lane and _cross(graph, lane, o.id)]


def _cross(graph: LaneGraph, a: int, b: int) -> bool:
    first, second = graph.lanes[a], graph.lanes[b]
    if set(first.predecessors) & set(second.predecessors):
        return False  # they leave one lane: the one behind follows the one ahead
    if b in first.successors or a in first.predecessors or a in second.successors:
        return False
    return bool(cdist(first.points[:, :2], second.points[:, :2]).min() < CONFLICT_DISTANCE)


def clearing_time(distance: float, length: float, speed: float, cruise: float = 6.0) -> float:
    """Seconds to drive `distance` to the line and `length` m through the junction, from `speed` m/s."""
    return (distance + length) / max(0.5 * (speed + cruise), 0.5 * cruise) + (1.0 if speed < 1.0 else 0.0)
