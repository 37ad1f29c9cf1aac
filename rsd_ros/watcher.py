"""Node `/rsd/demo`: the newest message of each topic that the demo shows, and how time passes."""

from __future__ import annotations

import json
import time
from typing import Any

from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from rsd_ros import qos
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus, RiskGrid, RiskObjectArray, TFMessage
from rsd_ros.conversions import NANOSECONDS, stamp_to_ns
from rsd_ros.drive_log import EVENTS, MARKERS, ODOMETRY, ROUTE, DriveCollector
from rsd_ros.planner_parameters import CAMERAS, VEHICLE
from rsd_ros.without_events import WithoutEvents


class WatchNode(WithoutEvents, Node):
    """Listens; `surroundings` also collects what only the live window shows: grid, map, calibration and route."""

    def __init__(self, surroundings: bool = False, **node_options: Any) -> None:
        super().__init__("demo", namespace="rsd", **node_options)
        self.latest: dict[str, Any] = {}
        self.world: dict[str, Any] = {}  # its newest report
        self.first_tick: tuple[float, float] | None = None  # wall s, simulated s
        self.last_tick = (0.0, 0.0)
        self.surroundings = DriveCollector()
        self._started, self._reported = time.monotonic(), 0.0
        self._keep("status", PlannerStatus, "/rsd/planner/status", qos.STATUS)
        self._keep("trajectory", PlannedTrajectory, "/rsd/planner/trajectory", qos.TRAJECTORY)
        self._keep("objects", RiskObjectArray, "/rsd/planner/objects", qos.VIEW)
        self._keep("odometry", Odometry, ODOMETRY, qos.ODOMETRY)
        self.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK)
        self.create_subscription(String, EVENTS, self._on_event, qos.LATCHED)
        if surroundings:
            self._keep("risk", RiskGrid, "/rsd/planner/risk", qos.VIEW)
            self._keep("markers", MarkerArray, MARKERS, qos.VIEW)
            self._collect(TFMessage, "/tf", qos.TF)
            self._collect(Path, ROUTE, qos.LATCHED)
            for name in CAMERAS:
                self._collect(CameraInfo, f"{VEHICLE}/{name}/camera_info", qos.CAMERA_INFO)

    def _keep(self, name: str, kind: type, topic: str, profile: QoSProfile) -> None:
        self.create_subscription(kind, topic, lambda message: self.latest.__setitem__(name, message), profile)

    def _collect(self, kind: type, topic: str, profile: QoSProfile) -> None:
        self.create_subscription(kind, topic, lambda message: self.surroundings.add(topic, message), profile)

    def _on_clock(self, message: Clock) -> None:
        self.last_tick = (time.monotonic(), stamp_to_ns(message.clock) / NANOSECONDS)
        if self.first_tick is None:
            self.first_tick = self.last_tick

    def _on_event(self, message: String) -> None:
        self.world, self._reported = json.loads(message.data), time.monotonic()

    @property
    def waited(self) -> float:
        """Wall seconds since the start."""
        return time.monotonic() - self._started

    @property
    def driven(self) -> float:
        """Simulated seconds between the first tick and the last."""
        return 0.0 if self.first_tick is None else self.last_tick[1] - self.first_tick[1]

    @property
    def wall_seconds(self) -> float:
        """From the first tick to the last."""
        return 0.0 if self.first_tick is None else self.last_tick[0] - self.first_tick[0]

    @property
    def real_time_factor(self) -> float:
        """Simulated over wall seconds between the first tick and the last."""
        return self.driven / self.wall_seconds if self.wall_seconds > 0.0 else 0.0

    @property
    def has_last_report(self) -> bool:
        """Whether the world has reported since its last tick."""
        return self._reported > self.last_tick[0]
