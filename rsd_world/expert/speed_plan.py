"""How fast the ego goes along its path: IDM behind what is on it, stops before what will cross it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rsd_world.expert.occupancy import Occupancy
from rsd_world.expert.path_following import STEP, DrivenPath
from rsd_world.expert.prediction import TIMES

DT = float(TIMES[1])
MAX_ACCELERATION = 2.0  # m/s^2
COMFORT_BRAKING = 2.4  # m/s^2
HARDEST = -7.5  # m/s^2
LATERAL_ACCELERATION = 2.2  # m/s^2
HEADWAY = 1.2  # s
LINE_GAP = 1.2  # m between the front and a stop line
CROSSING_GAP = 1.8  # m between the front and what crosses
TIME_MARGIN = 0.6  # s between the ego and a crossing vehicle
CAREFUL_MARGIN = 1.3  # s, as long as the ego can stop before the crossing vehicle's way: it may speed up
SOFT_TIME_MARGIN = 0.9  # s, and a person


@dataclass(frozen=True)
class Hold:
    """A place on the path that must not be passed for a while."""

    s: float  # m along the path, for the front of the ego
    until: float  # s from now, inf = no end known
    reason: str
    actor: int | None = None


@dataclass(frozen=True)
class SpeedPlan:
    """Motion along the path at TIMES."""

    s: np.ndarray  # (T,) m
    speed: np.ndarray  # (T,) m/s
    acceleration: float  # m/s^2 now
    reason: str
    actor: int | None = None
    yielding_to: tuple[int, ...] = field(default=())


def speed_limits(path: DrivenPath, limit: np.ndarray, caps: Sequence[tuple[float, float]] = ()) -> np.ndarray:
    """(N,) m/s at each path point: the road's limit, curves and `caps` (s, speed), all reachable by braking."""
    curve = np.sqrt(LATERAL_ACCELERATION / np.maximum(np.abs(path.curvature), 1e-3))
    allowed = np.minimum(limit, curve)
    for s, speed in caps:
        index = min(max(int(s / STEP), 0), len(allowed) - 1)
        allowed[index] = min(allowed[index], speed)
    ramp = 2.0 * COMFORT_BRAKING * 0.75 * STEP * np.arange(len(allowed))
    return np.sqrt(np.minimum.accumulate((allowed**2 + ramp)[::-1])[::-1] - ramp)


class SpeedPlanner:
    """Plans along one path; `half_length` m of the ego. `patient`: it asks for the wider gaps."""

    def __init__(self, path: DrivenPath, limits: np.ndarray, half_length: float, patient: bool = True) -> None:
        self._limits = limits.tolist()
        self._half = half_length
        self._patient = patient

    def plan(
        self, speed: float, occupied: Sequence[Occupancy], holds: Sequence[Hold], junction: JunctionSpan
    ) -> SpeedPlan:
        """Roll forward; whatever the ego would meet off its guard is yielded to from now on, and it is rolled again."""
        leaders = list(occupied)
        yielded: dict[int, Hold] = {}
        merging: list[Occupancy] = []
        plan = self._roll(speed, leaders, merging, holds)
        for _ in range(4):
            met = self._first_conflict(plan, occupied, leaders, yielded, merging)
            if met is None:
                break
            actor = met.prediction.actor.id
            if met.angle < 0.8 and met.speed > 1.0:
                merging.append(met)
                yielded[actor] = Hold(math.inf, 0.0, "")
            else:
                yielded[actor] = self._hold_before(met, plan, junction)
            active = [*holds, *(h for h in yielded.values() if h.reason)]
            plan = self._roll(speed, leaders, merging, active)
        return SpeedPlan(plan.s, plan.speed, plan.acceleration, plan.reason, plan.actor, tuple(yielded))

    def _roll(
        self, speed: float, leaders: Sequence[Occupancy], merging: Sequence[Occupancy], holds: Sequence[Hold]
    ) -> SpeedPlan:
        tables = [(o, o.low.tolist(), o.high.tolist(), max(o.speed, 0.0)) for o in leaders]
        ahead = [(o, (o.center - 0.5 * o.prediction.actor.size[0]).tolist(), max(o.speed, 0.0)) for o in merging]
        s, places, speeds = 0.0, [], []
        first: tuple[float, str, int | None] = (0.0, "", None)
        for k in range(len(TIMES)):
            places.append(s)
            speeds.append(speed)
            choice = self._acceleration(s, speed, k, tables, ahead, holds)
            if k == 0:
                first = choice
            new = max(0.0, speed + choice[0] * DT)
            s += 0.5 * (speed + new) * DT
            speed = new
        return SpeedPlan(np.array(places), np.array(speeds), first[0], first[1], first[2])

    def _acceleration(
        self, s: float, speed: float, k: int, tables: list, ahead: list, holds: Sequence[Hold]
    ) -> tuple[float, str, int | None]:
        limits = self._limits
        index = min(int((s + 0.5 * speed) / STEP), len(limits) - 1)
        desired = max(min(limits[min(int(s / STEP), len(limits) - 1)], limits[index]), 0.1)
        best, reason, who = _free(speed, desired), "following the route", None
        front = s + self._half
        for occupancy, low, high, their_speed in tables:
            if low[k] == math.inf or 0.5 * (low[k] + high[k]) < s:
                continue
            value = _interaction(speed, desired, low[k] - front, their_speed, 2.0)
            if value < best:
                best, reason, who = value, "keeping distance", occupancy.prediction.actor.id
        for occupancy, rear, their_speed in ahead:
            gap = rear[k] - front
            value = _interaction(speed, desired, gap, their_speed, 2.0) if gap > 0.3 else -3.5  # beside: fall back
            if value < best:
                best, reason, who = value, "letting merge", occupancy.prediction.actor.id
        for hold in holds:
            if k * DT < hold.until:
                value = _interaction(speed, desired, hold.s - front + 0.8, 0.0, 0.8)
                if value < best:
                    best, reason, who = value, hold.reason, hold.actor
        return max(best, HARDEST), reason, who

    def _first_conflict(
        self, plan: SpeedPlan, occupied: Sequence[Occupancy], leaders: Sequence[Occupancy], yielded: dict,
        merging: Sequence[Occupancy],
    ) -> Occupancy | None:  # fmt: skip
        first, found = math.inf, None
        leading = {id(o) for o in leaders}
        for occupancy in occupied:
            if occupancy.prediction.actor.id in yielded or (id(occupancy) in leading and occupancy.inside.all()):
                continue
            step = self._meets(plan, occupancy)
            if step is not None and step < first:
                first, found = step, occupancy
        return found

    def _meets(self, plan: SpeedPlan, occupancy: Occupancy) -> int | None:
        """First time index at which the ego and the actor would share a place, with margins in time."""
        margin = round(self._margin(plan, occupancy) / DT)
        low, high = _widened(occupancy.low, margin, np.minimum), _widened(occupancy.high, margin, np.maximum)
        rear, front = plan.s - self._half, plan.s + self._half
        touch = (front + 0.3 > low) & (rear - 0.3 < high)
        if not touch.any():
            return None
        k = int(touch.argmax())
        if occupancy.angle < 0.8 and occupancy.center[k] < plan.s[k] + 1.0 and occupancy.center[0] < 0.0:
            return None  # it comes from behind and follows
        entered = int(np.isfinite(occupancy.low).argmax())
        if occupancy.low[entered] < plan.s[0] + self._half - 0.5 and occupancy.angle > 0.4:
            return None  # the ego is in its way already: standing still would not help
        return k

    def _margin(self, plan: SpeedPlan, occupancy: Occupancy) -> float:
        if occupancy.prediction.soft:
            return SOFT_TIME_MARGIN
        if occupancy.angle < 0.8 or not self._patient:
            return TIME_MARGIN
        room = float(occupancy.low.min()) - self._half - 0.5
        return CAREFUL_MARGIN if plan.speed[0] ** 2 < 2.0 * COMFORT_BRAKING * room else TIME_MARGIN

    def _hold_before(self, met: Occupancy, plan: SpeedPlan, junction: JunctionSpan) -> Hold:
        step = self._meets(plan, met) or 0
        inside = met.inside
        # The stretch of time around the meeting in which the actor is on the path.
        near = np.flatnonzero(inside)
        anchor = int(near[np.abs(near - step).argmin()])
        last = anchor
        while last + 1 < len(inside) and inside[last + 1]:
            last += 1
        begin = anchor
        while begin > 0 and inside[begin - 1]:
            begin -= 1
        s = float(met.low[begin : last + 1].min()) - CROSSING_GAP
        until = float(TIMES[last]) + 0.3 if last + 1 < len(TIMES) else math.inf
        entry = junction.entry
        if entry is not None and junction.hold_before_entry and self._half - 0.5 < entry < s < junction.exit + 2.0:
            s = entry - LINE_GAP
        kind = met.prediction.actor.kind.value
        return Hold(s, until, f"giving way to {kind}", met.prediction.actor.id)


@dataclass(frozen=True)
class JunctionSpan:
    """The next junction on the path."""

    entry: float | None  # m along the path, None = none in range
    exit: float  # m
    hold_before_entry: bool  # give way before it, not inside


def _widened(values: np.ndarray, steps: int, extreme: np.ufunc) -> np.ndarray:
    out = values.copy()
    for k in range(1, steps + 1):
        out[k:] = extreme(out[k:], values[:-k])
        out[:-k] = extreme(out[:-k], values[k:])
    return out


def _free(speed: float, desired: float) -> float:
    if speed > desired:
        return max((desired - speed) / 0.9, -3.0)
    return MAX_ACCELERATION * (1.0 - (speed / desired) ** 4)


def _stopping(speed: float, room: float) -> float:
    """Acceleration that comes to rest in `room` m along a curve of constant braking."""
    room = max(room, 0.02)
    allowed = math.sqrt(2.0 * 0.75 * COMFORT_BRAKING * room)
    return (allowed - speed) / 0.8 - speed * speed / (2.0 * room)


def _interaction(speed: float, desired: float, gap: float, their_speed: float, standstill: float) -> float:
    """IDM acceleration behind something `gap` m ahead of the front."""
    if their_speed < 0.5:
        return _stopping(speed, gap - standstill)
    closing = speed - their_speed
    wish = standstill + max(0.0, speed * HEADWAY * min(1.0, their_speed / 3.0) + speed * closing / (2.0 * _SQRT_AB))
    gap = max(gap, 0.05)
    free = 1.0 - min(speed / desired, 1.0) ** 4
    needed = closing * closing / (2.0 * max(gap - 0.5 * standstill, 0.2)) if closing > 0.0 else 0.0
    value = MAX_ACCELERATION * (free - (wish / gap) ** 2)
    # IDM over-brakes when something appears close ahead; what physics asks for is enough, with a reserve.
    return max(value, -1.35 * needed - 1.0 - 1.5 * max(standstill - gap, 0.0))


_SQRT_AB = math.sqrt(MAX_ACCELERATION * COMFORT_BRAKING)
