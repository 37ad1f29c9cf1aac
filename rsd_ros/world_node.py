"""`/rsd/world`: the embedded world behind the topics of CARLA's ROS bridge, in lock-step.

A tick: publish clock, odometry, images and the rest; wait for the command of that stamp (a second at most, then go on
with the last one, as the bridge does); step. All in one thread: what comes is handled while the tick waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from rsd_model.contracts import VehicleControl
from rsd_model.resources import config_path
from rsd_ros import qos
from rsd_ros.carla_rig import load_rig
from rsd_ros.command_messages import control_of
from rsd_ros.compat.messages import CarlaEgoVehicleControl
from rsd_ros.conversions import NANOSECONDS, InvalidInput, ns_to_stamp, stamp_to_ns
from rsd_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from rsd_ros.parameters import declare, read
from rsd_ros.peer_check import PeerCheck
from rsd_ros.program import CANNOT_START, ignore_signals, ros_program
from rsd_ros.without_events import WithoutEvents
from rsd_ros.world_parameters import WORLD_PARAMETERS
from rsd_ros.world_publishers import WorldPublishers
from rsd_world.render.renderer import Renderer
from rsd_world.world import Episode, World

START = NANOSECONDS  # ROS time of the first tick: zero would mean that no clock has come yet
STAMP_TOLERANCE = 1_000_000  # ns between a command and its tick, the leaderboard's
REPORT_EVERY = 10  # ticks
WAIT_SLICE = 0.1  # s between two interruption points
HANDLED_AT_LEAST = 4  # callbacks a tick that waits for nothing: a command, a timer or two, a parameter
AUDIENCE_TIMEOUT = 5.0  # s from the driver's coming; a listener whose quality of service does not fit never connects
EXIT_NO_WORLD = 4


class WorldNode(WithoutEvents, Node):
    """A world, its renderer and the topics between them and the driver."""

    def __init__(self, **node_options: Any) -> None:
        """Raises InvalidInput, ValueError or GraphicsUnavailableError where the world cannot be built."""
        super().__init__("world", namespace="/rsd", **node_options)
        declare(self, WORLD_PARAMETERS)
        self.settings = settings = read(self, WORLD_PARAMETERS)
        self.diagnostics = Diagnostics(self)
        episode = Episode(
            settings.town, settings.route, settings.scenario or None, settings.weather, settings.seed,
            settings.vehicles, settings.pedestrians, settings.fixed_delta_seconds,
        )  # fmt: skip
        size = (settings.image_width, settings.image_height)
        file = Path(settings.rig_file) if settings.rig_file else config_path("carla/bench2drive_rig.json")
        rig = load_rig(file, size if all(size) else None)
        # The topics come before the world, which takes seconds: whoever listens has found them by the first tick.
        self.topics = WorldPublishers(self, rig, settings.role_name, settings.fixed_delta_seconds)
        self._control_topic = f"/carla/{settings.role_name}/vehicle_control_cmd"
        self.create_subscription(CarlaEgoVehicleControl, self._control_topic, self._on_control, qos.CONTROL)
        self.world = World(episode)
        self.renderer = Renderer(self.world.town, rig)
        self._control, self._control_stamp = VehicleControl(brake=1.0), -1
        self.timeouts = 0
        self.milliseconds: dict[str, float] = {}  # of the last tick, by stage
        self._interruption_point: Callable[[], None] = lambda: None
        self.create_timer(1.0, self.diagnostics.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._peers = PeerCheck(self, self.diagnostics, [self._control_topic])
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)

    def _on_control(self, message: CarlaEgoVehicleControl) -> None:
        try:
            control = control_of(message)
        except InvalidInput as problem:
            if self.diagnostics.set("control", ERROR, f"{problem}: command refused"):
                self.get_logger().error(f"{problem}: command refused")
            return
        stamp = stamp_to_ns(message.header.stamp)
        # A command without a stamp (sent by hand) answers any tick, as it would the bridge's.
        self._control, self._control_stamp = control, stamp or self._now

    @property
    def _now(self) -> int:
        """ROS time of the present tick in ns."""
        return START + round(self.world.time * NANOSECONDS)

    @property
    def _over(self) -> bool:
        limit = self.settings.max_seconds
        return self.world.done or (limit > 0.0 and self.world.time >= limit)

    def drive(self, interruption_point: Callable[[], None]) -> None:
        """Run the episode to its end, or until `interruption_point` raises; the last report is sent however it ends."""
        self._interruption_point = interruption_point
        self.topics.start(self.world, ns_to_stamp(self._now))
        self._wait_for_driver()
        begin = time.monotonic()
        try:
            while not self._over:
                self._interruption_point()
                self._tick()
                if self.settings.realtime_factor > 0.0:
                    due = begin + self.world.time / self.settings.realtime_factor
                    self._handle(due)
        finally:
            self._finish(time.monotonic() - begin)

    def _tick(self) -> None:
        started = time.perf_counter()
        rgb = self.renderer.render(self.world.snapshot).rgb
        rendered = time.perf_counter()
        self._publish(rgb)
        published = time.perf_counter()
        control = self._await_control()
        answered = time.perf_counter()
        before = len(self.world.infractions)
        self.world.step(control)
        stepped = time.perf_counter()
        if self.world.frame % REPORT_EVERY == 0 or len(self.world.infractions) > before:
            self.topics.report(self.world)
        marks = {"render": rendered, "publish": published, "wait": answered, "step": stepped}
        times = [started, *marks.values()]
        self.milliseconds = {name: 1e3 * (b - a) for name, a, b in zip(marks, times, times[1:], strict=False)}

    def _publish(self, rgb: Any) -> None:
        stamp, ego = ns_to_stamp(self._now), self.world.ego_state()
        self.topics.clock(stamp)
        begins = self.world.frame == 0  # the first images are planned on with the calibration of their own tick
        if begins:
            self.topics.calibration(ego.pose, stamp)
        self.topics.awaited(rgb, ego, stamp)
        if not begins:
            self.topics.calibration(ego.pose, stamp)
        self.topics.rest(self.world, ego, self._control, stamp)

    def _await_control(self) -> VehicleControl:
        """The command of this tick, or the last one where none comes in time."""
        until = time.monotonic() + self.settings.control_timeout
        came = self._handle(until, lambda: self._control_stamp >= self._now - STAMP_TOLERANCE)
        values = {name: f"{value:.1f}" for name, value in self.milliseconds.items()}
        if came:
            self.diagnostics.set("control", OK, "commands come in time", timeouts=self.timeouts, **values)
            return self._control
        self.timeouts += 1
        sentence = (
            f"no command on {self._control_topic} within {self.settings.control_timeout:g} s: going on with the last"
        )
        if self.diagnostics.set("control", WARN, sentence, timeouts=self.timeouts, **values):
            self.get_logger().warning(sentence)
        return self._control

    def _handle(self, until: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Handle callbacks, a few at least, until `enough` or the monotonic time `until`; returns whether `enough`."""
        handled = 0
        while not enough():
            self._interruption_point()
            left = until - time.monotonic()
            if left <= 0.0 and handled >= HANDLED_AT_LEAST:
                return False
            self._spinner.spin_once(timeout_sec=min(max(left, 0.0), WAIT_SLICE))
            handled += 1
        return True

    def _wait_for_driver(self) -> None:
        """Wait until the driver listens to all cameras and somebody sends commands."""
        driver = self.settings.driver_node
        if not driver:
            return
        if self._handle(time.monotonic() + self.settings.driver_timeout, lambda: self._listens(driver)):
            self._handle(time.monotonic() + AUDIENCE_TIMEOUT, self.topics.reach_all)
        else:
            self.get_logger().warning(
                f"{driver} did not come within {self.settings.driver_timeout:g} s: driving without it"
            )

    def _listens(self, driver: str) -> bool:
        for publisher in (*self.topics.images.values(), self.topics.odometry):
            peers = self.get_subscriptions_info_by_topic(publisher.topic_name)
            if driver not in {f"{peer.node_namespace.rstrip('/')}/{peer.node_name}" for peer in peers}:
                return False
        return self.count_publishers(self._control_topic) > 0

    def _finish(self, seconds: float) -> None:
        self.topics.report(self.world, closing=True)
        factor = self.world.time / max(seconds, 1e-6)
        self.get_logger().info(
            f"{self.world.outcome} after {self.world.time:.1f} s, {100.0 * self.world.progress:.1f} % of the route, "
            f"{len(self.world.infractions)} infractions, real-time factor {factor:.2f}"
        )
        self.topics.events.wait_for_all_acked(Duration(seconds=2.0))


def main(args: list[str] | None = None) -> int:
    """Drive one episode; `EXIT_NO_WORLD` where it cannot be built."""
    with ros_program(args) as interruption_point:
        try:
            node = WorldNode()
        except (*CANNOT_START, RuntimeError) as problem:
            print(f"rsd/world: {problem}", file=sys.stderr)
            return EXIT_NO_WORLD
        try:
            node.drive(interruption_point)
        finally:
            ignore_signals()
            node.renderer.close()
            node.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
