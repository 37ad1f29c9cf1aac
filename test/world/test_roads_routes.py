"""Route planning and the seeded routes of a town."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph, LaneLocation, Route
from rsd_world.roads.routes import NoRouteError, plan_route, town_routes
from rsd_world.roads.towns import load_town

ALDER = load_town("alder")
ROUTES = {name: town_routes(load_town(name), 40, seed=3) for name in ("alder", "birch")}
CHANGES = (Command.CHANGELANELEFT, Command.CHANGELANERIGHT)


def assert_drivable(graph: LaneGraph, route: Route) -> None:
    steps = np.diff(route.points[:, :2], axis=0)
    spacing = np.linalg.norm(steps, axis=1)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    assert spacing.min() > 0.9
    assert spacing.max() < 1.1
    assert np.abs(np.diff(headings)).max() < 0.16  # rad per metre: the tightest right turn
    for before, after in zip(route.lanes[:-1], route.lanes[1:], strict=True):
        lane = graph.lanes[before]
        assert after == before or after in (*lane.successors, lane.left, lane.right)
    offsets = graph.nearest_many(route.points[:, :2]).distances
    assert offsets[~np.isin(route.commands, CHANGES)].max() < 0.15


@pytest.mark.parametrize("name", ROUTES)
def test_town_routes_are_smooth_evenly_spaced_and_on_lanes(name: str) -> None:
    for route in ROUTES[name]:
        assert_drivable(load_town(name).lanes, route)
        assert 200.0 <= route.length <= 500.0


@pytest.mark.parametrize("name", ROUTES)
def test_town_routes_hold_all_six_commands(name: str) -> None:
    assert {int(command) for route in ROUTES[name] for command in route.commands} == {
        int(command) for command in Command
    }


@pytest.mark.parametrize("name", ROUTES)
def test_commands_are_those_of_the_lane_except_in_a_change(name: str) -> None:
    graph = load_town(name).lanes
    for route in ROUTES[name]:
        expected = np.array([int(graph.lanes[lane].turn) for lane in route.lanes])
        differing = route.commands != expected
        # a point on the seam may count to either lane
        interior = differing & ~np.isin(route.commands, CHANGES)
        assert interior.sum() <= 2 * np.abs(np.diff(route.lanes) != 0).sum() + 1


def test_routes_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    again, other = town_routes(ALDER, 5, seed=3), town_routes(ALDER, 5, seed=4)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(ROUTES["alder"], again, strict=False))
    assert not any(np.array_equal(a.points, b.points) for a, b in zip(again, other, strict=True))


@pytest.mark.parametrize("name", ROUTES)
def test_a_town_holds_hundreds_of_distinct_routes(name: str) -> None:
    routes = town_routes(load_town(name), 150, seed=0)
    assert len({(route.lanes[0], route.lanes[-1]) for route in routes}) == 150


def test_impossible_lengths_are_refused_with_the_count() -> None:
    with pytest.raises(NoRouteError, match="0 of 2 routes of 9000"):
        town_routes(ALDER, 2, seed=0, min_length=9000.0, max_length=9001.0)


lanes_of_streets = st.sampled_from([lane.id for lane in ALDER.lanes.lanes if lane.junction < 0])
shares = st.floats(0.0, 1.0)


@settings(max_examples=40)
@given(lanes_of_streets, shares, lanes_of_streets, shares)
def test_any_place_is_reached_from_any_other(start: int, start_share: float, goal: int, goal_share: float) -> None:
    graph = ALDER.lanes
    begin = LaneLocation(start, start_share * graph.length(start), 0.0)
    end = LaneLocation(goal, goal_share * graph.length(goal), 0.0)
    assume(np.linalg.norm(graph.position(begin) - graph.position(end)) > 3.0)
    route = plan_route(graph, begin, end)
    assert_drivable(graph, route)
    assert np.allclose(route.points[0], graph.position(begin), atol=1e-6)
    assert np.allclose(route.points[-1], graph.position(end), atol=1e-6)
    assert route.lanes[0] == start
    assert route.lanes[-1] == goal


def highway_lane() -> int:
    return next(lane.id for lane in ALDER.lanes.lanes if lane.speed_limit > 20.0 and lane.left_change)


def test_a_goal_on_the_neighbour_lane_is_reached_by_a_change_spread_over_twenty_metres() -> None:
    graph, lane = ALDER.lanes, highway_lane()
    route = plan_route(graph, LaneLocation(lane, 50.0, 0.0), LaneLocation(graph.lanes[lane].left, 150.0, 0.0))
    change = route.commands == Command.CHANGELANELEFT
    assert 18 <= change.sum() <= 22
    assert set(route.commands[~change]) == {Command.LANEFOLLOW}
    assert route.length < 102.0
    steps = np.diff(route.points[:, :2], axis=0)
    assert np.abs(np.diff(np.arctan2(steps[:, 1], steps[:, 0]))).max() < 0.06


def test_a_goal_just_behind_is_reached_around_the_block() -> None:
    graph, lane = ALDER.lanes, highway_lane()
    route = plan_route(graph, LaneLocation(lane, 50.0, 0.0), LaneLocation(lane, 40.0, 0.0))
    assert route.length > 300.0
    assert_drivable(graph, route)


def test_places_that_do_not_exist_or_cannot_be_reached_are_refused() -> None:
    graph = ALDER.lanes
    with pytest.raises(ValueError, match="start is on lane 9999"):
        plan_route(graph, LaneLocation(9999, 0.0, 0.0), LaneLocation(0, 0.0, 0.0))
    dead_end = LaneGraph((graph.lanes[0].__class__(**{**vars_of(graph, 0), "successors": (), "predecessors": ()}),))
    with pytest.raises(NoRouteError, match="no route leads"):
        plan_route(dead_end, LaneLocation(0, 30.0, 0.0), LaneLocation(0, 10.0, 0.0))


def vars_of(graph: LaneGraph, lane: int) -> dict:
    found = graph.lanes[lane]
    return {name: getattr(found, name) for name in found.__dataclass_fields__} | {
        "left": -1,
        "right": -1,
        "opposite": -1,
    }
