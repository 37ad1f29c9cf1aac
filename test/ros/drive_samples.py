"""A short recorded drive for the tests of what the demo draws and reports: real messages, no graph."""

from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Vector3
from nav_msgs.msg import Odometry, Path
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker, MarkerArray

from rsd_model.geometry import bench2drive_rig
from rsd_ros.compat.messages import (
    CarlaEgoVehicleControl,
    PlannedTrajectory,
    PlannerStatus,
    PredictedPath,
    RiskGrid,
    RiskObject,
    RiskObjectArray,
    StageTiming,
    TFMessage,
)
from rsd_ros.conversions import ns_to_stamp
from rsd_ros.mcap_file import McapFile, recorder_profile
from rsd_ros.world_messages import camera_info_message, transform_message

SECOND = 1_000_000_000
RIG = bench2drive_rig(80, 45)
VEHICLE = "/carla/ego_vehicle"
IMAGES = [f"{VEHICLE}/{name}/image/compressed" for name in RIG.names]
PLANNER = "/rsd/planner"
LATCHED = (f"{VEHICLE}/waypoints", "/rsd/world/events")
CAR_AHEAD = {"x": 12.0, "y": 0.0, "risk": 0.9}


def header(stamp: int) -> Header:
    """Header of a plan's messages."""
    return Header(stamp=ns_to_stamp(stamp), frame_id="ego_vehicle")


def trajectory(stamp: int, stop: str = "") -> PlannedTrajectory:
    """Straight on at 5 m/s, or a stop with this reason."""
    message = PlannedTrajectory(header=header(stamp), command=3, step=0.5, is_stop=bool(stop), stop_reason=stop)
    message.poses = [Pose(position=Point(x=2.5 * k)) for k in range(1, 7)]
    return message


def objects(stamp: int, x: float, y: float, risk: float) -> RiskObjectArray:
    """One car."""
    future = PredictedPath(probability=1.0, positions=[Point(x=x + k, y=y) for k in range(1, 7)])
    car = RiskObject(class_name="car", score=0.8, risk=risk, futures=[future])
    car.pose.position, car.pose.orientation.w = Point(x=x, y=y, z=0.75), 1.0
    car.size = Vector3(x=4.5, y=1.9, z=1.5)
    return RiskObjectArray(header=header(stamp), step=0.5, objects=[car])


def risk_grid(stamp: int, values: np.ndarray) -> RiskGrid:
    """A grid of 1 m cells around the vehicle; `values` (rows = y, columns = x)."""
    message = RiskGrid(header=header(stamp), resolution=1.0, width=values.shape[1], height=values.shape[0])
    message.origin.position.x, message.origin.position.y = -values.shape[1] / 2.0, -values.shape[0] / 2.0
    message.data = values.astype(np.float32).ravel().tolist()
    return message


def jpeg(stamp: int, value: int = 90) -> CompressedImage:
    """A grey picture."""
    message = CompressedImage(header=header(stamp), format="jpeg")
    message.data.frombytes(cv2.imencode(".jpg", np.full((45, 80, 3), value, np.uint8))[1].tobytes())
    return message


def tick(stamp: int) -> dict[str, Any]:
    """Topic -> message of one complete tick."""
    lines = Marker(header=header(stamp), ns="map/Solid", type=Marker.LINE_LIST)
    lines.points, lines.color.r = [Point(x=-20.0, y=4.0), Point(x=20.0, y=4.0)], 1.0
    odometry = Odometry(header=header(stamp))
    odometry.pose.pose.position.x, odometry.twist.twist.linear.x = 5.0 * stamp / SECOND, 5.0
    status = PlannerStatus(header=header(stamp), stages=[StageTiming(name="network", milliseconds=40.0)])
    status.total_milliseconds = 50.0
    mounts = [
        transform_message(mount, "ego_vehicle", f"ego_vehicle/{name}", ns_to_stamp(stamp))
        for name, mount in zip(RIG.names, RIG.cam_to_base, strict=True)
    ]
    infos = {
        f"{VEHICLE}/{name}/camera_info": camera_info_message(RIG, i, ns_to_stamp(stamp), f"ego_vehicle/{name}")
        for i, name in enumerate(RIG.names)
    }
    return infos | {
        "/tf": TFMessage(transforms=mounts), f"{VEHICLE}/odometry": odometry,
        **{topic: jpeg(stamp) for topic in IMAGES},
        f"{PLANNER}/trajectory": trajectory(stamp), f"{PLANNER}/objects": objects(stamp, **CAR_AHEAD),
        f"{PLANNER}/risk": risk_grid(stamp, np.full((20, 40), 0.3)), f"{PLANNER}/markers": MarkerArray(markers=[lines]),
        f"{PLANNER}/status": status,
        f"{VEHICLE}/vehicle_control_cmd": CarlaEgoVehicleControl(header=header(stamp), throttle=0.5),
    }  # fmt: skip


def route() -> Path:
    """100 m along x, in the map frame."""
    poses = [PoseStamped(pose=Pose(position=Point(x=float(x)))) for x in range(0, 100, 2)]
    return Path(header=Header(frame_id="map"), poses=poses)


def closing_event(**changes: Any) -> String:
    """The world's last report."""
    state = {"outcome": "completed", "time": 0.5, "progress": 1.0, "infractions": [], "score": {"driving_score": 100.0}}
    return String(data=json.dumps(state | changes))


def write_recording(path: FilePath, ticks: int = 5, without: tuple[str, ...] = ()) -> FilePath:
    """Ticks from 1 s on at 10 Hz, route and closing event; topics that contain one of `without` are left out."""
    file, added = McapFile(path), set()

    def write(topic: str, message: Any, now: int) -> None:
        if any(word in topic for word in without):
            return
        if topic not in added:
            added.add(topic)
            module = type(message).__module__.split(".")[0]
            file.add_topic(topic, f"{module}/msg/{type(message).__name__}", recorder_profile(topic in LATCHED))
        file.write(topic, serialize_message(message), now)

    write(f"{VEHICLE}/waypoints", route(), 0)  # latched, before the clock runs
    for number in range(ticks):
        stamp = SECOND + number * SECOND // 10
        for topic, message in tick(stamp).items():
            write(topic, message, stamp)
    write("/rsd/world/events", closing_event(), stamp)
    file.close()
    return path
