from dataclasses import replace

import numpy as np
import pytest
from made_plans import objects, output

from rsd_model.contracts import MAP_CLASSES, Command, EgoState, FrameSet, MapElements
from rsd_model.geometry import bench2drive_rig, pose_matrix
from rsd_model.safeguards import Safeguards
from rsd_model.stop_signs import StopSigns, StopSignSettings, crossing

LINE = 40.0  # m, where the stop line is on a road along map x
SIGN, LIGHT = MAP_CLASSES.index("StopSign"), MAP_CLASSES.index("TrafficLight")
ROUTE = np.stack([np.arange(51.0), np.zeros(51)], axis=1)


def frame_at(x: float, speed: float, stamp: float) -> FrameSet:
    ego = EgoState(stamp, pose_matrix(np.array([x, 0.0, 0.0]), 0.0), np.array([speed, 0.0, 0.0]), np.zeros(3), 0.0)
    return FrameSet(stamp, (), np.zeros(0), np.zeros(0, bool), bench2drive_rig(), ego, Command.LANEFOLLOW, ROUTE)


def seen_at(
    x: float, speed: float, stamp: float, score: float = 0.9, half: float = 1.7, aside: float = 0.0, light: float = 0.0
):
    """A plan straight on at no less than 4 m/s, and the line where it is; `light`: its score as a traffic light's."""
    ends = np.array([[LINE - x, aside - half], [LINE - x, aside + half]])
    points = np.linspace(ends[0], ends[1], 10)
    lines = MapElements(np.stack([points, points]), np.array([SIGN, LIGHT]), np.array([score, light]))
    return replace(output(stamp, max(speed, 4.0), objects()), map=lines)


def drive(signs: StopSigns, places, speed: float, start: float = 0.0, **seen):
    """Outputs of one plan each 0.1 s at `places` m."""
    return [
        signs.check(seen_at(x, speed, start + 0.1 * k, **seen), frame_at(x, speed, start + 0.1 * k))
        for k, x in enumerate(places)
    ]


def test_a_plan_over_a_line_that_was_not_halted_at_ends_before_it_and_says_why():
    outputs = drive(StopSigns(), LINE - 10.0 + 0.5 * np.arange(8), 5.0)
    assert not outputs[0].stop_reason  # one flickering line is none
    last = outputs[-1]
    assert last.stop_reason == "stop sign: line 6.5 m ahead"
    assert not last.emergency
    assert last.trajectory[-1, 0] == pytest.approx(6.5 - 2.45 - 1.0, abs=1e-6)


def test_once_it_has_stood_in_the_zone_it_may_go_and_the_next_line_counts_anew():
    signs = StopSigns()
    drive(signs, np.full(5, LINE - 3.6), 1.0)
    drive(signs, [LINE - 3.6], 0.0, start=0.5)
    assert not any(o.stop_reason for o in drive(signs, LINE - 3.6 + 0.2 * np.arange(10), 2.0, start=0.6))
    passed = drive(signs, LINE + 0.5 * np.arange(1, 5), 5.0, start=2.0)
    assert not any(o.stop_reason for o in passed)
    assert drive(signs, np.full(6, LINE - 9.0), 5.0, start=5.0)[-1].stop_reason


def test_a_vehicle_that_stands_before_the_zone_is_let_drive_up_to_the_line():
    last = drive(StopSigns(), np.full(5, LINE - 8.8), 0.0)[-1]
    assert last.stop_reason == "stop sign: line 8.8 m ahead"
    assert last.trajectory[-1, 0] == pytest.approx(8.8 - 2.45 - 1.0)


def test_a_halt_in_a_queue_before_the_zone_does_not_count():
    signs = StopSigns()
    drive(signs, np.full(10, LINE - 8.1), 0.0)
    assert drive(signs, LINE - 8.0 + 0.1 * np.arange(5), 1.0, start=1.0)[-1].stop_reason


@pytest.mark.parametrize(
    ("seen", "speed"),
    [
        ({"score": 0.6, "light": 0.5}, 5.0),
        ({"half": 4.0}, 5.0),  # longer than a lane is wide: two lines seen as one
        ({"aside": 4.0}, 5.0),  # of the other lane
        ({}, 13.0),  # no braking stops it in time any more
    ],
)
def test_other_lines_and_those_seen_too_late_are_driven_over(seen, speed):
    assert not any(o.stop_reason for o in drive(StopSigns(), np.full(8, LINE - 8.0), speed, **seen))


def test_a_line_that_is_seen_badly_needs_more_plans():
    stops = [bool(o.stop_reason) for o in drive(StopSigns(), LINE - 12.0 + 0.3 * np.arange(10), 3.0, score=0.3)]
    assert stops == [False] * 3 + [True] * 7


def test_a_line_that_is_not_seen_any_more_is_forgotten_and_a_reset_forgets_all():
    signs = StopSigns()
    drive(signs, np.full(6, LINE - 8.0), 3.0)
    stamps = 0.6 + 0.1 * np.arange(15)
    gone = [signs.check(output(t, 4.0, objects()), frame_at(LINE - 8.0, 3.0, t)) for t in stamps]
    assert all(o.stop_reason for o in gone[:9])
    assert not any(o.stop_reason for o in gone[11:])
    drive(signs, np.full(6, LINE - 8.0), 3.0, start=3.0)
    signs.reset()
    assert not drive(signs, [LINE - 8.0], 3.0, start=4.0)[0].stop_reason


def test_a_route_crosses_a_line_within_its_ends_and_says_at_what_angle():
    ends = np.array([[10.0, -1.0], [10.0, 1.0]])
    assert crossing(ROUTE, ends, 0.0) == pytest.approx((10.0, 1.0))
    assert crossing(ROUTE, ends + [0.0, 1.5], 0.0) is None
    assert crossing(ROUTE, ends + [0.0, 1.5], 0.6) == pytest.approx((10.0, 1.0))
    assert crossing(ROUTE, ends - [20.0, 0.0], 0.0) is None
    slanting = crossing(ROUTE, np.array([[9.0, -1.0], [11.0, 1.0]]), 0.0)
    assert slanting == pytest.approx((10.0, np.sqrt(0.5)))
    turn = np.array([[1.0, 0.0], [5.0, 0.0], [5.0, 5.0], [5.0, 20.0]])
    assert crossing(turn, np.array([[3.0, 8.0], [7.0, 8.0]]), 0.0) == pytest.approx((13.0, 1.0))


def test_settings_say_where_it_halts_and_safeguards_can_be_switched_off():
    settings = replace(StopSignSettings(), gap=2.0, evidence=0.5)
    assert drive(StopSigns(settings), [LINE - 10.0], 5.0)[0].trajectory[-1, 0] == pytest.approx(10.0 - 4.45)
    for guards, stops in ((Safeguards(), True), (Safeguards(stop_signs=False), False)):
        outputs = [
            guards.check(seen_at(LINE - 8.0, 3.0, 0.1 * k), frame_at(LINE - 8.0, 3.0, 0.1 * k)) for k in range(6)
        ]
        assert bool(outputs[-1].stop_reason) is stops
