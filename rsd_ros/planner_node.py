"""`/rsd/planner`: six cameras, odometry and a route in; trajectory, risk, objects and health out.

A lifecycle node. Callbacks only store what they get; one thread of its own waits for image sets and runs the network,
so inference never blocks them. While there is nothing to plan on, a watchdog sends stops on the last good path.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry, Path
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Int8

from rsd_ros import qos
from rsd_ros.calibration import Calibration
from rsd_ros.camera_sync import ApproximateSynchronizer, DeadlineSynchronizer
from rsd_ros.compat import tf2_ros
from rsd_ros.compat.messages import CarlaRoute
from rsd_ros.conversions import InvalidInput, transform_matrix
from rsd_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from rsd_ros.ego_history import EgoHistory
from rsd_ros.parameters import declare, read
from rsd_ros.peer_check import PeerCheck
from rsd_ros.plan_publishers import PlanPublishers
from rsd_ros.planner_parameters import PLANNER_PARAMETERS
from rsd_ros.planning_cycle import PlanningCycle, Runtime, StopRules
from rsd_ros.program import run_node
from rsd_ros.sensor_inputs import InputLimits, SensorInputs
from rsd_ros.without_events import WithoutEvents

WATCHDOG_PERIOD = 0.05  # s, wall time


# Builds the runtime from the node's parameters; tests put their own in its place.
RuntimeFactory = Callable[[SimpleNamespace], Runtime]


def _load_network(settings: SimpleNamespace) -> Runtime:
    from rsd_ros.planner_runtime import load_runtime  # torch takes seconds to import: not before the node is up

    return load_runtime(settings)


class PlannerNode(WithoutEvents, LifecycleNode):
    """Lifecycle: configure loads the network, activate subscribes and plans, deactivate stops both."""

    def __init__(self, factory: RuntimeFactory = _load_network, **node_options: Any) -> None:
        super().__init__("planner", namespace="/rsd", **node_options)
        declare(self, PLANNER_PARAMETERS)
        self.diagnostics = Diagnostics(self)
        self._factory = factory
        self._runtime: Runtime | None = None
        self._outputs: PlanPublishers | None = None
        self.planning: PlanningCycle | None = None
        self._subscriptions_made: list[Any] = []
        self._timers_made: list[Any] = []
        self._jump_handle: Any = None
        self._peers: PeerCheck | None = None
        self._tf_buffer = tf2_ros.Buffer()
        self._tf_listener = tf2_ros.TransformListener(self._tf_buffer, self)

    # --- lifecycle --------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and load the network; stays unconfigured, and says why, where that fails."""
        try:
            self.settings = read(self, PLANNER_PARAMETERS)
            self._check_topics()
            self._runtime = self._factory(self.settings)
            self._outputs = PlanPublishers(self, self.settings.min_score)
        except Exception as problem:  # rclpy would swallow it without a word
            return self._refuse(f"cannot be configured: {problem}")
        self.diagnostics.set(
            "start", OK, "network loaded", weights=self.settings.weights or f"shipped {self.settings.config}"
        )
        return TransitionCallbackReturn.SUCCESS

    def _refuse(self, sentence: str) -> TransitionCallbackReturn:
        self.get_logger().fatal(sentence)
        self.diagnostics.set("start", ERROR, sentence)
        return TransitionCallbackReturn.FAILURE

    def _check_topics(self) -> None:
        cameras = len(self.settings.cameras)
        for name in ("image_topics", "camera_info_topics"):
            topics = getattr(self.settings, name)
            if len(topics) != cameras:
                raise ValueError(
                    f"parameter {name} has {len(topics)} topics, parameter cameras {cameras} names; give one per camera"
                )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to plan; stays inactive, and says why, where that fails."""
        super().on_activate(state)
        try:
            self._begin()
        except Exception as problem:  # such as a topic name that is none
            self.halt()
            return self._refuse(f"cannot be activated: {problem}")
        return TransitionCallbackReturn.SUCCESS

    def _begin(self) -> None:
        self.inputs = self._make_inputs()
        settings = self.settings
        rules = StopRules(
            settings.base_frame,
            settings.camera_timeout,
            settings.plan_timeout,
            settings.stop_deceleration,
            settings.stop_at_route_end,
            settings.emergency_brake,
            settings.stop_signs,
        )
        self.planning = PlanningCycle(self._runtime, self.inputs, self._outputs, self.diagnostics, rules, self._now)
        self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers_made = [
            self.create_timer(WATCHDOG_PERIOD, self.planning.watch, clock=steady),
            self.create_timer(1.0, self.diagnostics.publish, clock=steady),
        ]
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-0.05), on_clock_change=True)
        self._jump_handle = self.get_clock().create_jump_callback(backwards, post_callback=self._on_time_jump)
        topics = [subscription.topic_name for subscription in self._subscriptions_made]
        self._peers = PeerCheck(self, self.diagnostics, topics, self._image_load)
        self.planning.start()

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop planning and unsubscribe; the network stays loaded."""
        self.halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the network."""
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._runtime = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        self.halt()
        return TransitionCallbackReturn.SUCCESS

    def halt(self) -> None:
        """Stop planning and unsubscribe, in whatever state."""
        for timer in self._timers_made:
            self.destroy_timer(timer)
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._timers_made, self._subscriptions_made = [], []
        if self._jump_handle is not None:
            self._jump_handle.unregister()
        if self._peers is not None:
            self._peers.destroy()
        if self.planning is not None:
            self.planning.close()
        self._jump_handle = self._peers = self.planning = None

    def destroy_node(self) -> None:
        """Stop whatever runs, then take the node off the graph."""
        self.halt()
        super().destroy_node()

    # --- wiring -----------------------------------------------------------------------------

    def _make_inputs(self) -> SensorInputs:
        settings, cameras = self.settings, len(self.settings.cameras)
        if settings.sync_policy == "approximate":
            synchronizer = ApproximateSynchronizer(cameras, settings.sync_tolerance)
        else:
            synchronizer = DeadlineSynchronizer(cameras, settings.sync_deadline, settings.sync_tolerance)
        limits = InputLimits(
            settings.min_valid_cameras,
            settings.max_image_age,
            settings.sync_deadline,
            settings.require_route,
            settings.map_frame,
        )
        calibration = Calibration(settings.cameras, self._camera_mount, settings.rig_source)
        return SensorInputs(
            settings.cameras, synchronizer, calibration, EgoHistory(settings.odometry_timeout), limits, self._now
        )

    def _subscribe(self) -> None:
        settings, inputs = self.settings, self.inputs
        compressed = settings.image_transport == "compressed"
        image_type, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        profile = qos.image_profile(settings.image_reliability)
        for i, (image, info) in enumerate(zip(settings.image_topics, settings.camera_info_topics, strict=True)):
            self._listen(CameraInfo, info, functools.partial(inputs.on_camera_info, i), qos.CAMERA_INFO)
            self._listen(image_type, image + suffix, functools.partial(inputs.on_image, i), profile)
        self._listen(Odometry, settings.odometry_topic, inputs.on_odometry, qos.ODOMETRY)
        self._listen(Path, settings.route_topic, inputs.on_route, qos.LATCHED)
        if settings.global_plan_topic and CarlaRoute is not None:
            self._listen(CarlaRoute, settings.global_plan_topic, inputs.on_global_plan, qos.LATCHED)
        if settings.command_topic:
            self._listen(Int8, settings.command_topic, lambda message: inputs.on_command(message.data), qos.COMMAND)

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        self._subscriptions_made.append(self.create_subscription(kind, topic, callback, profile))

    def _image_load(self) -> tuple[int, int] | None:
        """Number of images in a set and bytes of the largest as bgra8; None while the sizes are unknown."""
        try:
            sizes = self.inputs.calibration.rig().sizes
        except InvalidInput:
            return None
        return len(sizes), 4 * int(sizes.prod(axis=1).max())

    def _camera_mount(self, frame: str) -> np.ndarray:
        base = self.settings.base_frame
        try:
            found = self._tf_buffer.lookup_transform(base, frame, Time())
        except tf2_ros.TransformException as problem:
            raise InvalidInput(f"waiting for TF from '{frame}' to '{base}' ({problem})") from problem
        return transform_matrix(found.transform, f"TF from '{frame}' to '{base}'")

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_time_jump(self, jump: Any) -> None:
        self.get_logger().warning("time jumped: started afresh")
        self.diagnostics.set("time", WARN, "time jumped: started afresh", at=f"{self._now() / 1e9:.2f} s")
        if self.planning is not None:
            self.planning.on_time_jump()


def autostart(node: PlannerNode) -> bool:
    """Configure and activate, unless a lifecycle manager is to do it; false where that fails."""
    if not node.get_parameter("autostart").value:
        return True
    for step in (node.trigger_configure, node.trigger_activate):
        if step() != TransitionCallbackReturn.SUCCESS:
            node.diagnostics.flush()
            return False
    return True


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; `EXIT_NOT_STARTED` where it was to start by itself and could not."""
    return run_node(PlannerNode, args, start=autostart)


if __name__ == "__main__":
    sys.exit(main())
