"""The expert gets away from close behind something where there is room to turn, and stays where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from expert_stage import Stage

from rsd_world.actors.boxes import box_corners_2d, boxes_overlap
from rsd_world.expert.expert import Expert
from rsd_world.state import ActorKind

START = 8.0  # m, on a straight road with one lane each way
HALF_LENGTH = 2.446  # m


def drive_from_behind(gap, **door):
    """Metres driven in 8 s from a standstill `gap` m behind a parked car, and whether it was touched."""
    stage = Stage("alder", route=straight_route())
    stage.place_ego(START)
    parked = stage.add_actor(ActorKind.CAR, START + HALF_LENGTH + gap + 2.25, -0.4, parked=True, **door)
    obstacle = box_corners_2d(parked.position[None, :2], np.array([parked.yaw]), np.array([parked.size[:2]]))
    expert, touched = Expert(stage), False
    for _ in range(80):
        stage.step(expert.plan().control)
        ego = stage.snapshot.ego
        body = box_corners_2d(ego.position[None, :2], np.array([ego.yaw]), np.array([ego.size[:2]]))[0]
        touched |= bool(boxes_overlap(body, obstacle)[0])
    return stage.tracker.s - START, touched


def straight_route():
    for route in range(20):
        stage = Stage("alder", route=route)
        lanes = [stage.town.lanes.lanes[i] for i in stage.tracker.lanes[: int(START) + 50]]
        two_way = all(lane.left < 0 and lane.opposite >= 0 and lane.junction < 0 for lane in lanes)
        if two_way and np.ptp(stage.tracker.yaw[: int(START) + 50]) < 0.15:
            return route
    pytest.fail("no route of alder begins with 58 m of straight two-way road")


@pytest.mark.parametrize("gap", [2.0, 3.0, 4.5])
def test_it_turns_out_from_close_behind_a_parked_car_without_touching_it(gap):
    driven, touched = drive_from_behind(gap)
    assert driven > 15.0
    assert not touched


def test_it_stays_where_its_corner_would_touch():
    driven, touched = drive_from_behind(0.9)
    assert driven < 0.5
    assert not touched
