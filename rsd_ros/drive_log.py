"""A recorded drive (MCAP) as a list of moments, one per plan. Reads with plain `mcap`: no ROS install, no node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.reader import NonSeekingReader
from mcap_ros2.decoder import DecoderFactory
from scipy.spatial.transform import Rotation

from rsd_model.contracts import CameraRig
from rsd_model.geometry import transform_points

NANOSECONDS = 1_000_000_000
COMPRESSED, CAMERA_INFO, MARKERS = "/image/compressed", "/camera_info", "/rsd/planner/markers"
ODOMETRY, ROUTE, EVENTS = "/carla/ego_vehicle/odometry", "/carla/ego_vehicle/waypoints", "/rsd/world/events"
ROUTE_SHOWN = 40.0  # m of route ahead
SPEED_CHECK = "min_speed_infractions"  # Bench2Drive records one at each checkpoint, a passed one, too


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
    def top_object(self) -> Any:
        """The object of the highest risk, None where there is none."""
        return max(self.objects.objects, key=lambda o: o.risk, default=None) if self.objects is not None else None

    @property
    def top_risk(self) -> tuple[float, str]:
        """Highest object risk and the object's class; (0, "") where there is none."""
        top = self.top_object
        return (0.0, "") if top is None else (float(top.risk), str(top.class_name))


@dataclass(frozen=True)
class DriveLog:
    """A drive: its moments by rising stamp, the camera rig, and what the world said."""

    moments: list[Moment]
    rig: CameraRig | None = None
    events: list[str] = field(default_factory=list)  # JSON texts of /rsd/world/events
    route: np.ndarray | None = None  # (R, 2) m, map
    damage: str = ""  # why the recording ends early; empty for a whole one

    def route_ahead(self, moment: Moment) -> np.ndarray | None:
        """(R, 2) m, base_link: the route from beside the vehicle on; None without route or odometry."""
        if self.route is None or len(self.route) == 0 or moment.odometry is None:
            return None
        map_to_base = np.linalg.inv(_pose_matrix(moment.odometry.pose.pose))
        points = transform_points(map_to_base, np.pad(self.route, ((0, 0), (0, 1))))[:, :2]
        nearest = int(np.argmin(np.linalg.norm(points, axis=1)))
        ahead = points[nearest:]
        travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ahead, axis=0), axis=1))])
        return ahead[travelled <= ROUTE_SHOWN]


_FIELDS = {
    "/rsd/planner/trajectory": "trajectory", "/rsd/planner/objects": "objects", "/rsd/planner/risk": "risk",
    "/rsd/planner/status": "status", ODOMETRY: "odometry", "/carla/ego_vehicle/vehicle_control_cmd": "control",
}  # fmt: skip


def _stamp_ns(header: Any) -> int:
    return header.stamp.sec * NANOSECONDS + header.stamp.nanosec


class DriveCollector:
    """Sorts messages (recorded or live) into moments; what a drive's pictures do not need is left aside."""

    def __init__(self) -> None:
        self.moments: dict[int, Moment] = {}
        self._infos: dict[str, Any] = {}
        self._transforms: dict[str, Any] = {}
        self._events: list[str] = []
        self._route: np.ndarray | None = None

    @staticmethod
    def wants(topic: str) -> bool:
        """Whether messages of this topic are needed."""
        names = (MARKERS, "/tf", "/tf_static", EVENTS, ROUTE)
        return topic in _FIELDS or topic in names or topic.endswith((COMPRESSED, CAMERA_INFO))

    def moment(self, stamp: int) -> Moment:
        """The moment of this stamp (ns)."""
        return self.moments.setdefault(stamp, Moment(stamp / NANOSECONDS))

    def add(self, topic: str, message: Any) -> None:
        """Put one message where it belongs."""
        if topic in _FIELDS:
            setattr(self.moment(_stamp_ns(message.header)), _FIELDS[topic], message)
        elif topic == MARKERS and message.markers:
            self.moment(_stamp_ns(message.markers[0].header)).markers = message
        elif topic.endswith(COMPRESSED):
            self.moment(_stamp_ns(message.header)).images[topic.split("/")[-3]] = bytes(message.data)
        elif topic.endswith(CAMERA_INFO):
            self._infos[topic.split("/")[-2]] = message
        elif topic in ("/tf", "/tf_static"):
            self._transforms |= {t.child_frame_id: t.transform for t in message.transforms}
        elif topic == EVENTS:
            self._events.append(message.data)
        elif topic == ROUTE:
            self._route = np.array([[p.pose.position.x, p.pose.position.y] for p in message.poses]).reshape(-1, 2)

    def log(self, damage: str = "") -> DriveLog:
        """What has been collected so far."""
        moments = [m for _, m in sorted(self.moments.items()) if m.trajectory is not None]
        return DriveLog(moments, self._rig(), self._events, self._route, damage)

    def _rig(self) -> CameraRig | None:
        names = [n for n, info in self._infos.items() if info.header.frame_id in self._transforms]
        if not names:
            return None
        infos = [self._infos[n] for n in names]
        poses = [_transform_matrix(self._transforms[info.header.frame_id]) for info in infos]
        intrinsics = np.stack([np.array(info.k, dtype=float).reshape(3, 3) for info in infos])
        sizes = np.array([[info.width, info.height] for info in infos])
        return CameraRig(tuple(names), intrinsics, np.stack(poses), sizes)


def read_drive(path: Path) -> DriveLog:
    """Read a recording of `/rsd/recorder`; one that breaks off is read up to there, and `damage` says so.

    Raises DriveLogError when the file cannot be opened, is no MCAP file, or holds no plan.
    """
    collected, damage = DriveCollector(), ""
    try:
        for topic, message in _messages(path):
            collected.add(topic, message)
    except Exception as problem:  # a damaged file may fail anywhere in the reader, and is read up to there
        damage = f"{type(problem).__name__}: {problem}"
        if not collected.moments:
            raise DriveLogError(f"{path} is not a readable MCAP recording ({damage})") from problem
    log = collected.log(damage)
    if not log.moments:
        raise DriveLogError(f"{path} holds no message on /rsd/planner/trajectory: did the planner run?")
    return log


def _messages(path: Path) -> Iterator[tuple[str, Any]]:
    """Wanted messages in the file's order. Read from the front: a recording that broke off has no index."""
    factory, decoders = DecoderFactory(), {}
    with path.open("rb") as file:
        for schema, channel, message in NonSeekingReader(file).iter_messages(log_time_order=False):
            if schema is None or not DriveCollector.wants(channel.topic):
                continue
            if channel.id not in decoders:
                decoders[channel.id] = factory.decoder_for(channel.message_encoding, schema)
            yield channel.topic, decoders[channel.id](message.data)


def closing_report(log: DriveLog) -> dict[str, Any]:
    """The world's last word on the drive; empty for a recording that has none (of a car, of a killed run)."""
    for text in reversed(log.events):
        try:
            event = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and "outcome" in event:
            return event
    return {}


def infractions_of(world: dict[str, Any]) -> list[dict[str, Any]]:
    """What was done wrong: the report's infractions without its speed checks, which count for efficiency alone."""
    return [entry for entry in world.get("infractions", []) if entry["kind"] != SPEED_CHECK]


def outcome_words(world: dict[str, Any]) -> str:
    """How the world's report says that the drive ended."""
    if not world:
        return "no report of the world"
    return "ended before the route did" if world.get("outcome") == "running" else str(world.get("outcome"))


def _transform_matrix(transform: Any) -> np.ndarray:
    return _matrix(transform.translation, transform.rotation)


def _pose_matrix(pose: Any) -> np.ndarray:
    return _matrix(pose.position, pose.orientation)


def _matrix(t: Any, q: Any) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix


def decode_bgr(data: bytes) -> np.ndarray:
    """JPEG to (H, W, 3) BGR; raises DriveLogError where it is damaged."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DriveLogError(f"a recorded JPEG of {len(data)} bytes cannot be decoded")
    return image
