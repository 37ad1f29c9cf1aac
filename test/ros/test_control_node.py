"""Trajectory and odometry in, commands out, over DDS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from planner_bench import spinning, two_contexts
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Header

from rsd_model.contracts import Command, EgoState, VehicleControl
from rsd_model.control import TrajectoryFollower, target_speed
from rsd_model.geometry import pose_matrix
from rsd_ros import qos
from rsd_ros.command_messages import carla_message, control_of, max_wheel_angle_of
from rsd_ros.compat.messages import (
    AckermannDriveStamped,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    PlannedTrajectory,
)
from rsd_ros.control_node import ControlNode
from rsd_ros.conversions import InvalidInput, ns_to_stamp, odometry_message, stamp_to_ns
from rsd_ros.plan_messages import stop_message
from rsd_ros.program import EXIT_NOT_STARTED

VEHICLE = "/carla/ego_vehicle"
TICK = 100_000_000  # ns
LEFT_BEND = np.stack([4.0 * np.arange(1, 7), 0.05 * (4.0 * np.arange(1, 7)) ** 2 / 2.0], axis=1)  # 8 m/s
TYPES = {"carla": CarlaEgoVehicleControl, "ackermann": AckermannDriveStamped, "twist": TwistStamped}
TOPICS = {
    "carla": f"{VEHICLE}/vehicle_control_cmd",
    "ackermann": "/rsd/control/ackermann_cmd",
    "twist": "/rsd/control/cmd_vel",
}


class Car(Node):
    """Sends odometry and trajectories on simulation time, keeps the commands."""

    def __init__(self, context: rclpy.Context, output: str) -> None:
        super().__init__("car", context=context)
        self.stamp, self.speed, self.x = 10 * 10**9, 6.0, 0.0
        self.commands: list[Any] = []
        self.checks: list[DiagnosticStatus] = []
        self.agent_status: list[Bool] = []
        self._clock_out = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._odometry = self.create_publisher(Odometry, f"{VEHICLE}/odometry", qos.SENSOR_OUT)
        self._info = self.create_publisher(CarlaEgoVehicleInfo, f"{VEHICLE}/vehicle_info", qos.LATCHED_INFO)
        self.plans = self.create_publisher(PlannedTrajectory, "/rsd/planner/trajectory", qos.TRAJECTORY)
        self.create_subscription(TYPES[output], TOPICS[output], self.commands.append, qos.CONTROL)
        self.create_subscription(
            DiagnosticArray, "/diagnostics", lambda array: self.checks.extend(array.status), qos.DIAGNOSTICS
        )
        self.create_subscription(Bool, "/carla/hero/status", self.agent_status.append, qos.LATCHED)

    def tick(self, speed: float | None = None) -> int:
        """The next instant's clock and odometry; returns its stamp in ns."""
        self.stamp += TICK
        self.x += self.speed * TICK / 1e9
        self._clock_out.publish(Clock(clock=ns_to_stamp(self.stamp)))
        velocity = np.array([self.speed if speed is None else speed, 0.0, 0.0])
        ego = EgoState(self.stamp / 1e9, pose_matrix(np.array([self.x, 0.0, 0.0]), 0.0), velocity, np.zeros(3), 0.0)
        self._odometry.publish(odometry_message(ego, ns_to_stamp(self.stamp), "map", "ego_vehicle"))
        return self.stamp

    def clock_only(self) -> None:
        """Simulation time goes on without odometry."""
        self.stamp += TICK
        self._clock_out.publish(Clock(clock=ns_to_stamp(self.stamp)))

    def send_plan(self, points: np.ndarray, stamp: int | None = None) -> None:
        """A trajectory of `stamp`, by default of this instant."""
        header = Header(stamp=ns_to_stamp(stamp or self.stamp), frame_id="ego_vehicle")
        message = stop_message(points, Command.LANEFOLLOW, "", header)
        message.is_stop = False
        self.plans.publish(message)

    def send_info(self, *angles: float) -> None:
        """The vehicle's wheels."""
        wheels = [CarlaEgoVehicleInfoWheel(max_steer_angle=angle) for angle in angles]
        self._info.publish(CarlaEgoVehicleInfo(wheels=wheels))

    def check(self, name: str = "control") -> DiagnosticStatus | None:
        """Newest state of a check."""
        found = [status for status in self.checks if status.name == f"rsd/control: {name}"]
        return found[-1] if found else None

    def says(self, sentence: str) -> bool:
        """Whether the newest state of the control holds this."""
        check = self.check()
        return check is not None and sentence in check.message


class Drive:
    """A car and a control node over DDS."""

    def __init__(self, car: Car, control: ControlNode) -> None:
        self.car, self.control = car, control
        self._executor = SingleThreadedExecutor(context=car.context)
        self._executor.add_node(car)

    def until(
        self, condition: Callable[[], Any], seconds: float = 30.0, between: Callable[[], Any] | None = None
    ) -> bool:
        """Spin until the condition holds; `between` is called every 50 ms."""
        deadline, due = time.monotonic() + seconds, time.monotonic()
        while not condition() and time.monotonic() < deadline:
            if between is not None and time.monotonic() >= due:
                due = time.monotonic() + 0.05
                between()
            self._executor.spin_once(timeout_sec=0.02)
        return bool(condition())

    def connect(self) -> None:
        """Until both ends see each other."""
        ready = [self.car.plans, self.car._odometry, self.control._command]
        assert self.until(lambda: all(publisher.get_subscription_count() for publisher in ready))

    def answer(self, stamp: int, seconds: float = 30.0) -> Any:
        """The command for this tick."""

        def commands() -> list[Any]:
            return [c for c in self.car.commands if stamp_to_ns(c.header.stamp) == stamp]

        assert self.until(commands, seconds), self.car.check()
        assert len(commands()) == 1
        return commands()[0]

    def close(self) -> None:
        """Take the car off the graph."""
        self._executor.shutdown()
        self.car.destroy_node()


@contextmanager
def driving(domain: int, output: str = "carla", **parameters: Any) -> Iterator[Drive]:
    overrides = {"use_sim_time": True, "output": output, "trajectory_wait": 10.0, **parameters}
    overrides = [Parameter(name, value=value) for name, value in overrides.items()]
    with two_contexts(domain) as contexts:
        control = ControlNode(context=contexts[0], parameter_overrides=overrides)
        drive = Drive(Car(contexts[1], output), control)
        try:
            with spinning(control):
                drive.connect()
                yield drive
        finally:
            control.destroy_node()
            drive.close()


def test_every_tick_gets_exactly_the_command_that_the_follower_gives_for_its_plan(ros_domain: int):
    with driving(ros_domain) as d:
        follower = TrajectoryFollower()
        for _ in range(5):
            stamp = d.car.tick()
            d.car.send_plan(LEFT_BEND)
            command = d.answer(stamp)
            expected = follower.control(LEFT_BEND, d.car.speed)
            assert (command.throttle, command.steer, command.brake) == pytest.approx(
                (expected.throttle, expected.steer, expected.brake), abs=1e-6
            )
        assert command.steer < 0.0  # left is negative in CARLA
        assert command.throttle > 0.0
        assert not command.hand_brake
        assert not command.reverse
        assert len(d.car.commands) == 5


def test_ackermann_steers_left_positive_at_the_planned_speed(ros_domain: int):
    with driving(ros_domain, "ackermann") as d:
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        drive = d.answer(stamp).drive
        expected = TrajectoryFollower().control(LEFT_BEND, d.car.speed)
        assert drive.steering_angle == pytest.approx(-expected.steer * 1.22, abs=1e-5)
        assert drive.steering_angle > 0.0
        assert drive.speed == pytest.approx(target_speed(LEFT_BEND, 1.0))


def test_twist_turns_left_positive_and_stops_for_a_stop(ros_domain: int):
    with driving(ros_domain, "twist") as d:
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        twist = d.answer(stamp).twist
        assert twist.linear.x == pytest.approx(target_speed(LEFT_BEND, 1.0))
        assert twist.angular.z > 0.0
        stamp = d.car.tick()
        d.car.send_plan(np.zeros((6, 2)))
        assert d.answer(stamp).twist.linear.x == 0.0


def test_a_tick_waits_for_its_plan_and_is_answered_with_the_older_one_when_it_does_not_come(ros_domain: int):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        for _ in range(2):
            stamp = d.car.tick()
            d.car.send_plan(LEFT_BEND)
            d.answer(stamp)
        late = d.car.tick()
        assert not d.until(lambda: len(d.car.commands) > 2, seconds=0.5)
        assert d.answer(late).brake == 0.0
        # Now that waiting has not paid, the next ticks are answered at once, until plans come again.
        for _ in range(2):
            d.answer(d.car.tick())
        assert d.control.timeouts == 1


def test_ticks_between_slower_plans_are_answered_without_waiting(ros_domain: int):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        for k in range(8):
            stamp = d.car.tick()
            if k % 2 == 0:
                d.car.send_plan(LEFT_BEND)
            d.answer(stamp)
        assert d.control.timeouts <= 1  # the pace has to be seen once


def test_a_stale_plan_is_full_braking_and_an_error(ros_domain: int):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        d.answer(stamp)
        commands = [d.answer(d.car.tick()) for _ in range(7)]
        ages = 0.1 * np.arange(1, 8)
        assert [c.brake == 1.0 for c in commands] == [age > 0.55 for age in ages]
        assert commands[-1].throttle == 0.0
        assert d.until(lambda: d.car.says("stale; is the planner running?"))
        assert d.car.check().level == DiagnosticStatus.ERROR


def test_nan_odometry_and_missing_odometry_are_full_braking(ros_domain: int):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        assert d.answer(stamp).brake == 0.0
        stamp = d.car.tick(speed=math.nan)
        d.car.send_plan(LEFT_BEND)
        assert d.answer(stamp).brake == 1.0
        assert d.until(lambda: d.car.says("velocity [nan"))
        d.car.commands.clear()
        assert d.until(lambda: d.car.commands, between=d.car.clock_only)
        assert d.car.commands[-1].brake == 1.0
        assert d.until(lambda: d.car.says("no odometry on"))


@pytest.mark.parametrize("points", [np.full((6, 2), math.nan), np.full((6, 2), 1e4), np.zeros((5, 2))])
def test_a_trajectory_that_is_no_plan_is_not_followed(ros_domain: int, points: np.ndarray):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        stamp = d.car.tick()
        d.car.send_plan(points)
        assert d.answer(stamp).brake == 1.0
        assert d.until(lambda: d.car.check("trajectory"))
        assert d.car.check("trajectory").level == DiagnosticStatus.ERROR


def test_time_jumping_back_drops_the_plan_of_before(ros_domain: int):
    with driving(ros_domain, trajectory_wait=2.0) as d:
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        assert d.answer(stamp).brake == 0.0
        d.car.stamp -= 5 * 10**9
        stamp = d.car.tick()
        assert d.answer(stamp).brake == 1.0
        d.car.send_plan(LEFT_BEND)
        assert d.until(lambda: d.control.plan and d.control.plan.stamp == stamp)
        stamp = d.car.tick()
        d.car.send_plan(LEFT_BEND)
        assert d.answer(stamp).brake == 0.0


def test_the_vehicles_own_wheel_angle_is_used_and_a_nonsense_one_refused(ros_domain: int):
    with driving(ros_domain) as d:
        d.car.send_info(0.61, 0.61, 0.0, 0.0)
        assert d.until(lambda: d.car.check("vehicle_info"))
        assert d.control.follower.parameters.max_wheel_angle == pytest.approx(0.61)
        d.car.send_info(70.0, 70.0, 0.0, 0.0)
        assert d.until(lambda: d.car.check("vehicle_info").level == DiagnosticStatus.WARN)
        assert d.control.follower.parameters.max_wheel_angle == pytest.approx(0.61)


def test_the_leaderboard_finds_its_latched_agent_status(ros_domain: int):
    with driving(ros_domain, agent_status_topic="/carla/hero/status") as d:
        assert d.until(lambda: d.car.agent_status)
        assert d.car.agent_status[0].data


def test_a_wrong_parameter_ends_the_start_with_a_sentence(start_process):
    process = start_process("-m", "rsd_ros.control_node", "--ros-args", "-p", "output:=steam")
    assert process.popen.wait(120) == EXIT_NOT_STARTED
    assert "parameter output is 'steam', expected one of: carla, ackermann, twist" in process.output()
    assert "Traceback" not in process.output()


def test_a_command_survives_its_message_and_a_wrong_one_is_refused():
    control = VehicleControl(0.5, -0.25, 0.0, hand_brake=True)
    assert control_of(carla_message(control, ns_to_stamp(7))) == control
    for bad in ({"steer": 1.5}, {"throttle": math.nan}, {"brake": -0.1}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            control_of(CarlaEgoVehicleControl(**bad))
    with pytest.raises(InvalidInput, match="max_steer_angle"):
        max_wheel_angle_of(CarlaEgoVehicleInfo())
