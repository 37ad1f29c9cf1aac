"""The risk teacher ranks what is dangerous above what is not and says why."""

from __future__ import annotations

import numpy as np
import pytest
from expert_stage import Stage

from rsd_world.expert.risk import RANGE, assess_risk, stop_line_risks
from rsd_world.state import ActorKind, LightState

WALKER = (0.45, 0.55, 1.75)


@pytest.fixture
def stage():
    stage = Stage("alder", route=1)
    stage.place_ego(12.0, speed=8.0)
    return stage


def by_id(stage):
    return {a.id: a for a in assess_risk(stage)}


def test_every_actor_in_range_gets_a_risk_between_zero_and_one_and_none_beyond(stage):
    for k in range(6):
        stage.add_actor(ActorKind.CAR, 12.0 + 14.0 * k, 3.5 * (-1) ** k, along=3.0)
    found = assess_risk(stage)
    ego = stage.snapshot.ego.position[:2]
    near = {a.id for a in stage.snapshot.actors if np.hypot(*(a.position[:2] - ego)) < RANGE}
    assert {a.id for a in found} == near
    assert all(0.0 <= a.risk <= 1.0 for a in found)
    assert [a.risk for a in found] == sorted((a.risk for a in found), reverse=True)


def test_a_car_standing_close_ahead_is_riskier_than_one_further_on_and_than_one_beside(stage):
    near = stage.add_actor(ActorKind.CAR, 26.0, 0.0)
    risks = by_id(stage)
    assert risks[near.id].risk > 0.6
    assert risks[near.id].crosses_ego_path
    stage.actors.clear()
    far = stage.add_actor(ActorKind.CAR, 48.0, 0.0)
    beside = stage.add_actor(ActorKind.CAR, 26.0, -4.5, parked=True)
    later = by_id(stage)
    assert risks[near.id].risk > later[far.id].risk > later[beside.id].risk
    assert not later[beside.id].crosses_ego_path


def test_a_leader_that_drives_away_is_less_risky_than_one_that_stands(stage):
    leader = stage.add_actor(ActorKind.CAR, 32.0, 0.0, along=8.0)
    moving = by_id(stage)[leader.id].risk
    stage.actors.clear()
    stage.add_actor(ActorKind.CAR, 32.0, 0.0)
    assert by_id(stage)[1].risk > moving + 0.2


def test_a_walker_on_the_way_outranks_one_on_the_sidewalk_and_names_the_cause(stage):
    crossing = stage.add_actor(ActorKind.PEDESTRIAN, 28.0, -3.0, WALKER, aside=1.5)
    strolling = stage.add_actor(ActorKind.PEDESTRIAN, 28.0, -6.0, WALKER, along=1.3)
    found = by_id(stage)
    assert found[crossing.id].risk > 3.0 * found[strolling.id].risk
    assert found[crossing.id].crosses_ego_path
    assert not found[strolling.id].crosses_ego_path
    assert found[crossing.id].cause.startswith("pedestrian stepping onto the ego's way")
    assert "m ahead" in found[crossing.id].cause


def test_who_crosses_when_the_ego_arrives_is_riskier_than_who_crosses_long_before(stage):
    meeting = stage.add_actor(ActorKind.CAR, 36.0, -15.0, along=0.0, aside=5.5, turn=np.pi / 2)
    at_once = by_id(stage)[meeting.id].risk
    stage.actors.clear()
    early = stage.add_actor(ActorKind.CAR, 52.0, -3.0, along=0.0, aside=6.0, turn=np.pi / 2)
    assert at_once > by_id(stage)[early.id].risk + 0.1


def test_a_walker_hidden_by_a_parked_van_is_riskier_than_one_in_sight(stage):
    def walker_risk(with_van):
        stage.actors.clear()
        walker = stage.add_actor(ActorKind.PEDESTRIAN, 32.0, -4.2, WALKER, aside=1.5)
        if with_van:
            stage.add_actor(ActorKind.VAN, 28.0, -3.6, (5.4, 2.0, 2.3), parked=True)
        return by_id(stage)[walker.id]

    seen, hidden = walker_risk(False), walker_risk(True)
    assert hidden.risk > seen.risk
    assert "hidden" in hidden.cause
    assert "hidden" not in seen.cause


def test_a_pedestrian_in_the_way_weighs_more_than_a_car_there(stage):
    stage.add_actor(ActorKind.CAR, 34.0, 0.0, size=(1.0, 0.6, 1.5))
    car = by_id(stage)[1].risk
    stage.actors.clear()
    stage.add_actor(ActorKind.PEDESTRIAN, 34.0, 0.0, (1.0, 0.6, 1.7))
    assert by_id(stage)[1].risk > car


def test_a_siren_behind_is_named(stage):
    stage.place_ego(40.0, speed=6.0)
    siren = stage.add_actor(ActorKind.AMBULANCE, 20.0, 0.0, (5.9, 2.05, 2.6), along=10.0, siren=True)
    assert "siren" in by_id(stage)[siren.id].cause
    assert by_id(stage)[siren.id].risk > 0.2


def test_a_red_stop_line_ahead_carries_risk_that_grows_towards_it_and_a_green_one_none():
    from rsd_world.expert.route_reference import RouteReference

    for route in range(12):
        stage = Stage("alder", route=route, lights=LightState.RED)
        lines = [
            line
            for line in RouteReference(stage.town, stage.route).stop_lines
            if line.light is not None and line.s > 45
        ]
        if lines:
            break
    risks = []
    for distance in (40.0, 15.0):
        stage.place_ego(lines[0].s - distance, speed=9.0)
        [(ends, risk)] = [r for r in stop_line_risks(stage) if r[0][:, 0].mean() < distance + 3]
        assert ends[:, 0].mean() == pytest.approx(distance, abs=2.5)
        risks.append(risk)
    assert risks[1] > risks[0]
    stage.lights = dict.fromkeys(stage.lights, LightState.GREEN)
    stage._snap()
    assert stop_line_risks(stage) == []


def test_cones_behind_an_ego_that_left_its_route_are_not_ahead_nor_in_its_way():
    stage = Stage("alder", route=1)
    stage.place_ego(40.0, lateral=6.5, turn=0.5, speed=5.0)
    cones = [stage.add_actor(ActorKind.TRAFFIC_CONE, s, 0.0, (0.4, 0.4, 0.75)) for s in (28.0, 32.0, 36.0)]
    found = by_id(stage)
    for cone in cones:
        assert "ahead" not in found[cone.id].cause
        assert not found[cone.id].crosses_ego_path
