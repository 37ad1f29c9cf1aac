"""How far aside of its route the ego drives: around what blocks the lane, and to the right for an emergency vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsd_world.expert.lane_change import delayed_change, lane_changes
from rsd_world.expert.making_room import RoomMaker
from rsd_world.expert.occupancy import actor_outline
from rsd_world.expert.prediction import BRAKING, Prediction
from rsd_world.expert.route_reference import RouteReference
from rsd_world.state import ActorKind, ActorState

AHEAD = 55  # m of the route that are planned
BEYOND_END = 4  # m past the end of the route, obstacles there do not matter
BEHIND = 8  # m
CLEARANCE = 0.75  # m between the ego's side and what it passes
INTRUSION = 0.25  # m beside the ego that must be free, else the lane counts as blocked
NEIGHBOUR = 0.8  # m further aside, where what stands next to a blockage is part of it
JOIN = 14.0  # m between two obstacles that are passed in one go
BESIDE = 7.0  # m to an obstacle, from where the side is settled
PATIENCE = 12.0  # s of waiting, after which oncoming traffic is made to brake gently
WAIT_GAP = 6.5  # m left to an obstacle while waiting, room enough to swing out
SHIFT_LENGTH = 13.0  # m over which the ego moves aside
PASSING_SPEED = 7.5  # m/s past an obstacle
WAITING_TO_CHANGE = "waiting for a gap to change lanes"
STANDING = 0.5  # m/s
PROPS = (ActorKind.TRAFFIC_CONE, ActorKind.BARRIER)


@dataclass(frozen=True)
class Blockage:
    """Things that stand in the lane, one behind the other, in route coordinates."""

    start: float  # m
    end: float  # m
    right: float  # m left of the route, of their right edge
    left: float  # m, of their left edge
    actors: frozenset[int]


@dataclass(frozen=True)
class LateralPlan:
    """Offsets from the route and what follows from them for the speed."""

    offset: np.ndarray  # (BEHIND + AHEAD + tail,) m left of the route, at the route indices from `first` on
    first: int
    wait_before: float | None  # m of the route where the ego waits for a gap
    passing: tuple[Blockage, ...]  # being passed
    reason: str = ""


class LateralPlanner:
    """Remembers which blockage it is passing, so that it does not change its mind half way."""

    def __init__(self, reference: RouteReference, half_width: float, half_length: float) -> None:
        self._reference = reference
        self._half_width = half_width
        self._half_length = half_length
        self._committed: frozenset[int] = frozenset()
        self._changes = lane_changes(reference)
        self._room = RoomMaker(reference, half_width, half_length)
        self._waiting_since = np.inf

    def plan(
        self,
        s: float,
        lateral: float,
        speed: float,
        predictions: list[Prediction],
        traffic: Sequence[ActorState],
        length: int,
        time: float,
    ) -> LateralPlan:
        """Offsets for `length` m of route from BEHIND m before the ego, which is at `s`, `lateral` m left of it."""
        first = max(int(s) - BEHIND, 0)
        last = min(first + length, len(self._reference.points))
        offset = np.zeros(last - first)
        wait, passing, reason = None, [], ""
        for blockage in self.blockages(s, lateral, predictions):
            shift = self._side(blockage, s, lateral)
            started = abs(lateral) > 0.8 and np.sign(lateral) == np.sign(shift or 0.0) and blockage.start - s < 20.0
            if shift is None or not (
                self._stays_in_lane(blockage, shift)
                or started
                or (self._committed & blockage.actors and abs(lateral) > 0.6)
                or self._free(s, speed, blockage, shift, traffic, time - self._waiting_since > PATIENCE)
            ):
                wait, reason = blockage.start - WAIT_GAP, "waiting for a gap to pass"
                break
            passing.append(blockage)
            self._shift(offset, first, s, blockage, shift)
            reason = "passing an obstacle"
        standing = wait is not None and speed < STANDING
        self._waiting_since = min(self._waiting_since, time) if standing or passing else np.inf
        self._committed = frozenset().union(*(b.actors for b in passing)) if passing else frozenset()
        change = delayed_change(self._changes, self._reference, s, lateral, speed, predictions)
        if change is not None and not passing:
            grid = first + np.arange(len(offset), dtype=float)
            offset = change.old_lane(grid)
            wait = min(wait or np.inf, change.last)
            reason = reason or WAITING_TO_CHANGE
        elif not passing and (aside := self._room.plan(s, lateral, predictions)) is not None:
            offset[:] = aside.offset
            wait = aside.wait_before if wait is None else wait
            reason = "making room for an emergency vehicle"
        return LateralPlan(offset, first, wait, tuple(passing), reason)

    def blockages(self, s: float, lateral: float, predictions: list[Prediction]) -> list[Blockage]:
        """What stands in the lane between the ego and AHEAD m, nearest first."""
        obstacles = [p for p in predictions if p.standing and _immovable(p)]
        if not obstacles:
            return []
        ref = self._reference
        first, last = max(int(s) - BEHIND, 0), min(int(s) + AHEAD, int(ref.end) + BEYOND_END)
        outlines = [actor_outline(p) for p in obstacles]
        sizes = [len(o) for o in outlines]
        along, aside = ref.project_many(np.concatenate(outlines), first, last)
        splits = np.cumsum(sizes)[:-1]
        # On the way past something, all that stands at the lane's edge keeps the ego from turning back in.
        limit = self._half_width + INTRUSION + (NEIGHBOUR if abs(lateral) > 0.8 else 0.0)
        blocking, beside = [], []
        for p, a, d in zip(obstacles, np.split(along, splits), np.split(aside, splits), strict=True):
            if a.max() < s - self._half_length - 1.0 or not first < a.min() < last - 2:
                continue
            piece = Blockage(float(a.min()), float(a.max()), float(d.min()), float(d.max()), frozenset([p.actor.id]))
            if piece.right < limit and piece.left > -limit:
                blocking.append(piece)
            elif piece.right < limit + NEIGHBOUR and piece.left > -limit - NEIGHBOUR:
                beside.append(piece)
        return _joined(_with_neighbours(sorted(blocking, key=lambda b: b.start), beside))

    def _side(self, blockage: Blockage, s: float, lateral: float) -> float | None:
        """Offset in m at which the ego passes, None where there is no room on either side."""
        ref = self._reference
        span = slice(max(int(blockage.start) - 2, 0), min(int(blockage.end) + 3, len(ref.points)))
        room_left = float((ref.half_width + np.maximum(ref.left_same, ref.left_opposite))[span].min())
        room_right = float((ref.half_width + ref.right_same)[span].min())
        need = self._half_width + CLEARANCE
        options = []
        if blockage.left + need + self._half_width < room_left + 0.1:
            # Crossing into oncoming traffic is the last choice.
            against = (
                ref.left_same[span].min() <= 0.0
                and blockage.left + need + self._half_width > ref.half_width[span].min() + 0.3
            )
            options.append((abs(blockage.left + need) + 4.0 * against, blockage.left + need))
        if -blockage.right + need + self._half_width < room_right + 0.1:
            options.append((abs(blockage.right - need), blockage.right - need))
        if not options:
            return None
        if blockage.start - s < BESIDE:  # no change of mind beside it
            side = np.sign(lateral - 0.5 * (blockage.left + blockage.right))
            options = [o for o in options if np.sign(o[1]) == side] or options
        return min(options)[1]

    def _stays_in_lane(self, blockage: Blockage, shift: float) -> bool:
        half = float(self._reference.half_width[min(int(blockage.start), len(self._reference.half_width) - 1)])
        return abs(shift) + self._half_width < half + 0.35

    def _free(
        self, s: float, speed: float, blockage: Blockage, shift: float, traffic: Sequence[ActorState], assertive: bool
    ) -> bool:
        """Nobody uses the stretch beside the blockage until the ego is past it; `assertive`: or can stop before it."""
        ref = self._reference
        first, last = max(int(s) - 70, 0), min(int(s) + 180, len(ref.points))
        moving = [a for a in traffic if not a.parked and a.kind not in (ActorKind.PEDESTRIAN, *PROPS)]
        if not moving:
            return True
        along, aside = ref.project_many(np.stack([a.position[:2] for a in moving]), first, last)
        yaw = ref.yaw[np.clip(along.astype(int), 0, len(ref.yaw) - 1)]
        begin, end = blockage.start - SHIFT_LENGTH, blockage.end + SHIFT_LENGTH
        duration = _time_to(blockage.end + 5.0 - s, speed) + 0.8
        for actor, a, d, course in zip(moving, along, aside, yaw, strict=True):
            if abs(d - shift) > 1.6 + 0.5 * actor.size[1]:
                continue
            velocity = float(actor.velocity @ np.array([np.cos(course), np.sin(course)]))
            future = a + min(velocity, -5.0) * duration  # it may speed up
            if assertive and velocity < 0.0:  # braking gently for the ego
                future = a - min(-velocity * duration, velocity**2 / (2.0 * BRAKING) - 0.6 * velocity)
            if velocity < -STANDING and a > s:
                if future < blockage.end + (16.0 if assertive else 9.0):
                    return False
            elif a < s - 2.0:
                if velocity > speed and a + (velocity - speed) * _time_to(max(begin - s, 0.0) + 10.0, speed) > s - 8.0:
                    return False
            elif (abs(velocity) <= STANDING and begin < a < end + 8.0) or (velocity > STANDING and a < s + 9.0):
                return False
        return True

    def _shift(self, offset: np.ndarray, first: int, s: float, blockage: Blockage, shift: float) -> None:
        """Write one passing manoeuvre into the offsets; several overlap by their largest."""
        grid = first + np.arange(len(offset), dtype=float)
        length = SHIFT_LENGTH * min(1.0, max(abs(shift) / 2.5, 0.55))
        begin = blockage.start - self._half_length - 0.5
        end = blockage.end + self._half_length + 1.5
        ramp_in = np.clip((grid - (begin - length)) / length, 0.0, 1.0)
        ramp_out = np.clip((end + length - grid) / length, 0.0, 1.0)
        share = 0.5 - 0.5 * np.cos(np.pi * np.minimum(ramp_in, ramp_out))
        wanted = shift * share
        stronger = np.abs(wanted) > np.abs(offset)
        offset[stronger] = wanted[stronger]


def _immovable(prediction: Prediction) -> bool:
    actor = prediction.actor
    return prediction.standing and (actor.parked or actor.kind in PROPS or actor.door_open > 0.05)


def _with_neighbours(blocking: list[Blockage], beside: list[Blockage]) -> list[Blockage]:
    """What stands beside the lane next to a blockage belongs to it: the way round must clear it too."""
    found = list(blocking)
    for piece in sorted(beside, key=lambda b: b.start):
        if any(piece.start - b.end < SHIFT_LENGTH and b.start - piece.end < SHIFT_LENGTH for b in found):
            found.append(piece)
    return sorted(found, key=lambda b: b.start)


def _joined(found: list[Blockage]) -> list[Blockage]:
    joined: list[Blockage] = []
    for b in found:
        if joined and b.start - joined[-1].end < JOIN:
            a = joined.pop()
            b = Blockage(
                a.start, max(a.end, b.end), min(a.right, b.right), max(a.left, b.left), a.actors | b.actors
            )  # fmt: skip
        joined.append(b)
    return joined


def _time_to(distance: float, speed: float) -> float:
    """s to drive `distance` m, accelerating at 1.8 m/s^2 up to PASSING_SPEED."""
    if distance <= 0.0:
        return 0.0
    start = min(max(speed, 0.0), PASSING_SPEED)
    rise = (PASSING_SPEED - start) / 1.8
    covered = 0.5 * (start + PASSING_SPEED) * rise
    if covered >= distance:
        return float((np.sqrt(start**2 + 3.6 * distance) - start) / 1.8)
    return float(rise + (distance - covered) / PASSING_SPEED)
