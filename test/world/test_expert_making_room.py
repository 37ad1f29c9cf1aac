"""The expert lets an emergency vehicle from behind pass on a road of two lanes."""

from __future__ import annotations

import numpy as np
from expert_stage import Stage, drive

from rsd_world.expert.expert import Expert
from rsd_world.expert.route_reference import RouteReference
from rsd_world.state import ActorKind


def before_a_junction_with_a_lane_beside(room=60.0):
    """A stage, and the arc length of a junction with a straight road of two lanes for `room` m before it."""
    for town in ("alder", "birch"):
        for route in range(25):
            stage = Stage(town, route=route)
            ref = RouteReference(stage.town, stage.route)
            for line in ref.stop_lines:
                part = slice(max(int(line.s - room), 0), int(line.s) - 1)
                beside = (ref.left_same[part] > 0.0) | (ref.right_same[part] > 0.0)
                steady = np.ptp(ref.yaw[part]) < 0.05 and not ref.in_junction[part].any()
                if line.s > room + 40.0 and beside.all() and steady and len(set(ref.lanes[part])) == 1:
                    return stage, line.s
    raise AssertionError(f"no route comes straight to a junction on two lanes for {room} m")


def test_it_stays_aside_before_a_junction_until_the_emergency_vehicle_has_passed():
    stage, junction = before_a_junction_with_a_lane_beside()
    stage.place_ego(junction - 45.0, speed=6.0)
    ambulance = stage.add_actor(ActorKind.AMBULANCE, junction - 80.0, 0.0, (5.9, 2.05, 2.6), along=9.0, siren=True)
    expert, passed, closest = Expert(stage), False, np.inf
    while not passed and stage.time < 20.0:
        _, laterals, _, touched = drive(stage, 0.1, expert)
        delta = stage.actors[ambulance.id - 1].position[:2] - stage.snapshot.ego.position[:2]
        yaw = stage.snapshot.ego.yaw
        passed = delta @ np.array([np.cos(yaw), np.sin(yaw)]) > 6.0
        closest = min(closest, abs(laterals[-1])) if abs(delta).max() < 6.0 else closest
        assert not touched
    assert passed
    assert closest > 2.0
    assert stage.tracker.s < junction
    drive(stage, 12.0, expert)
    assert stage.tracker.s > junction + 5.0  # and it goes on when it is past
