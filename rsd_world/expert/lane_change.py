"""Lane changes of the route: made when there is a gap, put off along the old lane while there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command
from rsd_world.expert.prediction import Prediction
from rsd_world.expert.route_reference import RouteReference

DECIDE_AHEAD = 25.0  # m before a change, from where gaps are looked for
LONGEST_DELAY = 60.0  # m behind the planned change
LANE_END_MARGIN = 12.0  # m kept to a junction while waiting for a gap
ROOM = 7.0  # m between the middles of the ego and a vehicle beside it, at least
BEGUN, NOSE_IN = 0.4, 0.2  # share of the way to the side, from where a change is not broken off; when creeping
CREEPING = 2.0  # m/s, below it both a shorter gap will do
CREEPING_ROOM = 3.9  # m from the ego's middle to the bumper of a vehicle beside it
_SIDES = {Command.CHANGELANELEFT: 1.0, Command.CHANGELANERIGHT: -1.0}


@dataclass(frozen=True)
class LaneChange:
    """One change of the route."""

    start: float  # m along the route
    end: float  # m
    side: float  # 1 left, -1 right
    width: float  # m between the two lanes' centres
    last: float  # m, where the ego has to stand if there never was a gap

    def done(self, s: np.ndarray | float) -> np.ndarray:
        """Share 0 .. 1 of the sideways way that the route has made at `s`."""
        share = np.clip((np.asarray(s) - self.start) / (self.end - self.start), 0.0, 1.0)
        return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)

    def old_lane(self, s: np.ndarray | float) -> np.ndarray:
        """m left of the route, of the lane that is left."""
        return -self.side * self.width * self.done(s)

    def new_lane(self, s: np.ndarray | float) -> np.ndarray:
        """m left of the route, of the lane that is taken."""
        return self.side * self.width * (1.0 - self.done(s))


def lane_changes(reference: RouteReference) -> tuple[LaneChange, ...]:
    """All lane changes of a route."""
    commands = reference.commands
    borders = np.flatnonzero(np.diff(commands)) + 1
    found = []
    for i, j in zip([0, *borders], [*borders, len(commands)], strict=True):
        side = _SIDES.get(Command(int(commands[i])))
        if side is None or j - i < 5:
            continue
        beside = reference.left_same[i] if side > 0.0 else reference.right_same[i]
        width = float(reference.half_width[i] + 0.5 * (beside or 2.0 * reference.half_width[i]))
        junctions = np.flatnonzero(reference.in_junction[j:])
        until = j + (float(junctions[0]) - LANE_END_MARGIN if len(junctions) else LONGEST_DELAY)
        found.append(LaneChange(float(i), float(j - 1), side, width, max(min(until, j + LONGEST_DELAY), float(j))))
    return tuple(found)


def delayed_change(
    changes: tuple[LaneChange, ...],
    reference: RouteReference,
    s: float,
    lateral: float,
    speed: float,
    predictions: list[Prediction],
) -> LaneChange | None:
    """The change that the ego is at and for which there is no gap now, None = drive on as the route goes."""
    for change in changes:
        if not change.start - DECIDE_AHEAD < s < change.last + 5.0:
            continue
        moved = change.side * (lateral - float(change.old_lane(s)))
        if moved > (NOSE_IN if speed < CREEPING else BEGUN) * change.width:
            continue  # on its way, or over already
        if not _gap(change, reference, s, speed, predictions):
            return change
    return None


def _gap(change: LaneChange, reference: RouteReference, s: float, speed: float, predictions: list[Prediction]) -> bool:
    vehicles = [p for p in predictions if not p.actor.parked]
    if not vehicles:
        return True
    places = np.stack([p.actor.position[:2] for p in vehicles])
    along, aside = reference.project_many(places, max(int(s) - 50, 0), int(s) + 50)
    there = np.abs(aside - change.new_lane(along)) < 1.2 + np.array([0.5 * p.actor.size[1] for p in vehicles])
    speeds = np.array([p.speed for p in vehicles])
    ahead = along - s
    lengths = np.array([p.actor.size[0] for p in vehicles])
    room = np.where((speeds < CREEPING) & (speed < CREEPING), CREEPING_ROOM + 0.5 * lengths, ROOM)
    reach = room + np.where(ahead > 0.0, 1.2 * np.maximum(speed - speeds, 0.0), 2.2 * np.maximum(speeds - speed, 0.0))
    return not (there & (np.abs(ahead) < reach)).any()
