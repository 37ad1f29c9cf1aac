"""The embedded world's topics: names, types and QoS of CARLA's ROS bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32, String

from rsd_model.contracts import CameraRig, EgoState, VehicleControl
from rsd_ros import qos
from rsd_ros.compat.messages import (
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleStatus,
    CarlaRoute,
    CarlaStatus,
    CarlaWorldInfo,
    TFMessage,
)
from rsd_ros.conversions import image_message, odometry_message
from rsd_ros.world_messages import (
    MAP_FRAME,
    camera_info_message,
    events_json,
    global_plan_message,
    transform_message,
    vehicle_info_message,
    vehicle_status_message,
    waypoints_message,
)
from rsd_world.world import World


class WorldPublishers:
    """What CARLA's bridge publishes for one vehicle, and `~/events`."""

    def __init__(self, node: Node, rig: CameraRig, role: str, delta: float) -> None:
        """`role` names the vehicle in topics and frames, `delta` s is the tick."""
        self._node, self._role, self._delta = node, role, delta
        self._made: list[Publisher] = []
        vehicle = f"/carla/{role}"

        def create(kind: type, topic: str, profile: Any = qos.SENSOR_OUT) -> Publisher:
            self._made.append(node.create_publisher(kind, topic, profile))
            return self._made[-1]

        self.images = {name: create(Image, f"{vehicle}/{name}/image") for name in rig.names}
        self.infos = {name: create(CameraInfo, f"{vehicle}/{name}/camera_info") for name in rig.names}
        self.odometry = create(Odometry, f"{vehicle}/odometry")
        self._speedometer = create(Float32, f"{vehicle}/speedometer")
        self._status = create(CarlaEgoVehicleStatus, f"{vehicle}/vehicle_status")
        self._info = create(CarlaEgoVehicleInfo, f"{vehicle}/vehicle_info", qos.LATCHED_INFO)
        self._waypoints = create(Path, f"{vehicle}/waypoints", qos.LATCHED)
        # A name of CARLA's leaderboard; the bridge itself tells no commands.
        self._global_plan = create(CarlaRoute, f"{vehicle}/global_plan", qos.LATCHED)
        self._clock = create(Clock, "/clock", qos.CLOCK)
        self._world_status = create(CarlaStatus, "/carla/status")
        self._world_info = create(CarlaWorldInfo, "/carla/world_info", qos.LATCHED_INFO)
        self._tf = create(TFMessage, "/tf", qos.TF)
        self.events = create(String, "~/events", qos.LATCHED)

        # of these only the stamp changes
        frames = {name: f"{role}/{name}" for name in rig.names}
        self._calibrations = {
            name: camera_info_message(rig, i, Time(), frame) for i, (name, frame) in enumerate(frames.items())
        }
        self._mounts = [
            transform_message(mount, role, frame, Time())
            for frame, mount in zip(frames.values(), rig.cam_to_base, strict=True)
        ]

    def reach_all(self) -> bool:
        """Whether every subscription that the graph shows is connected: what is sent now, all of them get."""
        return all(p.get_subscription_count() >= self._node.count_subscribers(p.topic_name) for p in self._made)

    def start(self, world: World, stamp: Time) -> None:
        """What is told once: map, vehicle, route."""
        points, commands = world.tracker.points, world.tracker.commands
        self._world_info.publish(CarlaWorldInfo(map_name=world.town.name))
        self._info.publish(vehicle_info_message(world.dynamics.parameters, self._role))
        self._global_plan.publish(global_plan_message(points, commands))
        self._waypoints.publish(waypoints_message(points, stamp))

    def clock(self, stamp: Time) -> None:
        """Simulation time."""
        self._clock.publish(Clock(clock=stamp))

    def awaited(self, rgb: np.ndarray, ego: EgoState, stamp: Time) -> None:
        """What planner and controller wait for: odometry, then images (N, H, W, 3) uint8 RGB."""
        self.odometry.publish(odometry_message(ego, stamp, MAP_FRAME, self._role))
        for image, (name, info) in zip(rgb, self._calibrations.items(), strict=True):
            self.images[name].publish(image_message(image, stamp, info.header.frame_id))

    def rest(self, world: World, ego: EgoState, control: VehicleControl, stamp: Time) -> None:
        """What nobody waits for: it goes out while the planner is at work."""
        self._world_status.publish(
            CarlaStatus(
                frame=world.frame,
                fixed_delta_seconds=self._delta,
                synchronous_mode=True,
                synchronous_mode_running=True,
            )
        )
        self._speedometer.publish(Float32(data=ego.speed))
        self._status.publish(vehicle_status_message(ego, control, stamp))

    def calibration(self, pose: np.ndarray, stamp: Time) -> None:
        """Where the vehicle is, pose (4, 4) in the map, where its cameras are, and what they see through."""
        for mount in self._mounts:
            mount.header.stamp = stamp
        vehicle = transform_message(pose, MAP_FRAME, self._role, stamp)
        self._tf.publish(TFMessage(transforms=[vehicle, *self._mounts]))
        for name, info in self._calibrations.items():
            info.header.stamp = stamp
            self.infos[name].publish(info)

    def report(self, world: World, closing: bool = False) -> None:
        """How the drive goes, or went."""
        self.events.publish(String(data=events_json(world, closing)))
