"""The embedded world's state as the messages of CARLA's ROS bridge. Pure functions, no graph."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import CameraInfo

from rsd_model.contracts import CameraRig, Command, EgoState, VehicleControl
from rsd_ros.command_messages import carla_message
from rsd_ros.compat.messages import (
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    CarlaEgoVehicleStatus,
    CarlaRoute,
)
from rsd_ros.conversions import quaternion_of, yaw_quaternion
from rsd_world.dynamics import EgoParameters
from rsd_world.score.episode_score import score_episode
from rsd_world.world import World

MAP_FRAME = "map"
TRACK = 1.58  # m between left and right wheels


def camera_info_message(rig: CameraRig, camera: int, stamp: Time, frame: str) -> CameraInfo:
    """Calibration as the bridge sends it: plumb_bob without distortion, P = [K | 0]."""
    width, height = (int(v) for v in rig.sizes[camera])
    k = rig.intrinsics[camera]
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5, k=k.ravel().tolist())
    message.header.stamp, message.header.frame_id = stamp, frame
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel().tolist()
    return message


def transform_message(pose: np.ndarray, parent: str, child: str, stamp: Time) -> TransformStamped:
    """Pose (4, 4) of `child` in `parent`."""
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, parent
    moved = message.transform.translation
    moved.x, moved.y, moved.z = (float(v) for v in pose[:3, 3])
    message.transform.rotation = quaternion_of(pose[:3, :3])
    return message


def _route_poses(points: np.ndarray) -> list[Pose]:
    delta = np.gradient(points[:, :2], axis=0)
    poses = []
    for (x, y, z), yaw in zip(points.tolist(), np.arctan2(delta[:, 1], delta[:, 0]), strict=True):
        pose = Pose(orientation=yaw_quaternion(float(yaw)))
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        poses.append(pose)
    return poses


def waypoints_message(points: np.ndarray, stamp: Time) -> Path:
    """The route (R, 3) m, map."""
    message = Path()
    message.header.stamp, message.header.frame_id = stamp, MAP_FRAME
    message.poses = [PoseStamped(header=message.header, pose=pose) for pose in _route_poses(points)]
    return message


def global_plan_message(points: np.ndarray, commands: np.ndarray) -> CarlaRoute:
    """The route (R, 3) m, map, with the command (R,) at each point, as CARLA's leaderboard sends it."""
    options = [int(Command(int(command))) + 1 for command in commands]
    return CarlaRoute(road_options=options, poses=_route_poses(points))


def vehicle_status_message(ego: EgoState, control: VehicleControl, stamp: Time) -> CarlaEgoVehicleStatus:
    """Speed as a length, acceleration in the map's axes, the control that is applied."""
    message = CarlaEgoVehicleStatus(velocity=float(np.linalg.norm(ego.velocity)))
    message.header.stamp, message.header.frame_id = stamp, MAP_FRAME
    linear = message.acceleration.linear
    linear.x, linear.y, linear.z = (float(v) for v in ego.pose[:3, :3] @ ego.acceleration)
    message.orientation = quaternion_of(ego.pose[:3, :3])
    message.control = carla_message(control, Time())
    return message


def vehicle_info_message(parameters: EgoParameters, role: str) -> CarlaEgoVehicleInfo:
    """Wheels in CARLA's order with their steering limit in rad."""
    message = CarlaEgoVehicleInfo(id=1, type="vehicle.rsd.saloon", rolename=role)
    half = parameters.wheelbase / 2.0
    for x, y in ((half, TRACK / 2), (half, -TRACK / 2), (-half, TRACK / 2), (-half, -TRACK / 2)):
        wheel = CarlaEgoVehicleInfoWheel(max_steer_angle=parameters.max_wheel_angle if x > 0 else 0.0)
        wheel.position.x, wheel.position.y = x, y
        message.wheels.append(wheel)
    return message


def events_json(world: World, closing: bool = True) -> str:
    """How the drive goes, for reports: outcome, progress, infractions, and the score of what has been driven.

    A report that is not the closing one leaves comfort out: it would hold the world up the longer it drives.
    """
    infractions = [
        {"kind": i.kind.value, "time": i.time, "position": i.position.tolist(), "detail": i.detail}
        for i in world.infractions
    ]
    state = {
        "episode": asdict(world.episode), "outcome": world.outcome, "done": world.done, "time": round(world.time, 3),
        "progress": round(world.progress, 4), "route_length": world.tracker.length, "infractions": infractions,
        "score": score_summary(world, closing) if world.frame else None,
    }  # fmt: skip
    return json.dumps(state, default=_plain)


def score_summary(world: World, comfort: bool = True) -> dict[str, Any]:
    """The drive's score by Bench2Drive's formulas."""
    score = score_episode(world.record(), comfort)
    return {
        "driving_score": score.driving_score, "route_completion": score.route_completion, "success": score.success,
        "collided": score.collided, "efficiency": score.efficiency, "comfort": score.comfort,
        "penalties": score.penalties,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")
