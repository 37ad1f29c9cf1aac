"""From a layout to curves: street centre lines trimmed at junctions, and the connecting lanes through them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyclothoids import Clothoid

from rsd_world.roads.generate_layouts import Layout, Street

MIN_RIGHT_RADIUS = 7.5  # m, lane centre
MIN_LEFT_RADIUS = 10.5
_RADII = np.arange(11.0, 32.0, 0.5)  # m from the junction's middle to the stop lines, tried in turn
_STRAIGHT = math.radians(35.0)
_U_TURN = math.radians(150.0)


@dataclass(frozen=True)
class Pose2D:
    """A place with a heading in the plane."""

    x: float
    y: float
    heading: float  # rad

    def moved(self, forward: float, right: float = 0.0) -> Pose2D:
        """The pose `forward` and `right` m from here, same heading."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        return Pose2D(self.x + forward * c + right * s, self.y + forward * s - right * c, self.heading)

    def reversed(self) -> Pose2D:
        """The same place, facing back."""
        return Pose2D(self.x, self.y, self.heading + math.pi)


@dataclass(frozen=True)
class Arm:
    """One end of a street at a node."""

    street: int  # index into Layout.streets
    at_start: bool  # the street's start (else its end) lies here
    outward: Pose2D  # at the node's middle, facing along the street away from the node
    lanes: int
    lane_width: float
    speed: float  # km/h


@dataclass(frozen=True)
class Connection:
    """One lane through a junction; its curve is the lane's left edge."""

    node: str
    entry: Arm
    exit: Arm
    entry_lane: int  # 0 = leftmost
    exit_lane: int
    curve: Any  # pyclothoids.Clothoid


@dataclass(frozen=True)
class StreetPlan:
    """All curves of a town."""

    layout: Layout
    curves: tuple[tuple[Any, ...], ...]  # for each street its centre line as clothoids
    arms: dict[str, tuple[Arm, ...]]
    radii: dict[str, float]  # m from the node's middle to the stop lines
    connections: tuple[Connection, ...]


def plan_streets(layout: Layout) -> StreetPlan:
    """Lay out all curves; raises ValueError where a junction's turns cannot reach the smallest radii."""
    arms = {name: _arms(layout, name) for name in layout.nodes}
    radii, connections = {}, []
    for name, node in layout.nodes.items():
        radii[name], found = (0.0, []) if node.control == "joint" else _junction(name, arms[name])
        connections += found
    curves = tuple(_centre_line(layout, street, radii) for street in layout.streets)
    return StreetPlan(layout, curves, arms, radii, tuple(connections))


def end_headings(layout: Layout, street: Street) -> tuple[float, float]:
    """Headings in rad at both ends of a street, driving from start to end."""
    points = _through(layout, street)
    first = math.atan2(points[1][1] - points[0][1], points[1][0] - points[0][0])
    last = math.atan2(points[-1][1] - points[-2][1], points[-1][0] - points[-2][0])
    start = first if street.start_heading is None else math.radians(street.start_heading)
    return start, last if street.end_heading is None else math.radians(street.end_heading)


def _through(layout: Layout, street: Street) -> list[tuple[float, float]]:
    return [layout.nodes[street.start].at, *street.via, layout.nodes[street.end].at]


def _arms(layout: Layout, name: str) -> tuple[Arm, ...]:
    x, y = layout.nodes[name].at
    found = []
    for i, street in enumerate(layout.streets):
        start, end = end_headings(layout, street)
        if street.start == name:
            found.append(Arm(i, True, Pose2D(x, y, start), street.lanes, street.lane_width, street.speed))
        if street.end == name:
            found.append(Arm(i, False, Pose2D(x, y, end + math.pi), street.lanes, street.lane_width, street.speed))
    return tuple(found)


def _centre_line(layout: Layout, street: Street, radii: dict[str, float]) -> tuple[Any, ...]:
    start, end = end_headings(layout, street)
    points = _through(layout, street)
    first = Pose2D(*points[0], start).moved(radii[street.start])
    last = Pose2D(*points[-1], end).moved(-radii[street.end])
    poses = [first]
    for before, at, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        poses.append(Pose2D(*at, math.atan2(after[1] - before[1], after[0] - before[0])))
    poses.append(last)
    return tuple(_clothoid(a, b) for a, b in zip(poses[:-1], poses[1:], strict=True))


def _clothoid(a: Pose2D, b: Pose2D) -> Any:
    return Clothoid.G1Hermite(a.x, a.y, a.heading, b.x, b.y, b.heading)


def _junction(name: str, arms: tuple[Arm, ...]) -> tuple[float, list[Connection]]:
    """The smallest junction whose turns all reach the smallest radii."""
    for radius in _RADII:
        connections = _connections(name, arms, float(radius))
        if all(_wide_enough(connection) for connection in connections):
            return float(radius), connections
    raise ValueError(f"junction {name}: turns stay tighter than {MIN_RIGHT_RADIUS} m right, {MIN_LEFT_RADIUS} m left")


def _wide_enough(connection: Connection) -> bool:
    curve, half = connection.curve, connection.entry.lane_width / 2.0
    curvatures = [curve.KappaStart, curve.KappaEnd]
    tightest_right, tightest_left = max(0.0, -min(curvatures)), max(0.0, max(curvatures))
    right_fits = tightest_right * (MIN_RIGHT_RADIUS + half) <= 1.0
    return right_fits and tightest_left * (MIN_LEFT_RADIUS - half) <= 1.0


def _connections(name: str, arms: tuple[Arm, ...], radius: float) -> list[Connection]:
    found = []
    for entry in arms:
        turns = {i: _turn(entry, arm) for i, arm in enumerate(arms) if arm is not entry}
        for i, turn in turns.items():
            for entry_lane, exit_lane in _lane_pairs(entry.lanes, arms[i].lanes, turn, set(turns.values())):
                found.append(_connection(name, entry, arms[i], entry_lane, exit_lane, radius))
    return found


def _turn(entry: Arm, leaving: Arm) -> str:
    driving = entry.outward.heading + math.pi
    change = (leaving.outward.heading - driving + math.pi) % (2.0 * math.pi) - math.pi
    if abs(change) > _U_TURN:
        return "u_turn"
    if abs(change) < _STRAIGHT:
        return "straight"
    return "left" if change > 0 else "right"


def _lane_pairs(entry: int, leaving: int, turn: str, turns: set[str]) -> list[tuple[int, int]]:
    """(entry lane, exit lane) of one movement, counted from the left."""
    if turn == "right":
        return [(entry - 1, leaving - 1)]
    if turn == "left":
        return [(0, 0)]
    if turn == "u_turn":
        return []
    pairs = [(i, leaving - entry + i) for i in range(entry) if leaving - entry + i >= 0]
    if leaving != entry and ("left" not in turns or leaving > entry):
        pairs.insert(0, (0, 0))  # the leftmost lane needs a way on, or a way in
    return pairs


def _connection(name: str, entry: Arm, leaving: Arm, entry_lane: int, exit_lane: int, radius: float) -> Connection:
    begin = entry.outward.reversed().moved(-radius, entry_lane * entry.lane_width)
    end = leaving.outward.moved(radius, exit_lane * leaving.lane_width)
    return Connection(name, entry, leaving, entry_lane, exit_lane, _clothoid(begin, end))
