import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_model.contracts import VehicleControl
from rsd_world.dynamics import EgoDynamics


def drive(control: VehicleControl, speed: float, seconds: float) -> list:
    dynamics = EgoDynamics()
    dynamics.reset(np.zeros(3), 0.0, speed)
    return [dynamics.step(control, 0.05) for _ in range(round(seconds / 0.05))]


def test_throttle_of_three_quarters_pulls_away_with_3_to_4_metres_per_second_squared_and_less_when_fast():
    slow = max(state.acceleration for state in drive(VehicleControl(throttle=0.75), 0.0, 2.0))
    fast = drive(VehicleControl(throttle=0.75), 20.0, 1.0)[-1].acceleration
    assert 3.0 < slow < 4.2
    assert 0.5 < fast < slow - 1.0


def test_full_brake_stops_from_50_kmh_within_15_metres_and_never_rolls_back():
    states = drive(VehicleControl(brake=1.0), 13.9, 4.0)
    assert states[-1].speed == 0.0
    assert min(state.speed for state in states) >= 0.0
    assert 11.0 < states[-1].position[0] < 15.0
    assert min(state.acceleration for state in states) > -9.0


def test_a_vehicle_without_throttle_slows_down_to_a_stand():
    states = drive(VehicleControl(), 8.0, 25.0)
    assert states[-1].speed == 0.0


def test_positive_steer_turns_right():
    last = drive(VehicleControl(throttle=0.3, steer=0.2), 5.0, 1.0)[-1]
    assert last.yaw_rate < 0.0
    assert last.wheel_angle < 0.0
    assert last.position[1] < 0.0


def test_steering_follows_with_a_lag():
    first, *_, last = drive(VehicleControl(throttle=0.3, steer=0.3), 5.0, 1.0)
    assert abs(first.wheel_angle) < 0.6 * abs(last.wheel_angle)


def test_reverse_gear_drives_backwards():
    assert drive(VehicleControl(throttle=0.5, reverse=True), 0.0, 2.0)[-1].position[0] < -0.5


@given(
    throttle=st.floats(-1.0, 2.0), steer=st.floats(-2.0, 2.0), brake=st.floats(-1.0, 2.0), speed=st.floats(0.0, 35.0)
)
@settings(max_examples=60)
def test_no_control_exceeds_the_limits_of_the_tyres(throttle, steer, brake, speed):
    for state in drive(VehicleControl(throttle, steer, brake), speed, 1.0):
        assert abs(state.lateral_acceleration) < 8.2
        assert -10.5 < state.acceleration < 7.5
        assert 0.0 <= state.speed < 60.0
        assert np.isfinite(state.position).all()
        assert -math.pi <= state.yaw <= math.pi


@pytest.mark.parametrize("field", ["throttle", "steer", "brake"])
def test_a_control_that_is_not_finite_is_refused(field):
    with pytest.raises(ValueError, match="not finite"):
        EgoDynamics().step(VehicleControl(**{field: float("nan")}), 0.1)
