"""Where the vehicle is on its route, what lies ahead, and which command that geometry means. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command
from rsd_model.geometry import transform_points, wrap_angle

SPACING = 1.0  # m between the points of a route
SEARCH_BEHIND = 10.0  # m of route behind the last position in which the next is looked for
SEARCH_AHEAD = 30.0  # m ahead
LOST_AFTER = 15.0  # m off the route; beyond it the whole route is searched again
TURN_CHORD = (7, 13)  # m before and after a point between which the heading is taken
TURN_ANGLE = np.radians(50.0)  # heading change between the two that makes it a turn, not a bend of the road
LANE_CHANGE_CHORDS = ((3, 9), (6, 12), (11, 17))  # m, for sidesteps of up to 6, 12 and 22 m length
LANE_CHANGE_OFFSET = (2.0, 5.5)  # m sideways between two parallel pieces of route
PARALLEL = np.radians(12.0)  # between the two pieces of route beside a lane change
STRAIGHT = np.radians(6.0)  # within each of them


@dataclass(frozen=True)
class RoutePosition:
    """The vehicle's place on the route."""

    along: float  # m from the route's start
    remaining: float  # m to its end
    offset: float  # m between the vehicle and the route


def resample(points: np.ndarray, spacing: float = SPACING) -> np.ndarray:
    """(R, 2) points `spacing` m apart along the polyline (P, 2), its last point included; doubled points go."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points = points[np.concatenate([[True], steps > 1e-6])]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    samples = np.append(np.arange(0.0, along[-1] - 1e-6, spacing), along[-1])
    return np.stack([np.interp(samples, along, points[:, k]) for k in range(2)], axis=1)


def _chord_headings(points: np.ndarray, near: int, far: int) -> tuple[np.ndarray, np.ndarray]:
    """Headings (R,) rad of the chords that end `near` samples before and begin `near` samples after each point."""
    index, last = np.arange(len(points)), len(points) - 1

    def at(offset: int) -> np.ndarray:
        return points[np.clip(index + offset, 0, last)]

    before, after = at(-near) - at(-far), at(far) - at(near)
    ahead = np.arctan2(*(at(1) - at(-1)).T[::-1])

    def heading(chord: np.ndarray) -> np.ndarray:
        # At the ends of the route a chord shrinks to a point: the local heading stands in for it.
        return np.where(np.linalg.norm(chord, axis=1) < 1e-6, ahead, np.arctan2(chord[:, 1], chord[:, 0]))

    return heading(before), heading(after)


def _sidestep(points: np.ndarray, near: int, far: int) -> np.ndarray:
    """(R,) m to the left between two straight, parallel pieces of route before and after each point; 0 elsewhere."""
    before, after = _chord_headings(points, near, far)
    middle = before + wrap_angle(after - before) / 2.0
    index, last = np.arange(len(points)), len(points) - 1
    across = points[np.clip(index + near, 0, last)] - points[np.clip(index - near, 0, last)]
    sideways = -np.sin(middle) * across[:, 0] + np.cos(middle) * across[:, 1]
    local = np.arctan2(*np.gradient(points, axis=0).T[::-1])
    parallel = np.abs(wrap_angle(after - before)) < PARALLEL
    for offset, heading in ((-far, before), (-near, before), (near, after), (far, after)):
        parallel &= np.abs(wrap_angle(local[np.clip(index + offset, 0, last)] - heading)) < STRAIGHT
    return np.where(parallel, sideways, 0.0)


def commands_from_geometry(points: np.ndarray) -> np.ndarray:
    """(R,) `Command` at each point of a route (R, 2) m sampled every metre.

    A turn is a heading change of more than 50 degrees within 20 m; a lane change is a sidestep of a lane's width
    between parallel pieces. Going straight over a junction cannot be told from following the lane: it is LANEFOLLOW.
    """
    commands = np.full(len(points), Command.LANEFOLLOW, dtype=int)
    if len(points) < 3:
        return commands
    low, high = LANE_CHANGE_OFFSET
    for near, far in LANE_CHANGE_CHORDS:
        sideways = _sidestep(points, near, far)
        commands[(sideways > low) & (sideways < high)] = Command.CHANGELANELEFT
        commands[(sideways < -low) & (sideways > -high)] = Command.CHANGELANERIGHT
    before, after = _chord_headings(points, *TURN_CHORD)
    turning = wrap_angle(after - before)
    commands[turning > TURN_ANGLE] = Command.LEFT
    commands[turning < -TURN_ANGLE] = Command.RIGHT
    return commands


class RouteTracker:
    """Follows the vehicle along a route in `map`, forwards: where the route crosses itself it does not jump."""

    def __init__(self, points: np.ndarray) -> None:
        """`points` (P, 2) m, map. The commands come from the geometry until `set_commands` is told better."""
        self.points = resample(points)
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        self.along = np.concatenate([[0.0], np.cumsum(steps)])
        self.commands = commands_from_geometry(self.points)
        self._last: float | None = None

    def set_commands(self, positions: np.ndarray, commands: np.ndarray) -> None:
        """Commands (P,) at `positions` (P, 2) m, map, in driving order; each holds until the next position.

        Positions off this route are left out; with more than a tenth of them off it they belong to another route, and
        the commands stay as they are.
        """
        along, places = None, []
        for position, command in zip(positions, commands, strict=True):
            found, offset = self._project(position, along, ahead=np.inf)
            if offset <= LOST_AFTER:
                along = found
                places.append((found, command))
        if len(places) < 0.9 * len(positions) or not places:
            return
        starts, kept = (np.array(column) for column in zip(*places, strict=True))
        self.commands = kept[np.clip(np.searchsorted(starts, self.along + 1e-6, side="right") - 1, 0, None)].astype(int)

    @property
    def length(self) -> float:
        """Length of the route in m."""
        return float(self.along[-1])

    def reset(self) -> None:
        """Search the whole route at the next update (after a jump in time)."""
        self._last = None

    def update(self, position: np.ndarray) -> RoutePosition:
        """Place of the vehicle at `position` (2,) m, map."""
        along, offset = self._project(position, self._last)
        if self._last is not None and offset > LOST_AFTER:
            along, offset = self._project(position, None)
        self._last = along
        return RoutePosition(along, self.length - along, offset)

    def _project(self, position: np.ndarray, last: float | None, ahead: float = SEARCH_AHEAD) -> tuple[float, float]:
        starts, ends = self.points[:-1], self.points[1:]
        edges = ends - starts
        share = np.einsum("ij,ij->i", position - starts, edges) / np.einsum("ij,ij->i", edges, edges)
        share = np.clip(share, 0.0, 1.0)
        distance = np.linalg.norm(starts + share[:, None] * edges - position, axis=1)
        if last is not None:
            outside = (self.along[1:] < last - SEARCH_BEHIND) | (self.along[:-1] > last + ahead)
            distance = np.where(outside, np.inf, distance)
        nearest = int(np.argmin(distance))
        length = self.along[nearest + 1] - self.along[nearest]
        return float(self.along[nearest] + share[nearest] * length), float(distance[nearest])

    def ahead(self, pose: np.ndarray, along: float, length: float = 50.0) -> np.ndarray:
        """(R, 2) m, base_link: the route from `along` on, `SPACING` m apart; `pose` (4, 4) is base_link -> map."""
        samples = np.arange(along, min(along + length, self.length) + 1e-6, SPACING)
        points = np.stack([np.interp(samples, self.along, self.points[:, k]) for k in range(2)], axis=1)
        flat = np.eye(4)
        yaw = np.arctan2(pose[1, 0], pose[0, 0])
        flat[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        flat[:2, 3] = pose[:2, 3]
        return transform_points(np.linalg.inv(flat), points)

    def command(self, along: float, lookahead: float = 15.0) -> Command:
        """The manoeuvre at `along` or the next one within `lookahead` m, else LANEFOLLOW."""
        inside = (self.along > along - SPACING) & (self.along <= along + lookahead)
        manoeuvres = self.commands[inside & (self.commands != Command.LANEFOLLOW)]
        return Command(int(manoeuvres[0])) if len(manoeuvres) else Command.LANEFOLLOW
