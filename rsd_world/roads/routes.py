"""Routes over a lane graph, with the commands that CARLA's planner gives along them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph, LaneLocation, Route
from rsd_world.roads.town import Town

POINT_SPACING = 1.0  # m
CHANGE_LENGTH = 20.0  # m over which a lane change is spread
_SHORTEST_CHANGE = 15.0  # m, where the lane leaves no more room
_CHANGE_MARGIN = 4.0  # m of the lane kept before and after a change
_CHANGE_COST = 15.0  # m that a change counts as
_WIDEST_CHANGE = 8.0  # m between the centres of the two lanes


class NoRouteError(ValueError):
    """No drivable way leads from start to goal."""


@dataclass(frozen=True)
class _Leg:
    """A stretch of one lane; `change` is how it is left (LANEFOLLOW = at its end, or at the goal)."""

    lane: int
    start: float  # m along the lane
    end: float
    change: Command = Command.LANEFOLLOW


@dataclass(frozen=True)
class _State:
    """A lane entered at some place, as the search sees it."""

    lane: int
    entered: str  # start | flow | change
    s: float
    legs: tuple[_Leg, ...]


def plan_route(graph: LaneGraph, start: LaneLocation, goal: LaneLocation) -> Route:
    """The shortest route along lane centres from start to goal, with lane changes where they are allowed.

    Points are about 1 m apart; a change is spread over `CHANGE_LENGTH` m. Lateral offsets of start and goal are not
    followed. Raises NoRouteError where no way leads there, ValueError for a lane that does not exist.
    """
    for name, place in (("start", start), ("goal", goal)):
        if not 0 <= place.lane < len(graph.lanes):
            raise ValueError(f"route {name} is on lane {place.lane}, but there are lanes 0..{len(graph.lanes) - 1}")
    legs = _search(graph, start, goal)
    if legs is None:
        raise NoRouteError(
            f"no route leads from lane {start.lane} at {start.s:.1f} m to lane {goal.lane} at {goal.s:.1f} m"
        )
    return _sample(graph, legs)


def _search(graph: LaneGraph, start: LaneLocation, goal: LaneLocation) -> tuple[_Leg, ...] | None:
    """Dijkstra over (lane, how it was entered)."""
    first = min(max(start.s, 0.0), graph.length(start.lane))
    queue: list[tuple[float, int, _State]] = [(0.0, 0, _State(start.lane, "start", first, ()))]
    settled: set[tuple[int, str]] = set()
    count = 0
    target = min(max(goal.s, 0.0), graph.length(goal.lane))
    while queue:
        cost, _, state = heapq.heappop(queue)
        if state.entered == "goal":
            return state.legs
        if (state.lane, state.entered) in settled:
            continue
        settled.add((state.lane, state.entered))
        options = list(_onward(graph, state))
        if state.lane == goal.lane and state.s <= target:
            done = (*state.legs, _Leg(state.lane, state.s, target))
            options.append((target - state.s, _State(state.lane, "goal", target, done)))
        for extra, following in options:
            count += 1
            heapq.heappush(queue, (cost + extra, count, following))
    return None


def _onward(graph: LaneGraph, state: _State) -> Iterator[tuple[float, _State]]:
    lane = graph.lanes[state.lane]
    through = (*state.legs, _Leg(lane.id, state.s, lane.length))
    for successor in lane.successors:
        yield lane.length - state.s, _State(successor, "flow", 0.0, through)
    begin = state.s + _CHANGE_MARGIN
    span = min(CHANGE_LENGTH, lane.length - _CHANGE_MARGIN - begin)
    if lane.junction >= 0 or span < _SHORTEST_CHANGE:
        return
    sides = (
        (lane.left, lane.left_change, Command.CHANGELANELEFT),
        (lane.right, lane.right_change, Command.CHANGELANERIGHT),
    )
    for neighbour, allowed, command in sides:
        if neighbour < 0 or not allowed or not _side_by_side(graph, lane.id, neighbour):
            continue
        after = (begin + span) / lane.length * graph.length(neighbour)
        legs = (*state.legs, _Leg(lane.id, state.s, begin), _Leg(lane.id, begin, begin + span, command))
        yield begin + span - state.s + _CHANGE_COST, _State(neighbour, "change", after, legs)


def _side_by_side(graph: LaneGraph, lane: int, neighbour: int) -> bool:
    a, b = graph.lanes[lane].points, graph.lanes[neighbour].points
    return bool(max(np.linalg.norm(a[0] - b[0]), np.linalg.norm(a[-1] - b[-1])) < _WIDEST_CHANGE)


def _sample(graph: LaneGraph, legs: tuple[_Leg, ...]) -> Route:
    """Points along all legs, evenly spaced."""
    points, commands, lanes = [], [], []
    for leg in legs:
        leg_points, leg_lanes = _leg_points(graph, leg)
        command = graph.lanes[leg.lane].turn if leg.change is Command.LANEFOLLOW else leg.change
        points.append(leg_points)
        lanes.append(leg_lanes)
        commands.append(np.full(len(leg_points), int(command)))
    return _even(np.concatenate(points), np.concatenate(commands), np.concatenate(lanes))


def _leg_points(graph: LaneGraph, leg: _Leg) -> tuple[np.ndarray, np.ndarray]:
    s = np.linspace(leg.start, leg.end, max(2, int(np.ceil((leg.end - leg.start) / 0.5)) + 1))
    own = graph.poses_at(leg.lane, s)[:, :3]
    if leg.change is Command.LANEFOLLOW:
        return own, np.full(len(s), leg.lane)
    lane = graph.lanes[leg.lane]
    neighbour = lane.left if leg.change is Command.CHANGELANELEFT else lane.right
    other = graph.poses_at(neighbour, s / lane.length * graph.length(neighbour))[:, :3]
    share = np.linspace(0.0, 1.0, len(s))
    weight = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)  # no jerk at either end
    return own + (other - own) * weight[:, None], np.where(weight < 0.5, leg.lane, neighbour)


def _even(points: np.ndarray, commands: np.ndarray, lanes: np.ndarray) -> Route:
    steps = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1)
    moved = np.concatenate([[True], steps > 1e-6])
    lanes[np.flatnonzero(moved)[-1]] = lanes[-1]
    points, commands, lanes = points[moved], commands[moved], lanes[moved]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))])
    stations = np.linspace(0.0, along[-1], max(2, round(along[-1] / POINT_SPACING) + 1))
    even = np.stack([np.interp(stations, along, points[:, axis]) for axis in range(3)], axis=-1)
    source = np.minimum(np.searchsorted(along, stations - 1e-9), len(points) - 1)
    source[-1] = len(points) - 1
    return Route(even, commands[source], lanes[source])


def town_routes(town: Town, count: int, seed: int, min_length: float = 200.0, max_length: float = 500.0) -> list[Route]:
    """`count` routes of a town, the same for the same seed; none starts or ends in a junction.

    Starts and goals are drawn over all lanes, so routes turn, cross junctions and change lanes; no two share both
    their first and their last lane until all such pairs are used. Raises NoRouteError where the town does not hold
    enough of them.
    """
    rng = np.random.default_rng(seed)
    lanes = [lane.id for lane in town.lanes.lanes if lane.junction < 0 and lane.length >= 15.0]
    routes: list[Route] = []
    seen: set[tuple[int, int]] = set()
    for attempt in range(60 * count + 200):
        if len(routes) == count:
            break
        route = _random_route(town.lanes, lanes, rng)
        if route is None or not min_length <= route.length <= max_length:
            continue
        pair = (int(route.lanes[0]), int(route.lanes[-1]))
        if pair in seen and attempt < 30 * count:
            continue
        seen.add(pair)
        routes.append(route)
    if len(routes) < count:
        raise NoRouteError(
            f"town {town.name} gave {len(routes)} of {count} routes of {min_length:.0f} to {max_length:.0f} m"
        )
    return routes


def _random_route(graph: LaneGraph, lanes: list[int], rng: np.random.Generator) -> Route | None:
    start, goal = (_random_place(graph, lanes, rng) for _ in range(2))
    try:
        return plan_route(graph, start, goal)
    except NoRouteError:
        return None


def _random_place(graph: LaneGraph, lanes: list[int], rng: np.random.Generator) -> LaneLocation:
    lane = lanes[int(rng.integers(len(lanes)))]
    return LaneLocation(lane, float(rng.uniform(5.0, graph.length(lane) - 5.0)), 0.0)
