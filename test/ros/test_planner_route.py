"""Place on the route, its commands, and stop plans: pure geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsd_model.contracts import Command
from rsd_model.geometry import pose_matrix, rotation_z
from rsd_model.stop_plan import advance_trajectory, carry_path, stop_within, stopping_trajectory
from rsd_ros.route import RouteTracker, commands_from_geometry, resample


def arc(start: np.ndarray, heading: float, radius: float, angle: float) -> np.ndarray:
    """Points on an arc, left turns have a positive angle."""
    turn = np.linspace(0.0, angle, max(int(abs(angle) * radius), 2))
    side = np.sign(angle)
    local = np.stack([radius * np.sin(np.abs(turn)), side * radius * (1.0 - np.cos(turn))], axis=1)
    return start + local @ rotation_z(heading)[:2, :2].T


def junction(angle: float, radius: float = 9.0, before: float = 60.0, after: float = 60.0) -> np.ndarray:
    """Straight, a turn, straight on."""
    curve = arc(np.array([before, 0.0]), 0.0, radius, angle)
    out = curve[-1] + after * np.array([np.cos(angle), np.sin(angle)])
    return resample(np.vstack([[0.0, 0.0], curve, out]))


def sidestep(offset: float, length: float = 15.0) -> np.ndarray:
    """A lane change by `offset` m to the left over `length` m."""
    return resample(np.array([[0.0, 0.0], [60.0, 0.0], [60.0 + length, offset], [130.0, offset]]))


@given(st.floats(-3.1, 3.1), st.sampled_from([60.0, 75.0, 90.0, 105.0]), st.floats(5.0, 14.0))
def test_a_junction_turn_is_left_or_right_by_its_side_in_any_direction(heading: float, angle: float, radius: float):
    for sign, command in ((1, Command.LEFT), (-1, Command.RIGHT)):
        points = junction(sign * np.radians(angle), radius) @ rotation_z(heading)[:2, :2].T
        commands = commands_from_geometry(points)
        assert set(commands) == {Command.LANEFOLLOW, command}
        turning = np.flatnonzero(commands == command)
        middle = 60.0 + radius * np.radians(angle) / 2.0
        assert turning[0] < middle < turning[-1]
        assert len(turning) < 30


@pytest.mark.parametrize("radius", [40.0, 100.0, 500.0])
def test_a_bend_of_the_road_is_lane_following(radius: float):
    points = resample(np.vstack([[0.0, 0.0], arc(np.array([50.0, 0.0]), 0.0, radius, np.radians(80.0))]))
    assert set(commands_from_geometry(points)) == {Command.LANEFOLLOW}


@pytest.mark.parametrize("length", [2.0, 10.0, 20.0])
def test_a_sidestep_of_a_lane_is_a_lane_change(length: float):
    assert Command.CHANGELANELEFT in commands_from_geometry(sidestep(3.5, length))
    assert Command.CHANGELANERIGHT in commands_from_geometry(sidestep(-3.5, length))
    assert set(commands_from_geometry(sidestep(3.5, length))) <= {Command.LANEFOLLOW, Command.CHANGELANELEFT}
    assert set(commands_from_geometry(sidestep(0.8, length))) == {Command.LANEFOLLOW}


def test_the_command_is_announced_before_the_turn_and_gone_after_it():
    tracker = RouteTracker(junction(np.radians(90.0)))
    assert tracker.command(20.0) == Command.LANEFOLLOW
    assert tracker.command(50.0) == Command.LEFT
    assert tracker.command(68.0) == Command.LEFT
    assert tracker.command(100.0) == Command.LANEFOLLOW


def test_given_commands_hold_from_their_position_to_the_next():
    tracker = RouteTracker(np.array([[0.0, 0.0], [100.0, 0.0]]))
    tracker.set_commands(np.array([[0.0, 0.0], [40.0, 0.5], [60.0, 0.0]]), np.array([3, 2, 3]))
    assert [tracker.command(s, lookahead=0.0) for s in (10.0, 45.0, 55.0, 70.0)] == [3, 2, 2, 3]
    tracker.set_commands(np.array([[10.0, 0.0], [0.0, 500.0]]), np.array([0, 0]))  # of another route: ignored
    assert tracker.command(45.0) == Command.STRAIGHT


def test_the_route_ahead_starts_at_the_vehicle_every_metre_in_base_link():
    tracker = RouteTracker(np.array([[0.0, 0.0], [0.0, 100.0]]))
    pose = pose_matrix(np.array([0.5, 10.25, 0.0]), np.pi / 2.0)
    place = tracker.update(pose[:2, 3])
    assert (place.along, place.remaining, place.offset) == pytest.approx((10.25, 89.75, 0.5))
    ahead = tracker.ahead(pose, place.along)
    np.testing.assert_allclose(ahead[0], [0.0, 0.5], atol=1e-9)
    np.testing.assert_allclose(np.diff(ahead, axis=0), np.tile([[1.0, 0.0]], (50, 1)), atol=1e-9)
    near_the_end = tracker.ahead(pose_matrix(np.array([0.0, 97.5, 0.0]), np.pi / 2.0), 97.5)
    assert len(near_the_end) == 3


def test_a_route_that_crosses_itself_is_followed_in_order():
    square = np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 40.0], [30.0, 40.0], [30.0, -40.0]])
    tracker = RouteTracker(square)
    corners = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(square, axis=0), axis=1))])
    for along in np.arange(0.0, tracker.length, 1.5):
        position = np.array([np.interp(along, corners, square[:, k]) for k in range(2)])
        assert tracker.update(position).along == pytest.approx(along, abs=0.8)


def test_a_vehicle_that_was_moved_elsewhere_is_found_again():
    tracker = RouteTracker(np.array([[0.0, 0.0], [300.0, 0.0]]))
    assert tracker.update(np.array([10.0, 0.0])).along == pytest.approx(10.0)
    assert tracker.update(np.array([250.0, 1.0])).along == pytest.approx(250.0)


@given(st.floats(0.0, 20.0), st.floats(2.0, 8.0))
def test_a_stop_brakes_evenly_stays_on_the_path_and_ends_in_standstill(speed: float, deceleration: float):
    path = arc(np.zeros(2), 0.0, 30.0, np.radians(80.0))
    stop = stopping_trajectory(path[1:], speed, deceleration)
    travelled = np.cumsum(np.linalg.norm(np.diff(np.vstack([[0.0, 0.0], stop]), axis=0), axis=1))
    time = np.minimum(np.arange(1, 7) * 0.5, speed / deceleration)
    np.testing.assert_allclose(travelled, speed * time - deceleration * time**2 / 2.0, rtol=0.02, atol=0.02)
    on_path = stop[np.linalg.norm(stop, axis=1) < 30.0]
    np.testing.assert_allclose(np.linalg.norm(on_path - [0.0, 30.0], axis=1), 30.0, atol=0.05)


def test_a_stop_goes_straight_on_where_the_path_is_used_up():
    stop = stopping_trajectory(np.array([[-3.0, 0.0], [-1.0, 0.0]]), 8.0, 4.0)
    np.testing.assert_allclose(stop[:, 1], 0.0, atol=1e-9)
    assert stop[-1, 0] == pytest.approx(8.0)


@given(st.floats(0.5, 15.0), st.floats(0.0, 40.0))
def test_a_plan_never_goes_beyond_the_end_of_the_route_nor_faster_than_planned(speed: float, distance: float):
    trajectory = np.stack([speed * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1)
    stopped = stop_within(trajectory, speed, distance, 4.0)
    assert (stopped[:, 0] <= trajectory[:, 0] + 1e-9).all()
    assert stopped[-1, 0] <= distance + 1e-6 or distance >= trajectory[-1, 0]
    assert (np.diff(stopped[:, 0]) >= -1e-9).all()


@pytest.mark.parametrize("speed", [0.0, 3.0])
def test_a_vehicle_that_stands_or_crawls_drives_up_to_where_it_has_to_stop(speed: float):
    trajectory = np.stack([1.5 * np.arange(1, 7), np.zeros(6)], axis=1)
    stopped = stop_within(trajectory, speed, 5.0, 3.0)
    assert stopped[0, 0] == pytest.approx(1.5)  # as planned, while it need not brake yet
    assert stopped[-1, 0] == pytest.approx(5.0)


def test_a_vehicle_that_is_too_fast_to_stop_in_comfort_brakes_harder():
    trajectory = np.stack([4.0 * np.arange(1, 7), np.zeros(6)], axis=1)
    in_comfort, late = (stop_within(trajectory, 8.0, distance, 3.0) for distance in (12.0, 5.0))
    assert (in_comfort[-1, 0], late[-1, 0]) == (pytest.approx(12.0, abs=0.01), pytest.approx(5.0))
    assert in_comfort[0, 0] == pytest.approx(8.0 * 0.5 - 0.5 * 3.0 * 0.5**2, abs=0.3)
    assert late[0, 0] == pytest.approx(8.0 * 0.5 - 0.5 * 6.4 * 0.5**2, abs=0.1)


@given(st.floats(-1.0, 1.0), st.floats(0.0, 2.0))
def test_carrying_a_path_along_leaves_it_where_it_is_in_the_map(turn: float, moved: float):
    then = pose_matrix(np.array([5.0, 2.0, 0.0]), 0.3)
    now = pose_matrix(np.array([5.0 + moved, 2.5, 0.0]), 0.3 + turn)
    path = np.array([[1.0, 0.0], [4.0, 1.0]])

    def in_map(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
        return points @ pose[:2, :2].T + pose[:2, 3]

    np.testing.assert_allclose(in_map(now, carry_path(path, then, now)), in_map(then, path), atol=1e-9)


def test_an_older_plan_is_read_later_and_from_where_the_vehicle_is():
    trajectory = np.stack([2.0 * np.arange(1, 7), np.zeros(6)], axis=1)  # 4 m/s
    then, now = np.eye(4), pose_matrix(np.array([0.8, 0.0, 0.0]), 0.0)
    np.testing.assert_allclose(advance_trajectory(trajectory, 0.2, then, now), trajectory, atol=1e-9)
    np.testing.assert_allclose(advance_trajectory(trajectory, 0.0, then, then), trajectory)
