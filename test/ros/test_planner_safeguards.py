"""The planner node, over DDS, where a safeguard takes the place of the network's plan."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from planner_bench import StraightRuntime, bench, length_of

from rsd_model.contracts import MAP_CLASSES, MapElements
from rsd_ros.compat.messages import PlannerStatus


class Obstructed(StraightRuntime):
    """Its object stands still in the way, 3 m before the bumper, while `in_the_way` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.in_the_way = threading.Event()

    def plan(self, frame):
        output = super().plan(frame)
        if self.in_the_way.is_set():
            output.objects.boxes[0, :2], output.objects.velocities[0] = (8.0, 0.0), 0.0
        return output


def test_a_plan_that_is_about_to_hit_something_gives_way_to_full_braking(ros_domain: int):
    runtime = Obstructed()
    with bench(ros_domain, runtime) as b:
        b.start()
        runtime.in_the_way.set()
        assert b.drive_until(b.vehicle.stops)
        plan = b.vehicle.stops()[-1]
        assert "emergency brake: car 8.0 m away" in plan.stop_reason
        assert length_of(plan) == pytest.approx(8.0**2 / (2.0 * 7.0), abs=0.1)
        assert b.drive_until(lambda: any("emergency brake" in m for m in b.vehicle.status().messages))
        assert b.vehicle.status().state == PlannerStatus.STATE_DEGRADED
        assert all(c.valid for c in b.vehicle.status().cameras)
        assert b.drive_until(lambda: any("emergency brake" in m for m in b.vehicle.told("planning")))
        runtime.in_the_way.clear()
        b.vehicle.forget()
        assert b.drive_until(lambda: b.vehicle.plans() and not b.vehicle.plans()[-1].is_stop)


def test_without_the_emergency_brake_the_network_s_plan_is_sent(ros_domain: int):
    runtime = Obstructed()
    runtime.in_the_way.set()
    with bench(ros_domain, runtime, emergency_brake=False) as b:
        b.start()
        assert b.drive_until(lambda: len(b.vehicle.plans()) >= 5)
        assert not b.vehicle.stops()


class AtStopSign(StraightRuntime):
    """It sees a stop line across the lane, 12 m ahead."""

    def plan(self, frame):
        line = np.array([[[12.0, -1.7], [12.0, 1.7]]])
        lines = MapElements(line, np.array([MAP_CLASSES.index("StopSign")]), np.array([0.9]))
        return replace(super().plan(frame), map=lines)


@pytest.mark.parametrize("obeyed", [True, False])
def test_a_plan_over_a_perceived_stop_line_ends_before_it_unless_switched_off(ros_domain: int, obeyed: bool):
    with bench(ros_domain, AtStopSign(), stop_signs=obeyed) as b:
        b.start()
        assert b.drive_until(lambda: len(b.vehicle.plans()) >= 8)
        plan = b.vehicle.plans()[-1]
        assert not b.vehicle.stops()  # the car goes on under control; nothing is wrong
        assert plan.stop_reason.startswith("stop sign: line 12.0 m ahead") is obeyed
        assert length_of(plan) == pytest.approx(12.0 - 3.45 if obeyed else 24.0, abs=0.1)
        assert b.vehicle.status().state == PlannerStatus.STATE_OK
