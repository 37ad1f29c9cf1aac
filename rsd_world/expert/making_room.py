"""Making room for an emergency vehicle: to the next lane or the right edge, and back when it has passed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_world.expert.prediction import Prediction
from rsd_world.expert.route_reference import RouteReference
from rsd_world.expert.speed_plan import LINE_GAP

SIREN_DISTANCE = 45.0  # m behind, from where an emergency vehicle is made room for
JUNCTION_AHEAD = 13  # m before a junction, from where nobody moves over any more
MOVED_OVER = 1.0  # m beside the route


@dataclass(frozen=True)
class Aside:
    """Where the ego makes room."""

    offset: float  # m left of the route
    wait_before: float | None = None  # m of the route that its front does not pass meanwhile; None = it drives on


class RoomMaker:
    """Remembers that the ego has changed lanes for an emergency vehicle, until it has come back."""

    def __init__(self, reference: RouteReference, half_width: float, half_length: float) -> None:
        self._reference = reference
        self._half_width = half_width
        self._half_length = half_length
        self._lane: float | None = None  # m left of the route, the lane that was moved over to

    def plan(self, s: float, lateral: float, predictions: list[Prediction]) -> Aside | None:
        """Where to be while an emergency vehicle comes from behind and the way back is not free; None on the route."""
        siren, ref = siren_behind(self._reference, s, predictions), self._reference
        if siren is not None and not ref.in_junction[max(int(s) - 2, 0) : int(s) + JUNCTION_AHEAD].any():
            self._lane = self._free_lane(s, lateral, [p for p in predictions if p is not siren])
            return Aside(self._right_edge(s) if self._lane is None else self._lane)
        entry = self._entry(s)
        over = self._lane is not None and lateral * np.sign(self._lane) > MOVED_OVER
        front_is_in = entry < s + self._half_length
        if not over or front_is_in or (siren is None and self._is_free(s, 0.0, predictions)):
            self._lane = None
            return None
        return Aside(self._lane, entry - LINE_GAP if np.isfinite(entry) else None)

    def _free_lane(self, s: float, lateral: float, others: list[Prediction]) -> float | None:
        """Offset of a lane beside the route's where there is room; the one that the ego is in already stays so."""
        ref = self._reference
        index = min(int(s) + 5, len(ref.half_width) - 1)
        for width, sign in ((ref.right_same[index], -1.0), (ref.left_same[index], 1.0)):
            shift = sign * (float(ref.half_width[index]) + 0.5 * float(width))
            if width > 0.0 and (sign * lateral > MOVED_OVER or self._is_free(s, shift, others)):
                return shift
        return None

    def _right_edge(self, s: float) -> float:
        index = min(int(s) + 5, len(self._reference.half_width) - 1)
        return -max(float(self._reference.half_width[index]) - self._half_width - 0.15, 0.0)

    def _entry(self, s: float) -> float:
        """m along the route where the next junction begins, or the one that the ego is in."""
        inside = np.flatnonzero(self._reference.in_junction[int(s) :])
        return int(s) + float(inside[0]) if len(inside) else np.inf

    def _is_free(self, s: float, shift: float, predictions: list[Prediction]) -> bool:
        """Nobody is beside the ego at that offset, nor comes up there within three seconds."""
        if not predictions:
            return True
        places = np.stack([p.actor.position[:2] for p in predictions])
        along, aside = self._reference.project_many(places, max(int(s) - 40, 0), int(s) + 40)
        ahead = along - s
        speeds = np.array([p.speed for p in predictions])
        beside = np.abs(aside - shift) < 1.6 + np.array([0.5 * p.actor.size[1] for p in predictions])
        return not (beside & (ahead < 9.0) & (ahead + 3.0 * np.maximum(speeds - 4.0, 0.0) > -8.0)).any()


def siren_behind(reference: RouteReference, s: float, predictions: list[Prediction]) -> Prediction | None:
    """An emergency vehicle with its siren on that comes up from behind."""
    for p in predictions:
        if not p.actor.siren or p.standing:
            continue
        along, _ = reference.project(p.actor.position, s, 70.0)
        index = min(max(int(along), 0), len(reference.yaw) - 1)
        same = np.cos(p.actor.yaw - reference.yaw[index]) > 0.5
        if same and s - SIREN_DISTANCE < along < s + 3.0:
            return p
    return None
