"""A recorded drive (MCAP) as a list of moments, one per plan. Reads with plain `mcap`: no ROS install, no node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap_ros2.reader import read_ros2_messages
from scipy.spatial.transform import Rotation

from rsd_model.contracts import CameraRig

NANOSECONDS = 1_000_000_000
COMPRESSED = "/image/compressed"


class DriveLogError(ValueError):
    """A recording cannot be used."""


@dataclass
class Moment:
    """All that carries one stamp; messages are as recorded, None where none came."""

    stamp: float  # s
    images: dict[str, bytes] = field(default_factory=dict)  # camera -> JPEG
    trajectory: Any = None  # rsd/PlannedTrajectory
    objects: Any = None  # rsd/RiskObjectArray
    risk: Any = None  # rsd/RiskGrid
    markers: Any = None  # visualization_msgs/MarkerArray
    status: Any = None  # rsd/PlannerStatus
    odometry: Any = None  # nav_msgs/Odometry
    control: Any = None  # carla_msgs/CarlaEgoVehicleControl

    @property
    def speed(self) -> float:
        """m/s, nan where no odometry carries this stamp."""
        return float("nan") if self.odometry is None else float(self.odometry.twist.twist.linear.x)

    @property
    def top_risk(self) -> tuple[float, str]:
        """Highest object risk and the object's class; (0, "") where there is none."""
        objects = self.objects.objects if self.objects is not None else []
        top = max(objects, key=lambda o: o.risk, default=None)
        return (0.0, "") if top is None else (float(top.risk), str(top.class_name))


@dataclass(frozen=True)
class DriveLog:
    """A drive: its moments by rising stamp, the camera rig, and the world's closing report where there is one."""

    moments: list[Moment]
    rig: CameraRig | None
    events: list[str]  # JSON texts of /rsd/world/events


_FIELDS = {
    "/rsd/planner/trajectory": "trajectory", "/rsd/planner/objects": "objects", "/rsd/planner/risk": "risk",
    "/rsd/planner/status": "status", "/carla/ego_vehicle/odometry": "odometry",
    "/carla/ego_vehicle/vehicle_control_cmd": "control",
}  # fmt: skip


def _stamp_ns(header: Any) -> int:
    return header.stamp.sec * NANOSECONDS + header.stamp.nanosec


class _Collector:
    def __init__(self) -> None:
        self.moments: dict[int, Moment] = {}
        self.infos: dict[str, Any] = {}
        self.transforms: dict[str, Any] = {}
        self.events: list[str] = []

    def moment(self, stamp: int) -> Moment:
        return self.moments.setdefault(stamp, Moment(stamp / NANOSECONDS))

    def add(self, topic: str, message: Any) -> None:
        if topic in _FIELDS:
            setattr(self.moment(_stamp_ns(message.header)), _FIELDS[topic], message)
        elif topic == "/rsd/planner/markers" and message.markers:
            self.moment(_stamp_ns(message.markers[0].header)).markers = message
        elif topic.endswith(COMPRESSED):
            camera = topic.removesuffix(COMPRESSED).rsplit("/", 1)[-1]
            self.moment(_stamp_ns(message.header)).images[camera] = bytes(message.data)
        elif topic.endswith("/camera_info"):
            self.infos[topic.split("/")[-2]] = message
        elif topic in ("/tf", "/tf_static"):
            self.transforms |= {t.child_frame_id: t.transform for t in message.transforms}
        elif topic == "/rsd/world/events":
            self.events.append(message.data)


def read_drive(path: Path) -> DriveLog:
    """Read a recording of `/rsd/recorder`. Raises DriveLogError when it holds no plan."""
    collected = _Collector()
    try:
        for record in read_ros2_messages(path):
            collected.add(record.channel.topic, record.ros_msg)
    except Exception as error:
        if not collected.moments:
            raise DriveLogError(f"{path} is not a readable MCAP recording: {error}") from error
    moments = [m for _, m in sorted(collected.moments.items()) if m.trajectory is not None]
    if not moments:
        raise DriveLogError(f"{path} holds no message on /rsd/planner/trajectory: did the planner run?")
    return DriveLog(moments, _rig(collected), collected.events)


def _rig(collected: _Collector) -> CameraRig | None:
    names = [n for n, info in collected.infos.items() if info.header.frame_id in collected.transforms]
    if not names:
        return None
    infos = [collected.infos[n] for n in names]
    poses = [_matrix(collected.transforms[info.header.frame_id]) for info in infos]
    intrinsics = np.stack([np.array(info.k, dtype=float).reshape(3, 3) for info in infos])
    sizes = np.array([[info.width, info.height] for info in infos])
    return CameraRig(tuple(names), intrinsics, np.stack(poses), sizes)


def _matrix(transform: Any) -> np.ndarray:
    q, t = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix


def decode_bgr(data: bytes) -> np.ndarray:
    """JPEG to (H, W, 3) BGR; raises DriveLogError where it is damaged."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DriveLogError(f"a recorded JPEG of {len(data)} bytes cannot be decoded")
    return image
