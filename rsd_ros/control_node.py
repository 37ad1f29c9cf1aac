"""`/rsd/control`: follows the planned trajectory with throttle, brake and steer, an Ackermann drive or a twist.

Every odometry message is one tick and gets one command with the tick's stamp, as CARLA's lock-step and leaderboard
demand. Without a fresh plan, or without odometry, the command is full braking, the wheels as they are.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from rsd_model.contracts import EgoState, VehicleControl
from rsd_model.control import FollowerParameters, TrajectoryFollower, target_speed
from rsd_model.stop_plan import advance_trajectory
from rsd_ros import qos
from rsd_ros.command_messages import (
    ackermann_message,
    carla_message,
    check_control,
    max_wheel_angle_of,
    twist_message,
)
from rsd_ros.compat.messages import (
    AckermannDriveStamped,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    PlannedTrajectory,
)
from rsd_ros.control_parameters import CONTROL_PARAMETERS, DEFAULT_TOPICS, FOLLOWER_FIELDS
from rsd_ros.conversions import NANOSECONDS, InvalidInput, ns_to_stamp, stamp_to_ns
from rsd_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from rsd_ros.ego_history import EgoHistory
from rsd_ros.parameters import declare, read
from rsd_ros.peer_check import PeerCheck
from rsd_ros.plan_messages import trajectory_points
from rsd_ros.program import run_node
from rsd_ros.without_events import WithoutEvents

TIMER_PERIOD = 0.02  # s, wall time
FIRST_PERIOD, LONGEST_PERIOD = 0.1, 0.5  # s that the follower's integrals take a tick for
STOP_PERIOD = 0.1  # s, between two commands without odometry
MESSAGES = {"carla": CarlaEgoVehicleControl, "ackermann": AckermannDriveStamped, "twist": TwistStamped}


@dataclass(frozen=True)
class Plan:
    """A received trajectory."""

    stamp: int  # ns
    points: np.ndarray  # (6, 2) m, base_link at `stamp`
    stop_reason: str  # empty where it is no stop trajectory


@dataclass(frozen=True)
class Tick:
    """An odometry message that wants its command."""

    stamp: int  # ns
    message_stamp: Time
    ego: EgoState | None  # None: the odometry was refused
    until: float  # s, monotonic: when to answer without the plan of this tick


class ControlNode(WithoutEvents, Node):
    """Plans and odometry in, one command per odometry message out."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("control", namespace="/rsd", **node_options)
        declare(self, CONTROL_PARAMETERS)
        self.settings = read(self, CONTROL_PARAMETERS)
        self.diagnostics = Diagnostics(self)
        self.follower = TrajectoryFollower(
            FollowerParameters(**{n: getattr(self.settings, n) for n in FOLLOWER_FIELDS})
        )
        self._history = EgoHistory(timeout=1.0)
        self.plan: Plan | None = None
        self._periods: deque[int] = deque(maxlen=5)  # ns between the last plans
        self._pending: Tick | None = None
        self._waiting_pays = True  # no plan came in time: do not wait again until one comes
        self._answered: int | None = None  # ns, stamp of the last tick answered
        self._heard, self._heard_at = 0, 0.0  # last odometry: ns of ROS time, s monotonic
        self._stopped_at = 0.0
        self.sent = self.skipped = self.timeouts = 0  # commands, ticks overtaken by the next, plans waited for in vain
        self._wire()

    def _wire(self) -> None:
        settings = self.settings
        topic = settings.command_topic or DEFAULT_TOPICS[settings.output]
        self._command = self.create_publisher(MESSAGES[settings.output], topic, qos.CONTROL)
        self.create_subscription(PlannedTrajectory, settings.trajectory_topic, self._on_trajectory, qos.TRAJECTORY)
        self.create_subscription(Odometry, settings.odometry_topic, self._on_odometry, qos.ODOMETRY)
        if settings.vehicle_info_topic:
            self.create_subscription(
                CarlaEgoVehicleInfo, settings.vehicle_info_topic, self._on_vehicle_info, qos.LATCHED_INFO
            )
        if settings.agent_status_topic:
            self._agent_status = self.create_publisher(Bool, settings.agent_status_topic, qos.LATCHED)
            self._agent_status.publish(Bool(data=True))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TIMER_PERIOD, self._on_timer, clock=steady)
        self.create_timer(1.0, self.diagnostics.publish, clock=steady)
        self._peers = PeerCheck(self, self.diagnostics, [topic, settings.trajectory_topic, settings.odometry_topic])

    # --- what comes in ------------------------------------------------------------

    def _on_vehicle_info(self, message: CarlaEgoVehicleInfo) -> None:
        try:
            angle = max_wheel_angle_of(message)
        except InvalidInput as problem:
            self.diagnostics.set(
                "vehicle_info", WARN, f"{problem}; keeping {self.follower.parameters.max_wheel_angle:.2f}"
            )
            return
        self.follower.parameters = replace(self.follower.parameters, max_wheel_angle=angle)
        self.diagnostics.set("vehicle_info", OK, f"full steer is {angle:.2f} rad")

    def _on_trajectory(self, message: PlannedTrajectory) -> None:
        try:
            reason = message.stop_reason if message.is_stop else ""
            plan = Plan(stamp_to_ns(message.header.stamp), trajectory_points(message), reason)
        except InvalidInput as problem:
            self.diagnostics.set("trajectory", ERROR, str(problem))
            return
        self.diagnostics.set("trajectory", OK, "trajectories are sound")
        if self.plan is not None:
            period = plan.stamp - self.plan.stamp
            if -NANOSECONDS < period < 0:
                return  # overtaken by a newer plan
            if period > 0:
                self._periods.append(period)
        self.plan, self._waiting_pays = plan, True
        if self._pending is not None and plan.stamp >= self._pending.stamp:
            self._answer(self._pending)

    def _on_odometry(self, message: Odometry) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        self._heard, self._heard_at = self.get_clock().now().nanoseconds, time.monotonic()
        if self._answered is not None and stamp < self._answered:
            self._start_afresh()
        if self._pending is not None:
            self.skipped += 1
            self._answer(self._pending)
        self._history.add(message)
        newest = self._history.newest
        ego = newest[1] if self._history.problem is None and newest else None
        tick = Tick(stamp, message.header.stamp, ego, time.monotonic() + self.settings.trajectory_wait)
        if self._should_wait(stamp):
            self._pending = tick
        else:
            self._answer(tick)

    def _start_afresh(self) -> None:
        """Time jumped back: plans and poses belong to another drive."""
        self._history.reset()
        self._periods.clear()
        self.follower.reset()
        self.plan = self._pending = self._answered = None
        self._waiting_pays = True

    def _should_wait(self, stamp: int) -> bool:
        """Whether a plan for this tick is on its way: in lock-step, unless plans come at a slower pace than ticks."""
        if not self.settings.lockstep or not self._waiting_pays:
            return False
        if self.plan is None:
            return self.count_publishers(self.settings.trajectory_topic) > 0
        due = self.plan.stamp + min(self._periods, default=0)
        return self.plan.stamp < stamp and stamp >= due - NANOSECONDS // 1000

    def _on_timer(self) -> None:
        if self._pending is not None and time.monotonic() >= self._pending.until:
            self._waiting_pays = False
            self.timeouts += 1
            self._answer(self._pending)
        self._watch_odometry(self.get_clock().now().nanoseconds)

    def _watch_odometry(self, now: int) -> None:
        """Full braking where simulation or wall time goes on without odometry."""
        if not self._heard or now < self._heard:
            self._heard = now  # time has just begun, or again
        silent = (now - self._heard) / NANOSECONDS > self.settings.odometry_timeout
        # The clock of a tick may come before its odometry: in wall time, too, some silence must have passed.
        quiet = time.monotonic() - max(self._heard_at, self._stopped_at) >= STOP_PERIOD
        if silent and quiet and self._pending is None:
            self._stopped_at = time.monotonic()
            self._send(self.follower.full_brake(), 0.0, ns_to_stamp(now))
            self.diagnostics.set("control", ERROR, f"no odometry on {self.settings.odometry_topic}: full braking")

    # --- what goes out ------------------------------------------------------------

    def _answer(self, tick: Tick) -> None:
        period = FIRST_PERIOD if self._answered is None else (tick.stamp - self._answered) / NANOSECONDS
        self._pending, self._answered = None, tick.stamp
        try:
            control, speed = self._follow(tick, min(period, LONGEST_PERIOD))
            level, sentence = OK, "follows the plan"
            if self.plan is not None and self.plan.stop_reason:
                level, sentence = WARN, f"follows a stop trajectory: {self.plan.stop_reason}"
        except InvalidInput as problem:
            control, speed = self.follower.full_brake(), 0.0
            level, sentence = ERROR, f"{problem}: full braking"
        self._send(control, speed, tick.message_stamp)
        age = f"{(tick.stamp - self.plan.stamp) / NANOSECONDS:.3f}" if self.plan else "none"
        counts = {"sent": self.sent, "ticks_skipped": self.skipped, "plans_missed": self.timeouts}
        self.diagnostics.set("control", level, sentence, plan_age=age, **counts)

    def _follow(self, tick: Tick, period: float) -> tuple[VehicleControl, float]:
        """Control and target speed in m/s for this tick, `period` s after the one before."""
        if tick.ego is None:
            raise InvalidInput(self._history.problem or "odometry was refused")
        if self.plan is None or self.plan.stamp - tick.stamp > NANOSECONDS:
            raise InvalidInput(f"no trajectory on {self.settings.trajectory_topic}")
        age = max((tick.stamp - self.plan.stamp) / NANOSECONDS, 0.0)
        if age > self.settings.stale_after:
            raise InvalidInput("the trajectory is stale; is the planner running?")
        points = self.plan.points
        if age > 0.0:
            points = self._carried(points, age, tick.ego)
        control = check_control(self.follower.control(points, tick.ego.speed, period=period))
        wanted = 0.0 if control.brake > 0.5 else target_speed(points, self.follower.parameters.speed_horizon)
        return control, wanted

    def _carried(self, points: np.ndarray, age: float, ego: EgoState) -> np.ndarray:
        then = self._history.at(self.plan.stamp)
        return advance_trajectory(points, age, then.pose, ego.pose)

    def _send(self, control: VehicleControl, speed: float, stamp: Time) -> None:
        parameters = self.follower.parameters
        angle, frame = parameters.max_wheel_angle, "base_link"
        if self.settings.output == "carla":
            message = carla_message(control, stamp)
        elif self.settings.output == "ackermann":
            message = ackermann_message(control, speed, angle, stamp, frame)
        else:
            message = twist_message(control, speed, angle, parameters.wheelbase, stamp, frame)
        self._command.publish(message)
        self.sent += 1


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run_node(ControlNode, args)


if __name__ == "__main__":
    sys.exit(main())
