"""The planner's output topics: plan and status always, what eyes and recorders want while somebody subscribes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from rsd_model.contracts import PlannerOutput
from rsd_ros import qos
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus, RiskGrid, RiskObjectArray
from rsd_ros.markers import marker_array
from rsd_ros.plan_messages import objects_message, occupancy_message, path_message, risk_message
from rsd_ros.without_events import NO_EVENTS

TOPICS = {
    "trajectory": (PlannedTrajectory, qos.TRAJECTORY),
    "status": (PlannerStatus, qos.STATUS),
    "path": (Path, qos.VIEW),
    "risk_grid": (OccupancyGrid, qos.VIEW),
    "risk": (RiskGrid, qos.VIEW),
    "objects": (RiskObjectArray, qos.VIEW),
    "markers": (MarkerArray, qos.VIEW),
}


class PlanPublishers:
    """Lifecycle publishers `~/trajectory`, `~/path`, `~/risk_grid`, `~/risk`, `~/objects`, `~/markers`, `~/status`."""

    def __init__(self, node: LifecycleNode, min_score: float) -> None:
        """`min_score`: objects and map lines scored lower are not sent."""
        self._node, self._min_score = node, min_score
        self._publishers = {
            name: node.create_lifecycle_publisher(kind, f"~/{name}", profile, **NO_EVENTS)
            for name, (kind, profile) in TOPICS.items()
        }

    def destroy(self) -> None:
        """Take the topics down."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def plan(self, message: PlannedTrajectory, trajectory: np.ndarray) -> None:
        """Send a plan (or a stop) first: the vehicle waits for it."""
        self._publishers["trajectory"].publish(message)
        self._send("path", lambda: path_message(trajectory, message.header))

    def scene(self, output: PlannerOutput, trajectory: np.ndarray, header: Header) -> None:
        """Send what the network saw beside the plan."""
        self._send("risk_grid", lambda: occupancy_message(output.risk_grid, header))
        self._send("risk", lambda: risk_message(output.risk_grid, header))
        self._send("objects", lambda: objects_message(output.objects, self._min_score, header))
        self._send("markers", lambda: marker_array(output, trajectory, self._min_score, header))

    def status(self, message: PlannerStatus) -> None:
        """Send the planner's state."""
        self._publishers["status"].publish(message)

    def _send(self, name: str, build: Callable[[], Any]) -> None:
        if self._publishers[name].get_subscription_count():
            self._publishers[name].publish(build())
