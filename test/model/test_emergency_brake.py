from dataclasses import replace

import numpy as np
import pytest

from rsd_model.contracts import Command, DetectedObjects, MapElements, PlannerOutput, RiskGrid
from rsd_model.emergency_brake import EmergencyBrake, EmergencyBrakeSettings, boxes_touch, first_contact

CAR, PEDESTRIAN = 0, 7


def objects(*rows: tuple[float, ...]) -> DetectedObjects:
    """Rows of x, y, yaw, vx, vy, score, length, width."""
    table = np.array(rows, float).reshape(-1, 8)
    count = len(table)
    boxes = np.column_stack([table[:, :2], np.zeros(count), table[:, 6:8], np.full(count, 1.5), table[:, 2]])
    return DetectedObjects(
        boxes=boxes, velocities=table[:, 3:5], labels=np.full(count, CAR), scores=table[:, 5], risks=np.zeros(count),
        futures=np.zeros((count, 6, 6, 2)), future_probabilities=np.full((count, 6), 1 / 6),
    )  # fmt: skip


def output(stamp: float, speed: float, seen: DetectedObjects) -> PlannerOutput:
    """A plan straight on at `speed`."""
    plan = np.stack([speed * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1)
    return PlannerOutput(
        stamp, Command.LANEFOLLOW, plan, np.repeat(plan[None], 6, axis=0), seen,
        MapElements(np.zeros((0, 10, 2)), np.zeros(0, int), np.zeros(0)),
        RiskGrid(np.zeros((0, 0)), 1.0, (0.0, 0.0)), 1.0,
    )  # fmt: skip


STANDS = (8.0, 0.0, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8)  # its rear 3.3 m before the vehicle's front
ALONG = (8.0, 0.0, 0.0, 8.0, 0.0, 0.9, 4.5, 1.8)
CROSSES = (6.0, 4.0, -np.pi / 2, 0.0, -8.0, 0.9, 4.5, 1.8)
BESIDE = (6.0, 3.2, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8)
BEHIND = (-6.0, 0.0, 0.0, 20.0, 0.0, 0.9, 4.5, 1.8)
UNSURE = (8.0, 0.0, 0.0, 0.0, 0.0, 0.2, 4.5, 1.8)


@pytest.mark.parametrize(
    ("row", "meets"),
    [(STANDS, True), (ALONG, False), (CROSSES, True), (BESIDE, False), (BEHIND, False), (UNSURE, False)],
)
def test_contact_is_with_what_stands_or_crosses_ahead(row, meets):
    seconds, index = first_contact(
        output(0.0, 8.0, objects(row)).trajectory, objects(row), 0.9, EmergencyBrakeSettings()
    )
    assert (index == 0) is meets
    assert np.isfinite(seconds) == meets


def test_the_time_to_contact_is_the_gap_over_the_speed_and_the_nearest_object_is_named():
    far = (9.0, 0.0, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8)
    seconds, index = first_contact(
        output(0.0, 8.0, objects(far)).trajectory, objects(far, STANDS), 2.0, EmergencyBrakeSettings()
    )
    assert index == 1
    assert seconds == pytest.approx((8.0 - 2.25 - 2.45) / 8.0, abs=0.11)


def test_it_brakes_on_the_plans_path_once_two_plans_agree_and_says_why():
    brake, seen = EmergencyBrake(), objects(STANDS)
    first = brake.check(output(1.0, 8.0, seen), 8.0)
    assert not first.emergency
    second = brake.check(output(1.1, 8.0, seen), 8.0)
    assert second.emergency == "emergency brake: car 8.0 m away, contact in 0.5 s"
    assert second.trajectory[-1, 0] == pytest.approx(8.0**2 / (2.0 * 7.0))
    np.testing.assert_array_equal(second.trajectory[:, 1], 0.0)
    np.testing.assert_array_equal(second.trajectories, first.trajectories)


def test_what_can_still_be_braked_for_in_comfort_is_left_to_the_plan():
    brake, seen = EmergencyBrake(), objects((14.0, 0.0, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8))
    assert not any(brake.check(output(0.1 * k, 8.0, seen), 8.0).emergency for k in range(5))
    assert [bool(brake.check(output(0.5 + 0.1 * k, 12.0, seen), 12.0).emergency) for k in range(2)] == [False, True]


def test_it_lets_go_after_the_object_is_gone_and_where_the_vehicle_stands():
    brake, seen, clear = EmergencyBrake(), objects(STANDS), objects()
    for k in range(2):
        brake.check(output(0.1 * k, 8.0, seen), 8.0)
    held = [bool(brake.check(output(0.2 + 0.1 * k, 5.0, clear), 5.0).emergency) for k in range(4)]
    assert held == [True, True, False, False]
    again = [bool(brake.check(output(1.0 + 0.1 * k, 8.0, seen), 8.0).emergency) for k in range(2)]
    assert again == [False, True]
    assert not brake.check(output(1.2, 0.5, seen), 0.0).emergency
    assert not brake.check(output(1.3, 0.5, seen), 0.5).emergency  # a slow start is the plan's own


def test_one_flickering_detection_does_not_brake_and_a_reset_forgets():
    brake = EmergencyBrake()
    for k in range(6):
        assert not brake.check(output(0.1 * k, 8.0, objects(STANDS) if k % 2 else objects()), 8.0).emergency
    brake.check(output(1.0, 8.0, objects(STANDS)), 8.0)
    brake.reset()
    assert not brake.check(output(1.1, 8.0, objects(STANDS)), 8.0).emergency


def test_rectangles_touch_by_all_four_axes():
    centre, size = np.zeros(2), np.array([4.0, 2.0])
    places = np.array([[3.9, 0.0], [4.1, 0.0], [0.0, 1.9], [0.0, 2.1], [2.9, 1.9]])
    assert boxes_touch(centre, np.array(0.0), size, places, np.zeros(5), size).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]
    # A square on its corner beside a corner: only the square's own axes part them.
    assert not boxes_touch(centre, np.array(0.0), size, np.array([3.0, 2.0]), np.array(np.pi / 4), np.array([2.0, 2.0]))
    assert boxes_touch(centre, np.array(0.0), size, np.array([2.6, 1.6]), np.array(np.pi / 4), np.array([2.0, 2.0]))


def test_settings_change_who_counts():
    seen, settings = objects(UNSURE), replace(EmergencyBrakeSettings(), min_score=0.1, confirmations=1)
    assert EmergencyBrake(settings).check(output(0.0, 8.0, seen), 8.0).emergency
