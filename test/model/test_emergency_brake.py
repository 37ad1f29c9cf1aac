from dataclasses import replace

import numpy as np
import pytest
from made_plans import objects, output

from rsd_model.contracts import OBJECT_CLASSES
from rsd_model.emergency_brake import EmergencyBrake, EmergencyBrakeSettings, boxes_touch, first_contact

STANDS = (8.0, 0.0, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8)  # its rear 3.3 m before the vehicle's front
ALONG = (8.0, 0.0, 0.0, 8.0, 0.0, 0.9, 4.5, 1.8)
CROSSES = (6.0, 4.0, -np.pi / 2, 0.0, -8.0, 0.9, 4.5, 1.8)
BESIDE = (6.0, 3.2, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8)
BEHIND = (-6.0, 0.0, 0.0, 20.0, 0.0, 0.9, 4.5, 1.8)
UNSURE = (8.0, 0.0, 0.0, 0.0, 0.0, 0.17, 4.5, 1.8)
NONE = (8.0, 0.0, 0.0, 0.0, 0.0, 0.1, 4.5, 1.8)


@pytest.mark.parametrize(
    ("row", "meets"),
    [(STANDS, True), (ALONG, False), (CROSSES, True), (BESIDE, False), (BEHIND, False), (UNSURE, True), (NONE, False)],
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
    assert seconds == pytest.approx((8.0 - 2.25 - 2.45 - 0.5) / 8.0, abs=0.11)


def test_people_may_stray_into_the_way_in_the_time_until_the_vehicle_is_there_and_vehicles_be_nearer_than_seen():
    def met(row, label, horizon):
        seen = objects(row)
        seen.labels[:] = OBJECT_CLASSES.index(label)
        return first_contact(output(0.0, 4.0, seen).trajectory, seen, horizon, EmergencyBrakeSettings())[1] is not None

    person = (6.0, 1.8, 0.0, 0.0, 0.0, 0.9, 0.6, 0.6)  # half a metre beside the vehicle's way, reached after 0.8 s
    assert met(person, "pedestrian", 1.5)
    assert not met(person, "pedestrian", 0.9)
    assert not met((6.0, 2.2, 0.0, 0.0, 0.0, 0.9, 0.6, 0.6), "pedestrian", 1.5)
    assert met((8.0, 2.3, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8), "car", 0.9)
    assert not met((8.0, 2.5, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8), "car", 0.9)


def test_it_brakes_on_the_plans_path_once_two_plans_agree_and_says_why():
    brake, seen = EmergencyBrake(), objects(STANDS)
    first = brake.check(output(1.0, 8.0, seen), 8.0)
    assert not first.emergency
    second = brake.check(output(1.1, 8.0, seen), 8.0)
    assert second.emergency
    assert second.stop_reason == "emergency brake: car 8.0 m away, contact in 0.4 s"
    assert second.trajectory[-1, 0] == pytest.approx(8.0**2 / (2.0 * 7.0))
    np.testing.assert_array_equal(second.trajectory[:, 1], 0.0)
    np.testing.assert_array_equal(second.trajectories, first.trajectories)


def test_what_can_still_be_braked_for_in_comfort_is_left_to_the_plan():
    brake, seen = EmergencyBrake(), objects((15.0, 0.0, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8))
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
    assert not brake.check(output(1.3, 0.5, seen), 0.5).emergency


def test_a_slow_vehicle_waits_while_its_plan_starts_into_something_but_not_for_good():
    brake, near, far = EmergencyBrake(), objects((6.5, 0.0, 0.0, 0.0, 0.0, 0.9, 2.0, 1.0)), objects(STANDS)
    plans = [brake.check(output(0.1 * k, 3.0, near), 0.0) for k in range(220)]
    waits = [plan.stop_reason.startswith("waits: car 6.5 m away") for plan in plans]
    assert waits[:200] == [False] + [True] * 199
    assert not any(waits[203:])
    assert not any(plan.emergency for plan in plans)
    np.testing.assert_array_equal(plans[1].trajectory, 0.0)
    # Once the way was free for a second, it waits for the next one, while one that is far is the plan's own affair.
    assert not brake.check(output(23.0, 3.0, objects()), 1.0).stop_reason
    assert [bool(brake.check(output(23.1 + 0.1 * k, 3.0, near), 1.0).stop_reason) for k in range(2)] == [False, True]
    assert not brake.check(output(24.0, 1.0, far), 0.5).stop_reason


def test_a_slow_vehicle_drives_on_sooner_before_what_is_seen_badly():
    brake, doubtful = EmergencyBrake(), objects((6.5, 0.0, 0.0, 0.0, 0.0, 0.3, 2.0, 1.0))
    waits = [bool(brake.check(output(0.1 * k, 3.0, doubtful), 0.0).stop_reason) for k in range(70)]
    assert waits[:50] == [False] + [True] * 49
    assert not any(waits[53:])


def test_a_slow_vehicle_waits_a_moment_for_who_may_set_out_before_its_bumper():
    def waits(x, y, speed, label="pedestrian"):
        brake, seen = EmergencyBrake(), objects((x, y, 0.0, 0.0, 0.0, 0.9, 0.6, 0.6))
        seen.labels[:] = OBJECT_CLASSES.index(label)
        return sum(bool(brake.check(output(0.1 * k, 4.0, seen), speed).stop_reason) for k in range(70))

    assert waits(6.5, 2.5, 1.0) == pytest.approx(20, abs=1)  # 1.2 m from the vehicle's way, which is there after 1 s
    assert waits(6.5, 0.0, 1.0) == 69  # in the way
    assert not waits(6.5, 3.5, 1.0)  # at the kerb
    assert not waits(6.5, 2.5, 3.0)  # a faster one would brake fully for each who stands beside the road
    assert not waits(2.0, 2.5, 1.0)  # beside the vehicle
    assert not waits(6.5, 2.5, 1.0, "traffic_cone")


def test_what_is_detected_on_the_vehicle_itself_is_nothing_to_meet():
    brake, ghost = EmergencyBrake(), objects((1.0, 0.2, 0.0, 0.0, 0.0, 0.9, 4.5, 1.8))
    assert not any(brake.check(output(0.1 * k, 8.0, ghost), 8.0).stop_reason for k in range(4))


def test_one_flickering_detection_does_not_brake_and_a_reset_forgets():
    brake = EmergencyBrake()
    for k in range(6):
        assert not brake.check(output(0.1 * k, 8.0, objects(STANDS) if k % 2 else objects()), 8.0).emergency
    brake.check(output(1.0, 8.0, objects(STANDS)), 8.0)
    brake.reset()
    assert not brake.check(output(1.1, 8.0, objects(STANDS)), 8.0).emergency


def test_what_is_detected_badly_must_be_so_in_more_plans_in_a_row():
    brake = EmergencyBrake()
    brakes = [brake.check(output(0.1 * k, 8.0, objects(UNSURE)), 8.0).emergency for k in range(4)]
    assert brakes == [False, False, True, True]


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
    seen, settings = objects(NONE), replace(EmergencyBrakeSettings(), min_score=0.1, evidence=0.1)
    assert EmergencyBrake(settings).check(output(0.0, 8.0, seen), 8.0).emergency
