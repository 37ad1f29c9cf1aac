"""The scoring formulas on small cases computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rsd_offline.cli import app
from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.record import DriveRecord
from rsd_world.score.abilities import (
    ABILITIES,
    RouteVerdict,
    ability_counts,
    mean_ability,
    traffic_sign_passed,
)
from rsd_world.score.benchmark_score import benchmark_score
from rsd_world.score.comfort import Motion, comfort_chunks, route_comfort
from rsd_world.score.efficiency import checkpoint_entries, percentages, route_efficiency
from rsd_world.score.episode_score import aggregate, score_episode
from rsd_world.score.route_score import INFRACTIONS, score_route


def event(kind, **more):
    return {"type": kind, "message": kind.lower(), **more}


def test_penalties_multiply_and_leaving_the_lanes_costs_its_unrounded_share():
    events = [event("COLLISION_VEHICLE"), event("OUTSIDE_ROUTE_LANES_INFRACTION", percentage=12.3456789)]
    score = score_route(events, 80.0)
    assert score.score_penalty == pytest.approx(0.6 * (1 - 0.123456789), abs=1e-6)
    assert score.score_composed == pytest.approx(80.0 * 0.6 * (1 - 0.123456789), abs=1e-6)
    assert score.status == "Failed"


def test_min_speed_entries_deny_perfect_but_not_success():
    score = score_route([event("MIN_SPEED_INFRACTION", percentage=30.0)], 100.0)
    assert (score.status, score.success, score.score_composed) == ("Completed", True, 100.0)
    assert score_route([], 100.0).status == "Perfect"


def test_the_last_reason_to_end_names_the_failure():
    assert score_route([event("VEHICLE_BLOCKED")], 20.0, timed_out=True).status == "Failed - Agent got blocked"
    assert score_route([], 20.0, timed_out=True).status == "Failed - Agent timed out"


def test_unknown_event_type_is_refused_by_name():
    with pytest.raises(ValueError, match="METEORITE"):
        score_route([event("METEORITE")], 20.0)


def record(number, composed, status="Completed", **infractions):
    filled = {name: infractions.get(name, []) for name in INFRACTIONS}
    scores = {"score_route": 100.0, "score_penalty": 1.0, "score_composed": composed}
    return {
        "route_id": f"RouteScenario_{number}_rep0", "status": status, "scores": scores, "infractions": filled,
        "save_name": f"save_{number}", "index": number,
        "meta": dict.fromkeys(("route_length", "duration_game", "duration_system"), 100.0),
    }  # fmt: skip


def test_corrected_means_divide_by_the_routes_run():
    records = [record(1, 100.0), record(2, 50.0, red_light=["x"])]
    assert benchmark_score(records).driving_score == 75.0
    assert benchmark_score(records).success_rate == 0.5
    assert benchmark_score(records, 220).driving_score == pytest.approx(150.0 / 220)


def test_every_scenario_has_an_ability_and_there_are_44():
    assert len(frozenset().union(*ABILITIES.values())) == 44
    assert [len(scenarios) for scenarios in ABILITIES.values()] == [9, 16, 12, 2, 19]


def test_an_ability_without_a_route_is_not_available_and_left_out_of_the_mean():
    counts = ability_counts([RouteVerdict("Accident", True), RouteVerdict("InvadingTurn", False)])
    assert counts["Merging"].rate is None
    assert mean_ability(counts) == 0.5


def test_a_failed_route_counts_for_signs_only_behind_the_junction_without_running_a_sign():
    assert traffic_sign_passed(20, 100, 0.29, infringed=False)
    assert not traffic_sign_passed(20, 100, 0.28, infringed=False)
    assert not traffic_sign_passed(20, 100, 0.9, infringed=True)
    counts = ability_counts([RouteVerdict("T_Junction", False, True), RouteVerdict("PedestrianCrossing", False, True)])
    assert counts["Traffic_Signs"].success == 2
    assert counts["Emergency_Brake"].success == 0


def test_efficiency_keeps_1000_and_drops_what_is_above():
    assert route_efficiency([100.0, 1000.0, 1000.1]) == 550.0
    assert route_efficiency([2000.0]) is None
    assert percentages(["Average speed is 87.5% of", "no number"]) == [87.5]


def test_checkpoint_entries_compare_speeds_per_twentieth_of_the_route():
    progress = np.linspace(0.0, 1.0, 201)
    entries = checkpoint_entries(progress, np.full(201, 5.0), np.where(progress < 0.5, 10.0, np.nan))
    assert entries == [50.0] * 10 + [100.0] * 10


def motion(frames, dt, speed_wave=0.0, yaw_rate_degrees=0.0):
    time = np.arange(frames) * dt
    acceleration = np.stack([speed_wave * np.sin(2 * np.pi * time), np.zeros(frames)], axis=1)
    forward, right = np.tile([1.0, 0.0], (frames, 1)), np.tile([0.0, 1.0], (frames, 1))
    return Motion(acceleration, forward, right, np.full(frames, yaw_rate_degrees))


def test_published_comfort_fails_a_gentle_turn_and_the_corrected_one_does_not():
    gentle = motion(60, 0.05, yaw_rate_degrees=10.0)
    assert route_comfort(gentle) == 0.0
    assert route_comfort(gentle, corrected=True) == 1.0


def test_published_comfort_misses_a_step_of_two_pi_degrees_per_second_and_the_corrected_one_does_not():
    jumping = motion(20, 0.05)
    jumping.yaw_rate[10:] = 2 * np.pi
    assert comfort_chunks(jumping)[0].criteria["yaw_rate"] == pytest.approx((0.0, 0.0, True), abs=1e-9)
    assert comfort_chunks(jumping, corrected=True)[0].criteria["yaw_acc"][1] > 0.4


def test_corrected_jerk_uses_the_true_time_step():
    wave = motion(20, 0.05, speed_wave=1.0)  # true jerk up to 2 pi m/s^3
    assert comfort_chunks(wave)[0].criteria["lon_jerk"][1] < 4.13
    assert comfort_chunks(wave, corrected=True, dt=0.05)[0].criteria["lon_jerk"][1] > 5.0


def test_an_incomplete_last_chunk_is_dropped_as_published_and_judged_when_corrected():
    assert len(comfort_chunks(motion(39, 0.05))) == 1
    assert len(comfort_chunks(motion(39, 0.05), corrected=True)) == 2
    with pytest.raises(ValueError, match="2 frames"):
        comfort_chunks(motion(2, 0.05))


def drive(outcome="completed", completion=1.0, infractions=(), scenario=None, junction=None):
    ticks = 40
    zeros = np.zeros((ticks, 3))
    return DriveRecord(
        "alder", 0, scenario, "clear", 0, outcome, 4.0, 100.0, completion, tuple(infractions), 0.1,
        np.arange(ticks) * 0.1, zeros, np.zeros(ticks), np.full(ticks, 5.0), zeros, zeros,
        np.tile([1.0, 0, 0], (ticks, 1)),
        np.tile([0, -1.0, 0], (ticks, 1)), junction,
    )  # fmt: skip


def infraction(kind, percentage=None):
    return Infraction(kind, 1.0, np.zeros(3), kind.value, percentage)


def test_a_drive_of_the_embedded_world_is_scored_by_the_same_formulas():
    kinds = [infraction(InfractionKind.COLLISION_PEDESTRIAN), infraction(InfractionKind.MIN_SPEED, 80.0)]
    score = score_episode(drive("blocked", 0.5, kinds, "PedestrianCrossing", 0.2))
    assert score.driving_score == 25.0
    assert score.route.status == "Failed - Agent got blocked"
    assert (score.efficiency, score.comfort, score.collided, score.success) == (80.0, 1.0, True, False)
    assert score.passed_junction
    table = aggregate([score, score_episode(drive())])
    assert table["driving_score"] == 62.5
    assert table["abilities"]["Traffic_Signs"]["rate"] == 1.0
    assert table["abilities"]["Merging"]["rate"] is None


def test_a_drive_that_nearly_arrives_is_not_completed():
    assert score_episode(drive("timeout", 1.0)).route.status == "Failed - Agent timed out"


def test_missing_motion_is_reported_and_a_malformed_file_names_the_key(tmp_path):
    result = {"_checkpoint": {"records": [record(1, 100.0)], "progress": [1, 1]}}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    outcome = CliRunner().invoke(app, ["eval", "closed-loop", str(path)])
    assert outcome.exit_code == 0, outcome.output
    assert "without metric_info" in outcome.output
    assert "no route file" in outcome.output
    del result["_checkpoint"]["records"][0]["scores"]
    path.write_text(json.dumps(result))
    assert CliRunner().invoke(app, ["eval", "closed-loop", str(path)]).exit_code == 2
