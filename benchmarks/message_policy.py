"""The student as the nodes run it, in one process: all that it takes and gives passes through their messages.

Planner and control convert, check and plan with the nodes' own code; each tick's messages are handed over by a call.
What DDS, executors and separate processes add is left out, and nothing else: a drive over DDS has to be the same.
"""

from __future__ import annotations

import queue
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message

from rsd_model.contracts import VehicleControl
from rsd_model.control import FollowerParameters, TrajectoryFollower
from rsd_model.inference import PlannerRuntime
from rsd_model.resources import config_path
from rsd_ros.calibration import Calibration
from rsd_ros.camera_sync import DeadlineSynchronizer
from rsd_ros.carla_rig import load_rig
from rsd_ros.command_messages import carla_message, control_of, max_wheel_angle_of
from rsd_ros.compat import tf2_ros
from rsd_ros.conversions import NANOSECONDS, image_message, ns_to_stamp, odometry_message, transform_matrix
from rsd_ros.ego_history import EgoHistory
from rsd_ros.plan_messages import trajectory_points
from rsd_ros.planner_parameters import PLANNER_PARAMETERS
from rsd_ros.planner_runtime import load_runtime
from rsd_ros.planning_cycle import PlanningCycle, StopRules
from rsd_ros.sensor_inputs import InputLimits, SensorInputs
from rsd_ros.world_messages import (
    MAP_FRAME,
    camera_info_message,
    global_plan_message,
    transform_message,
    vehicle_info_message,
    waypoints_message,
)
from rsd_ros.world_node import START
from rsd_world.render.renderer import Renderer
from rsd_world.world import Episode, World

PATIENCE = 60.0  # s of wall time for a plan
ROLE = "ego_vehicle"


def received(message: Any) -> Any:
    """The message as it comes over the wire: a float32 there is one here."""
    return deserialize_message(serialize_message(message), type(message))


def drive_through_messages(
    episode: Episode, size: tuple[int, int] = (400, 225), max_seconds: float = 0.0, **parameters: object
) -> tuple[World, list[np.ndarray]]:
    """The world at the end of the drive, and each tick's trajectory (6, 2) m.

    `size` px of the images; `max_seconds` of driving, 0: to its end; `parameters` of the planner node. torch's number
    of threads decides about last bits: leave it at its default, as that node does.
    """
    world = World(episode)
    settings = SimpleNamespace(**{parameter.name: parameter.default for parameter in PLANNER_PARAMETERS} | parameters)
    renderer = Renderer(world.town, load_rig(config_path("carla/bench2drive_rig.json"), size))
    policy = MessagePolicy(world, settings, load_runtime(settings), renderer)
    try:
        while not world.done and not 0.0 < max_seconds <= world.time:
            world.step(policy.act(world))
    finally:
        policy.close()
        renderer.close()
    return world, policy.trajectories


class MessagePolicy:
    """Drives one world; `act` gives the command that `/rsd/control` would send."""

    def __init__(self, world: World, settings: SimpleNamespace, runtime: PlannerRuntime, renderer: Renderer) -> None:
        """`settings`: the planner node's parameters."""
        self._renderer = renderer
        self._plans: queue.Queue[Any] = queue.Queue()
        self.trajectories: list[np.ndarray] = []  # (6, 2) m each, of all ticks
        self._inputs, self._odometry = self._planner_inputs(world, settings), EgoHistory(timeout=1.0)
        info = received(vehicle_info_message(world.dynamics.parameters, ROLE))
        self._follower = TrajectoryFollower(replace(FollowerParameters(), max_wheel_angle=max_wheel_angle_of(info)))
        rules = StopRules(
            ROLE, settings.camera_timeout, settings.plan_timeout, settings.stop_deceleration,
            settings.stop_at_route_end, settings.emergency_brake, settings.stop_signs,
        )  # fmt: skip
        self._cycle = PlanningCycle(runtime, self._inputs, self, self, rules, now=lambda: 0)
        self._cycle.start()

    def close(self) -> None:
        """End the planning thread."""
        self._cycle.close()

    def act(self, world: World) -> VehicleControl:
        """The command for the next tick."""
        stamp, ego = ns_to_stamp(START + round(world.time * NANOSECONDS)), world.ego_state()
        odometry = received(odometry_message(ego, stamp, MAP_FRAME, ROLE))
        self._odometry.add(odometry)
        self._inputs.on_odometry(odometry)
        for camera, image in enumerate(self._renderer.render(world.snapshot).rgb):
            self._inputs.on_image(camera, image_message(image, stamp, self._frame(camera)))
        points = trajectory_points(received(self._plans.get(timeout=PATIENCE)))
        self.trajectories.append(points)
        seen = self._odometry.newest
        assert seen is not None
        return control_of(received(carla_message(self._follower.control(points, seen[1].speed), stamp)))

    # --- what a planning cycle publishes to --------------------------------------------------------

    def plan(self, message: Any, trajectory: np.ndarray) -> None:
        """A trajectory goes to control."""
        self._plans.put(message)

    def scene(self, *parts: Any) -> None:
        """Nobody subscribes."""

    def status(self, message: Any) -> None:
        """Nobody subscribes."""

    def set(self, name: str, level: bytes, message: str, **values: object) -> bool:
        """Diagnostics: nobody subscribes."""
        return False

    # --- wiring ------------------------------------------------------------------------------------

    def _planner_inputs(self, world: World, settings: SimpleNamespace) -> SensorInputs:
        rig, buffer = self._renderer.rig, tf2_ros.Buffer()
        for camera, mount in enumerate(rig.cam_to_base):
            buffer.set_transform(transform_message(mount, ROLE, self._frame(camera), Time()), "world")

        def mount_of(frame: str) -> np.ndarray:
            return transform_matrix(buffer.lookup_transform(ROLE, frame, Time()).transform, frame)

        inputs = SensorInputs(
            settings.cameras,
            DeadlineSynchronizer(len(rig.names), PATIENCE, settings.sync_tolerance),
            Calibration(settings.cameras, mount_of),
            EgoHistory(settings.odometry_timeout),
            InputLimits(settings.min_valid_cameras, settings.max_image_age, PATIENCE, True, MAP_FRAME),
            now=lambda: 0,
        )
        for camera in range(len(rig.names)):
            inputs.on_camera_info(camera, camera_info_message(rig, camera, Time(), self._frame(camera)))
        inputs.on_global_plan(global_plan_message(world.tracker.points, world.tracker.commands))
        inputs.on_route(waypoints_message(world.tracker.points, Time()))
        return inputs

    def _frame(self, camera: int) -> str:
        return f"{ROLE}/{self._renderer.rig.names[camera]}"
