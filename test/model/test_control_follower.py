import numpy as np
import pytest

from rsd_model.contracts import VehicleControl
from rsd_model.control import TrajectoryFollower, aim_point, target_speed


def straight(speed: float) -> np.ndarray:
    return np.stack([speed * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1)


def test_target_speed_is_the_speed_of_the_plan():
    assert target_speed(straight(8.0), 1.0) == pytest.approx(8.0)


def test_the_aim_point_lies_on_the_plan_and_goes_on_straight_past_its_end():
    plan = np.array([[2.0, 0.0], [4.0, 0.0], [4.0, 2.0], [4.0, 4.0], [4.0, 6.0], [4.0, 8.0]])
    np.testing.assert_allclose(aim_point(plan, 5.0), [4.0, 1.0])
    np.testing.assert_allclose(aim_point(plan, 14.0), [4.0, 10.0])


def test_a_plan_to_the_left_steers_left_in_carla_sign():
    plan = straight(6.0) + np.array([[0.0, 0.1 * k * k] for k in range(1, 7)])
    assert TrajectoryFollower().control(plan, 6.0).steer < -0.01
    assert TrajectoryFollower().control(plan * [1, -1], 6.0).steer > 0.01


def test_a_plan_that_stands_still_brakes_and_never_throttles():
    control = TrajectoryFollower().control(np.zeros((6, 2)), 5.0)
    assert control.brake == 1.0 and control.throttle == 0.0


@pytest.mark.parametrize(("plan_speed", "speed"), [(10.0, 5.0), (3.0, 8.0)])
def test_it_accelerates_below_the_plan_and_brakes_above_it(plan_speed, speed):
    control = TrajectoryFollower().control(straight(plan_speed), speed)
    assert (control.throttle > 0.0) == (plan_speed > speed) and (control.brake > 0.0) == (plan_speed < speed)


def test_a_plan_too_short_to_steer_by_and_full_braking_leave_the_wheels_as_they_are():
    follower = TrajectoryFollower()
    curve = straight(4.0) - np.array([[0.0, 0.1 * k * k] for k in range(1, 7)])
    turning = follower.control(curve, 4.0).steer
    assert turning > 0.05
    assert follower.control(0.02 * curve, 3.0).steer == turning
    assert follower.full_brake() == VehicleControl(brake=1.0, steer=turning)
    assert follower.control(np.zeros((6, 2)), 0.0).steer == turning
    follower.reset()
    assert follower.control(np.zeros((6, 2)), 0.0).steer == 0.0


def stopping_after(distance: float, speed: float) -> np.ndarray:
    time = np.minimum(0.5 * np.arange(1, 7), 2.0 * distance / speed)
    return np.stack([speed * time - speed**2 * time**2 / (4.0 * distance), np.zeros(6)], axis=1)


def test_a_stop_is_carried_through_to_a_standstill_though_the_plan_goes_on():
    follower = TrajectoryFollower()
    begun = follower.control(stopping_after(1.0, speed=2.0), speed=2.0)
    assert begun.brake * follower.parameters.full_brake == pytest.approx(2.0)  # v^2 / 2 d, m/s^2
    assert follower.control(straight(3.0), speed=0.6) == begun
    assert follower.control(straight(3.0), speed=0.0).throttle > 0.0
    assert follower.control(straight(3.0), speed=0.6).throttle > 0.0


def test_a_halt_brakes_harder_when_the_plan_becomes_shorter_and_no_less_when_it_becomes_longer():
    follower = TrajectoryFollower()
    gentle = follower.control(stopping_after(2.5, speed=2.0), speed=2.0).brake
    hard = follower.control(stopping_after(0.7, speed=2.0), speed=2.0).brake
    assert hard > 1.5 * gentle
    assert follower.control(stopping_after(2.5, speed=2.0), speed=1.8).brake == hard


@pytest.mark.parametrize("speed", [2.0, 0.6])
def test_a_halt_is_given_up_when_plans_drive_on_for_a_while_unless_it_nearly_stands(speed):
    follower = TrajectoryFollower()
    follower.control(stopping_after(2.5, speed=2.0), speed=2.0)
    commands = [follower.control(straight(4.0), speed) for _ in range(8)]
    assert all(command.brake > 0.0 for command in commands[:4])
    assert (commands[-1].throttle > 0.0) is (speed > 0.8)


def test_a_plan_that_slows_without_standing_begins_no_halt():
    follower = TrajectoryFollower()
    follower.control(straight(0.9), speed=1.4)  # 2.7 m, at walking pace to its end
    assert follower.control(straight(3.0), speed=1.0).throttle > 0.0


def test_a_vehicle_that_creeps_may_go_on_creeping():
    assert TrajectoryFollower().control(straight(0.5), speed=0.3).throttle > 0.0


def test_a_vehicle_held_by_drag_is_pushed_until_it_moves_and_no_further():
    follower = TrajectoryFollower()
    throttles = [follower.control(straight(0.3), speed=0.0).throttle for _ in range(100)]
    assert throttles[0] < 0.2 < throttles[-1] < 0.6
    assert np.all(np.diff(throttles) >= 0.0)
    assert follower.control(straight(0.3), speed=0.2).throttle < 0.2


def test_the_rate_of_commands_does_not_decide_how_hard_it_pushes_or_pulls():
    for plan, speed in ((straight(0.3), 0.0), (straight(5.0), 4.0)):
        slow, fast = TrajectoryFollower(), TrajectoryFollower()
        for _ in range(10):
            at_10_hz = slow.control(plan, speed, period=0.1).throttle
        for _ in range(100):
            at_100_hz = fast.control(plan, speed, period=0.01).throttle
        assert at_100_hz == pytest.approx(at_10_hz, abs=1e-6)


def test_the_integral_forgets_what_is_older_than_its_window():
    follower, fresh = TrajectoryFollower(), TrajectoryFollower()
    for _ in range(50):
        follower.control(straight(6.0), speed=4.0)
    for _ in range(21):
        later = follower.control(straight(4.1), speed=4.0).throttle
    assert later == pytest.approx(fresh.control(straight(4.1), speed=4.0).throttle, abs=1e-6)


def test_a_plan_that_stands_ends_the_push():
    follower = TrajectoryFollower()
    for _ in range(50):
        follower.control(straight(0.3), speed=0.0)
    assert follower.control(straight(0.1), speed=0.0).throttle == 0.0
    assert follower.control(straight(0.3), speed=0.0).throttle < 0.2


def test_a_reset_forgets_a_stop_that_was_begun():
    follower = TrajectoryFollower()
    follower.control(stopping_after(2.0, speed=2.0), speed=1.4)
    follower.reset()
    assert follower.control(straight(3.0), speed=0.6).throttle > 0.0


def test_values_that_are_not_finite_are_refused():
    plan = straight(5.0)
    plan[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        TrajectoryFollower().control(plan, 5.0)


def test_following_a_circle_in_a_bicycle_model_stays_on_it():
    """Closed loop: plan sampled from a circle of 20 m ahead of wherever the vehicle is."""
    follower, radius, dt = TrajectoryFollower(), 20.0, 0.1
    x, y, yaw, speed = 0.0, 0.0, 0.0, 6.0
    centre = np.array([0.0, radius])
    errors = []
    for _ in range(150):
        angle = np.arctan2(y - centre[1], x - centre[0])
        ahead = angle + speed * 0.5 * np.arange(1, 7) / radius
        points = centre + radius * np.stack([np.cos(ahead), np.sin(ahead)], axis=1)
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        steer = follower.control((points - [x, y]) @ turn, speed).steer
        yaw += speed * np.tan(-steer * follower.parameters.max_wheel_angle) / follower.parameters.wheelbase * dt
        x, y = x + speed * np.cos(yaw) * dt, y + speed * np.sin(yaw) * dt
        errors.append(abs(np.hypot(x - centre[0], y - centre[1]) - radius))
    assert max(errors[50:]) < 0.6
