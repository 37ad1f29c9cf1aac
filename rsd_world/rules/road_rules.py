"""Red lights, stop signs, and the lanes that the ego must keep to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.town import Town
from rsd_world.rules.moment import Moment
from rsd_world.state import LightState

STOP_ZONE = 8.0  # m of the ego's centre before the line, in which a stop counts
STOPPED = 0.1  # m/s
ALLOWED_OUT = 0.5  # m beyond the lane's edge (CARLA's ALLOWED_OUT_DISTANCE)


@dataclass(frozen=True)
class _Lines:
    """Stop lines: middle, driving direction, half width, and the id of what governs each."""

    points: np.ndarray  # (L, 2)
    directions: np.ndarray  # (L, 2)
    half_widths: np.ndarray  # (L,)
    ids: np.ndarray  # (L,)

    @classmethod
    def of(cls, graph: LaneGraph, governed: Iterable[tuple[int, int]]) -> _Lines:
        pairs = list(governed)
        poses = np.array([graph.pose_at(lane, graph.length(lane)) for _, lane in pairs]).reshape(-1, 4)
        widths = np.array([graph.lanes[lane].widths[-1] for _, lane in pairs])
        directions = np.stack([np.cos(poses[:, 3]), np.sin(poses[:, 3])], axis=-1)
        return cls(poses[:, :2], directions, 0.5 * widths, np.array([i for i, _ in pairs], int))

    def along(self, position: np.ndarray) -> np.ndarray:
        """(L,) m past each line."""
        return ((position[:2] - self.points) * self.directions).sum(-1)

    def beside(self, position: np.ndarray, yaw: float) -> np.ndarray:
        """(L,) bool: within the lane's width and driving its way."""
        delta = position[:2] - self.points
        lateral = np.abs(delta[:, 1] * self.directions[:, 0] - delta[:, 0] * self.directions[:, 1])
        return (lateral < self.half_widths) & (self.directions @ [np.cos(yaw), np.sin(yaw)] > 0.5)

    def crossed(self, moment: Moment) -> np.ndarray:
        """(L,) bool: the ego's centre went over the line in this step."""
        passed = (self.along(moment.before) < 0.0) & (self.along(moment.ego.position) >= 0.0)
        return passed & self.beside(moment.ego.position, moment.ego.yaw)


class RedLightRule:
    """The ego's centre crosses a stop line whose light is red."""

    def __init__(self, town: Town) -> None:
        self._lines = _Lines.of(town.lanes, ((light.id, lane) for light in town.lights for lane in light.lanes))

    def check(self, moment: Moment) -> list[Infraction]:
        """New offences of this step."""
        lights = dict.fromkeys(int(i) for i in self._lines.ids[self._lines.crossed(moment)])
        return [
            Infraction(InfractionKind.RED_LIGHT, moment.time, moment.ego.position, f"ran red light {i}", actor=i)
            for i in lights
            if moment.lights[i] is LightState.RED
        ]


class StopSignRule:
    """The ego crosses the line of a stop sign without having stood before it."""

    def __init__(self, town: Town) -> None:
        self._lines = _Lines.of(town.lanes, ((sign.id, lane) for sign in town.stop_signs for lane in sign.lanes))
        self._stood = np.zeros(len(self._lines.ids), bool)

    def check(self, moment: Moment) -> list[Infraction]:
        """New offences of this step."""
        along = self._lines.along(moment.ego.position)
        zone = (along > -STOP_ZONE) & (along < 0.0) & self._lines.beside(moment.ego.position, moment.ego.yaw)
        if moment.ego.speed < STOPPED:
            self._stood |= zone
        crossed = self._lines.crossed(moment)
        offences = dict.fromkeys(int(i) for i in self._lines.ids[crossed & ~self._stood])
        self._stood &= along < 0.0
        return [
            Infraction(InfractionKind.STOP_SIGN, moment.time, moment.ego.position, f"ran stop sign {i}", actor=i)
            for i in offences
        ]


class LaneRule:
    """Share of the way with the ego's centre off the road or on a lane of the other direction; one growing entry."""

    def __init__(self, graph: LaneGraph) -> None:
        self._graph = graph
        self.driven = self.outside = 0.0  # m

    def check(self, moment: Moment, infractions: list[Infraction]) -> None:
        """Add to or update the entry in `infractions`."""
        step = float(np.linalg.norm((moment.ego.position - moment.before)[:2]))
        self.driven += step
        if step == 0.0 or moment.may_leave_lane or not self._is_outside(moment):
            return
        self.outside += step
        share = 100.0 * self.outside / self.driven
        detail = f"outside the route's lanes for {self.outside:.1f} m ({share:.2f}% of the way)"
        entry = Infraction(InfractionKind.OUTSIDE_LANES, moment.time, moment.ego.position, detail, share)
        for k, known in enumerate(infractions):
            if known.kind is InfractionKind.OUTSIDE_LANES:
                infractions[k] = replace(entry, time=known.time, position=known.position)
                return
        infractions.append(entry)

    def settle(self, infractions: list[Infraction]) -> None:
        """Set the final share, now that the whole way is known."""
        for k, known in enumerate(infractions):
            if known.kind is InfractionKind.OUTSIDE_LANES:
                share = 100.0 * self.outside / max(self.driven, 1e-6)
                detail = f"outside the route's lanes for {self.outside:.1f} m ({share:.2f}% of the way)"
                infractions[k] = replace(known, percentage=share, detail=detail)

    def _is_outside(self, moment: Moment) -> bool:
        tracker = moment.tracker
        if abs(tracker.lateral) < 1.2:
            return False
        ego = moment.ego
        place = self._graph.nearest(ego.position[:2], ego.yaw, 12.0)
        if place is None:
            return True
        lane = self._graph.lanes[place.lane]
        if lane.junction >= 0:
            return abs(place.lateral) > 5.0
        heading = self._graph.pose_at(place.lane, place.s)[3]
        wrong_way = np.cos(ego.yaw - heading) < 0.0
        return bool(wrong_way or abs(place.lateral) > 0.5 * self._graph.width_at(place.lane, place.s) + ALLOWED_OUT)
