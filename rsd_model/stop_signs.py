"""Stop signs: a halt before each perceived stop line on the route, whatever the plan.

Whether a sign has been obeyed is in no image: the network knows only how far back the vehicle stood last, and takes a
halt in a queue for one at the line. Its stop lines are good to a metre, so where it stood is remembered beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rsd_model.contracts import MAP_CLASSES, STANDSTILL, FrameSet, MapElements, PlannerOutput
from rsd_model.geometry import transform_points
from rsd_model.stop_plan import path_ahead, stop_within

_SIGN, _LIGHT = MAP_CLASSES.index("StopSign"), MAP_CLASSES.index("TrafficLight")


@dataclass(frozen=True)
class StopSignSettings:
    """Which lines count, and where to halt. The defaults suit a passenger car and the shipped weights."""

    evidence: float = 1.0  # sum over plans of its score as that of a sign, less that of a light, before it is halted at
    reach: float = 14.0  # m ahead; further off lines of other approaches are taken for the own one
    length: tuple[float, float] = (2.0, 5.5)  # m of a line across one lane
    slant: float = 0.6  # rad, of a line from square to the route
    forget: float = 1.0  # s unseen, after which a line was none
    same: float = 3.0  # m between the middles of two sightings of one line
    aside: float = 0.5  # m beyond its ends at which the route still crosses a line
    zone: float = 7.0  # m of the vehicle's centre before the line, in which a halt counts
    front: float = 2.45  # m from the centre to the bumper
    gap: float = 1.0  # m of the bumper before the line, where it halts
    deceleration: float = 3.0  # m/s^2 in comfort
    full: float = 6.0  # m/s^2; a line that is seen too late to halt before it with this is driven over


@dataclass(eq=False)
class _Line:
    """A stop line ahead."""

    ends: np.ndarray  # (2, 2) m, map
    seen: float  # s, when last
    evidence: float = 0.0
    obeyed: bool = False  # the vehicle has stood before it

    @property
    def middle(self) -> np.ndarray:
        return self.ends.mean(axis=0)


class StopSigns:
    """Holds one plan after another of one drive back, where it crosses a stop line that was not halted at."""

    def __init__(self, settings: StopSignSettings | None = None) -> None:
        self.settings = settings or StopSignSettings()
        self.reset()

    def reset(self) -> None:
        """A new drive begins, or time has jumped."""
        self._lines: list[_Line] = []

    def check(self, output: PlannerOutput, frame: FrameSet) -> PlannerOutput:
        """The output as it is, or ending before the line, with `stop_reason` saying why; without a route as it is."""
        if len(frame.route) < 2:
            return output
        settings, speed = self.settings, max(frame.ego.speed, 0.0)
        self._see(output.map, frame)
        ahead = [(line, distance) for line in self._lines if (distance := self._distance(line, frame)) is not None]
        self._lines = [line for line, _ in ahead]
        for line, distance in sorted(ahead, key=lambda pair: pair[1]):
            line.obeyed |= speed < STANDSTILL and distance <= settings.zone
            too_late = speed**2 / (2.0 * settings.full) > distance
            if line.obeyed or too_late or line.evidence < settings.evidence:
                continue
            room = max(distance - settings.front - settings.gap, 0.0)
            trajectory = stop_within(output.trajectory, speed, room, settings.deceleration)
            if trajectory is not output.trajectory:
                return replace(output, trajectory=trajectory, stop_reason=f"stop sign: line {distance:.1f} m ahead")
        return output

    def _see(self, lines: MapElements, frame: FrameSet) -> None:
        """Take in the stop lines of one plan that lie across the route; each place counts once for either kind."""
        for kind, sign in ((_SIGN, 1.0), (_LIGHT, -1.0)):
            taken: list[_Line] = []
            for k in np.flatnonzero(lines.labels == kind):
                ends = lines.points[k][[0, -1]]
                if not self._is_ours(ends, frame.route):
                    continue
                line = self._line(transform_points(frame.ego.pose, ends), frame.stamp)
                if line not in taken:
                    taken.append(line)
                    line.evidence += sign * float(lines.scores[k])

    def _line(self, ends: np.ndarray, stamp: float) -> _Line:
        """The known line at `ends` (2, 2) m, map, brought there, or a new one."""
        near = [k for k in self._lines if np.hypot(*(k.middle - ends.mean(axis=0))) < self.settings.same]
        line = near[0] if near else _Line(ends, stamp)
        if not near:
            self._lines.append(line)
        line.ends, line.seen = ends, stamp
        return line

    def _is_ours(self, ends: np.ndarray, route: np.ndarray) -> bool:
        settings = self.settings
        place = crossing(route, ends, settings.aside)
        low, high = settings.length
        across = np.cos(settings.slant)
        return (
            place is not None
            and place.along < settings.reach
            and low < np.hypot(*(ends[1] - ends[0])) < high
            and place.across > across
        )

    def _distance(self, line: _Line, frame: FrameSet) -> float | None:
        """m along the route from the vehicle's centre to the line; None: passed, or not seen for long."""
        if frame.stamp - line.seen > self.settings.forget:
            return None
        place = crossing(frame.route, transform_points(np.linalg.inv(frame.ego.pose), line.ends), self.settings.aside)
        return None if place is None else place.along


class Crossing(NamedTuple):
    """Where a route crosses a line."""

    along: float  # m along the route from the vehicle
    across: float  # sine of the angle between them: 1 = square


def crossing(route: np.ndarray, ends: np.ndarray, aside: float) -> Crossing | None:
    """Where `route` (R, 2) crosses the line between `ends` (2, 2), all base_link, m; it starts at the vehicle.

    None where it does not within `aside` m of the line's ends.
    """
    path = path_ahead(route)
    steps = np.diff(path, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    delta, middle = ends[1] - ends[0], ends.mean(axis=0)
    length = max(float(np.hypot(*delta)), 1e-6)
    beside, beyond = (path - middle) @ delta / length, (path - middle) @ np.array([-delta[1], delta[0]]) / length
    for k in np.flatnonzero(np.sign(beyond[:-1]) != np.sign(beyond[1:])):
        share = beyond[k] / (beyond[k] - beyond[k + 1])
        if abs(beside[k] + share * (beside[k + 1] - beside[k])) <= 0.5 * length + aside:
            return Crossing(lengths[:k].sum() + share * lengths[k], abs(beyond[k + 1] - beyond[k]) / lengths[k])
    return None
