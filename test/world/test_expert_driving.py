"""The expert on a bare stage: it keeps its route, comes back to it from anywhere, and gives way to what it must."""

from __future__ import annotations

import numpy as np
import pytest
from expert_stage import Stage, drive
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_world.expert.expert import Expert
from rsd_world.expert.prediction import predict_actors
from rsd_world.state import ActorKind, LightState

WALKER = (0.45, 0.55, 1.75)


def straight(stage, length=60.0):
    """Arc length at which the longest stretch without a junction or a bend begins."""
    from rsd_world.expert.route_reference import RouteReference

    ref = RouteReference(stage.town, stage.route)
    bend = np.abs(np.gradient(ref.yaw))
    for s in range(5, int(ref.end - length)):
        part = slice(s, s + int(length))
        single = not (ref.left_same[part].any() or ref.right_same[part].any()) and ref.left_opposite[part].all()
        if single and not ref.in_junction[part].any() and bend[part].max() < 0.01:
            return float(s)
    pytest.fail(f"route {stage.route} has no straight stretch of {length} m")


@pytest.fixture
def open_road():
    for route in range(20):
        stage = Stage("alder", route=route)
        try:
            s = straight(stage, 75.0)
        except pytest.fail.Exception:
            continue
        stage.place_ego(s, speed=6.0)
        return stage, s
    raise AssertionError("no route of alder is straight for 75 m")


@pytest.mark.parametrize("town", ["alder", "birch"])
@pytest.mark.parametrize("route", [0, 1, 2])
def test_an_empty_route_is_driven_to_its_end_within_half_a_metre(town, route):
    stage = Stage(town, route=route)
    _, laterals, _, _ = drive(stage, 90.0, until=lambda s: s.progress >= 1.0)
    assert stage.progress == 1.0
    assert np.abs(laterals).max() < 0.5


def test_accelerations_stay_comfortable_on_an_empty_route():
    stage = Stage("alder", route=3)
    expert, longitudinal, lateral = Expert(stage), [], []
    for _ in range(250):
        stage.step(expert.plan().control)
        longitudinal.append(stage.snapshot.ego.acceleration)
        lateral.append(stage.snapshot.ego.lateral_acceleration)
    assert min(longitudinal) > -4.05
    assert max(longitudinal) < 2.4
    assert np.abs(lateral).max() < 4.0


@pytest.mark.parametrize(("lateral", "turn"), [(2.5, 0.0), (-2.0, 0.5), (1.0, -0.9), (0.0, 1.6), (3.5, 0.3)])
def test_it_comes_back_to_the_route_from_beside_it_and_from_a_wrong_heading(open_road, lateral, turn):
    stage, s = open_road
    stage.place_ego(s, lateral, turn, speed=4.0)
    _, laterals, _, _ = drive(stage, 12.0)
    assert abs(laterals[-1]) < 0.3
    assert np.abs(laterals).max() < abs(lateral) + 6.0


def test_the_way_back_to_the_route_at_speed_is_gentle(open_road):
    stage, s = open_road
    stage.place_ego(s, 2.5, 0.0, speed=11.0)
    expert, sideways = Expert(stage), []
    for _ in range(60):
        stage.step(expert.plan().control)
        sideways.append(stage.snapshot.ego.lateral_acceleration)
    assert np.abs(sideways).max() < 4.0
    assert abs(stage.tracker.lateral) < 0.4


@settings(max_examples=40)
@given(share=st.floats(0.0, 0.98), lateral=st.floats(-8.0, 8.0), turn=st.floats(-3.1, 3.1), speed=st.floats(0.0, 20.0))
def test_there_is_a_drivable_plan_from_any_state(share, lateral, turn, speed):
    stage = Stage("birch", route=4)
    stage.place_ego(share * stage.tracker.length, lateral, turn, speed)
    stage.add_actor(ActorKind.CAR, min(share * stage.tracker.length + 12.0, stage.tracker.length), 0.5, along=2.0)
    plan = Expert(stage).plan()
    steps = np.linalg.norm(np.diff(np.vstack([np.zeros((1, 2)), plan.trajectory]), axis=0), axis=1)
    assert np.isfinite(plan.trajectory).all()
    assert steps.max() <= 0.5 * (speed + 3.5) + 0.5
    control = plan.control
    assert 0.0 <= control.throttle <= 1.0
    assert 0.0 <= control.brake <= 1.0
    assert -1.0 <= control.steer <= 1.0


def test_planning_changes_nothing_in_the_world_and_the_plan_is_six_finite_points_ahead(open_road):
    stage, _ = open_road
    stage.add_actor(ActorKind.CAR, 60.0, 3.5, along=-5.0)
    before = stage.snapshot
    plan = Expert(stage).plan()
    assert stage.snapshot is before
    assert plan.trajectory.shape == (6, 2)
    assert np.isfinite(plan.trajectory).all()
    assert (np.diff(plan.trajectory[:, 0]) > 0.0).all()
    assert plan.trajectory[1, 0] == pytest.approx(6.5, abs=1.5)


def test_the_plan_is_what_is_then_driven(open_road):
    stage, _ = open_road
    expert = Expert(stage)
    plan, ego = expert.plan(), stage.snapshot.ego
    drive(stage, 3.0, expert)
    delta = stage.snapshot.ego.position[:2] - ego.position[:2]
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    driven = np.array([delta[0] * cos + delta[1] * sin, delta[1] * cos - delta[0] * sin])
    assert driven == pytest.approx(plan.trajectory[-1], abs=2.0)


def test_it_follows_a_slower_car_at_its_speed_without_touching_it(open_road):
    stage, s = open_road
    stage.add_actor(ActorKind.CAR, s + 25.0, 0.0, along=4.0)
    speeds, _, reasons, touched = drive(stage, 9.0)
    assert not touched
    assert speeds[-1] == pytest.approx(4.0, abs=0.6)
    assert "keeping distance" in reasons


def test_it_stops_behind_a_car_that_stands_in_traffic(open_road):
    stage, s = open_road
    stage.add_actor(ActorKind.CAR, s + 35.0, 0.0)
    speeds, laterals, _, touched = drive(stage, 12.0)
    assert not touched
    assert speeds[-1] < 0.1
    assert 1.0 < s + 35.0 - stage.tracker.s - 2.45 - 2.25 < 4.0
    assert np.abs(laterals).max() < 0.4


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_it_lets_a_walker_cross_and_drives_on(open_road, side):
    stage, s = open_road
    stage.add_actor(ActorKind.PEDESTRIAN, s + 26.0, side * 6.0, WALKER, aside=-side * 1.6)
    speeds, _, _, touched = drive(stage, 14.0)
    assert not touched
    assert speeds.min() < 5.5
    assert speeds[-1] > 5.0


def test_it_passes_a_parked_car_when_the_other_lane_is_free_and_returns(open_road):
    stage, s = open_road
    stage.add_actor(ActorKind.CAR, s + 32.0, -0.6, parked=True)
    _, laterals, reasons, touched = drive(stage, 14.0)
    assert not touched
    assert laterals.max() > 1.0
    assert abs(laterals[-1]) < 0.4
    assert "passing an obstacle" in reasons


def test_it_waits_behind_a_parked_car_while_traffic_comes_the_other_way(open_road):
    stage, s = open_road
    stage.add_actor(ActorKind.CAR, s + 30.0, -0.3, parked=True)
    lane = stage.town.lanes.lanes[stage.tracker.lane]
    width = float(lane.widths[0])
    for gap in (40.0, 55.0, 70.0):
        stage.add_actor(ActorKind.CAR, s + 30.0, width, along=-7.0, turn=np.pi)
        position, _ = stage.tracker.pose(s + 30.0, width)
        direction = stage.actors[-1].velocity / 7.0
        from dataclasses import replace

        stage.actors[-1] = replace(stage.actors[-1], position=position - np.array([*direction, 0.0]) * (gap - 30.0))
    stage._snap()
    _, _, reasons, touched = drive(stage, 26.0)
    assert not touched
    assert "waiting for a gap to pass" in reasons
    assert stage.tracker.s > s + 40.0


@pytest.fixture
def red_light():
    """A stage whose lights are red, its expert and the arc length of a signalled line."""
    for route in range(12):
        stage = Stage("alder", route=route, lights=LightState.RED)
        expert = Expert(stage)
        lines = [line for line in expert._reference.stop_lines if line.light is not None and line.s > 40.0]
        if lines:
            return stage, expert, lines[0].s
    raise AssertionError("no route of alder has a light after 40 m")


def test_it_stops_before_a_red_light_and_goes_at_green(red_light):
    stage, expert, line = red_light
    stage.place_ego(line - 40.0, speed=8.0)
    speeds, _, reasons, _ = drive(stage, 12.0, expert)
    assert speeds[-1] < 0.1
    assert reasons[-1] == "red light"
    assert line - 3.5 < stage.tracker.s + 2.45 < line
    stage.lights = dict.fromkeys(stage.lights, LightState.GREEN)
    stage._snap()
    assert drive(stage, 5.0, expert)[0][-1] > 3.0


@pytest.mark.parametrize(("before", "speed", "stays"), [(1.0, 0.0, True), (1.0, 5.0, False), (20.0, 8.0, True)])
def test_at_yellow_it_stays_where_the_centre_can_stop_before_the_line(red_light, before, speed, stays):
    stage, expert, line = red_light
    stage.lights = dict.fromkeys(stage.lights, LightState.YELLOW)
    stage.place_ego(line - before, speed=speed)
    assert (expert.plan().reason == "yellow light") is stays


@pytest.fixture
def stop_sign():
    """A stage, its expert and the arc length of a stop sign's line."""
    for route in range(12):
        stage = Stage("alder", route=route)
        expert = Expert(stage)
        lines = [line for line in expert._reference.stop_lines if line.sign is not None and line.s > 40.0]
        if lines:
            return stage, expert, lines[0].s
    raise AssertionError("no route of alder has a stop sign after 40 m")


def test_it_stops_once_at_a_stop_sign_and_drives_on(stop_sign):
    stage, expert, line = stop_sign
    stage.place_ego(line - 40.0, speed=8.0)
    speeds, _, _, _ = drive(stage, 20.0, expert, until=lambda st: st.tracker.s > line + 5.0)
    assert speeds.min() < 0.1
    assert stage.tracker.s > line


def test_who_rolls_over_a_stop_line_with_the_front_is_still_told_to_stop(stop_sign):
    stage, expert, line = stop_sign
    stage.place_ego(line - 1.5, speed=1.5)
    assert expert.plan().reason == "stop sign"
    stage.place_ego(line + 0.5, speed=1.5)
    assert expert.plan().reason != "stop sign"


def test_it_moves_right_and_slows_down_for_an_emergency_vehicle_behind(open_road):
    stage, s = open_road
    stage.place_ego(s + 30.0, speed=6.0)
    stage.add_actor(ActorKind.AMBULANCE, s, 0.0, (5.9, 2.05, 2.6), along=9.0, siren=True)
    speeds, laterals, reasons, _ = drive(stage, 2.5)
    assert laterals.min() < -0.3
    assert speeds[-1] < 6.5
    assert "making room for an emergency vehicle" in reasons


def test_brake_lights_mean_a_stop_ahead_in_the_lane_but_not_across_it(open_road):
    stage, s = open_road
    stage.add_actor(ActorKind.CAR, s + 25.0, 0.0, along=6.0, braking=True)
    stage.add_actor(ActorKind.CAR, s + 30.0, 20.0, aside=-6.0, turn=-np.pi / 2, braking=True)
    ahead, across = predict_actors(stage)
    travelled = [float(np.linalg.norm(p.positions[-1] - p.positions[0])) for p in (ahead, across)]
    assert travelled[0] == pytest.approx(6.0**2 / 4.0, abs=0.1)
    assert travelled[1] == pytest.approx(6.0 * 6.0, abs=0.1)


def two_lane_stage():
    from rsd_world.expert.lane_change import lane_changes
    from rsd_world.expert.route_reference import RouteReference

    for town in ("alder", "birch"):
        for route in range(25):
            stage = Stage(town, route=route)
            ref = RouteReference(stage.town, stage.route)
            for change in lane_changes(ref):
                places = np.array([change.start - 45.0, change.start - 2.0, change.end + 3.0, change.last])
                straight_road = np.ptp(ref.yaw[np.maximum(places, 0.0).astype(int)]) < 0.1
                if change.start > 45.0 and change.last > change.end + 35.0 and straight_road:
                    return stage, change
    raise AssertionError("no route changes lanes on a straight road with room to wait")


def test_it_changes_lanes_as_the_route_does_when_the_lane_is_free():
    stage, change = two_lane_stage()
    stage.place_ego(change.start - 20.0, speed=8.0)
    _, laterals, _, _ = drive(stage, 6.0)
    assert stage.tracker.s > change.end
    assert np.abs(laterals).max() < 0.6


def test_it_puts_a_lane_change_off_while_somebody_drives_beside_and_makes_it_then():
    stage, change = two_lane_stage()
    stage.place_ego(change.start - 20.0, speed=8.0)
    for back in (18.0, 30.0, 42.0):
        stage.add_actor(ActorKind.CAR, change.start - back, change.side * change.width, along=9.5)
    _, laterals, reasons, touched = drive(stage, 12.0, until=lambda st: st.tracker.s > change.last + 20.0)
    assert not touched
    assert "waiting for a gap to change lanes" in reasons
    assert (-change.side * laterals).max() > 1.5
    assert abs(laterals[-1]) < 0.5


def test_a_lane_change_begun_at_walking_pace_beside_a_queue_is_not_broken_off():
    stage, change = two_lane_stage()
    s = change.end + 5.0
    for moved, waits in ((0.0, True), (0.3, False)):
        stage.actors.clear()
        stage.place_ego(s, -change.side * (1.0 - moved) * change.width, speed=0.5)
        stage.add_actor(ActorKind.CAR, s - 5.5, 0.0)
        stage.add_actor(ActorKind.CAR, s + 8.0, 0.0)
        assert (Expert(stage).plan().reason == "waiting for a gap to change lanes") is waits


def test_a_gap_of_a_car_length_and_a_half_will_do_to_change_lanes_between_two_that_stand():
    stage, change = two_lane_stage()
    s = change.end + 5.0
    stage.place_ego(s, -change.side * change.width, speed=0.0)
    stage.add_actor(ActorKind.CAR, s - 6.3, 0.0)
    stage.add_actor(ActorKind.CAR, s + 6.3, 0.0)
    assert Expert(stage).plan().reason != "waiting for a gap to change lanes"
