"""Hears a drive over DDS from a process of its own: `drive_watcher.py OUT TICKS`.

It configures the planner, waits until a sender of each topic is connected, activates the planner, and writes what it
has heard to the JSON file OUT once TICKS messages of each have come. Where it waits in vain, it says so and exits
with 1.

Control is to hear the odometry from here (`WATCHED_ODOMETRY`): the world waits for its command, so that no tick passes
unheard on a machine that does not let this process run for a while.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node

from rsd_ros import qos
from rsd_ros.compat.messages import CarlaEgoVehicleControl, PlannerStatus
from rsd_ros.conversions import stamp_to_ns

ANSWER_SECONDS = 5.0  # for a service's answer; DDS may lose the first ones, so they are asked again
SECONDS = 150.0  # for each of the steps
WATCHED_ODOMETRY = "/watched/odometry"


class Watcher(Node):
    """Keeps a row of every message: its stamp in ns, and what is compared."""

    def __init__(self) -> None:
        super().__init__("watcher")
        self.heard: dict[str, list[list]] = {"odometry": [], "status": [], "commands": []}
        self.senders: dict[str, int] = {}  # connected ones, by topic
        self._relay = self.create_publisher(Odometry, WATCHED_ODOMETRY, qos.SENSOR_OUT)
        self._listen(Odometry, "/carla/ego_vehicle/odometry", "odometry", qos.ODOMETRY, self._relayed)
        self._listen(PlannerStatus, "/rsd/planner/status", "status", qos.STATUS, lambda m: [int(m.state)])
        control = "/carla/ego_vehicle/vehicle_control_cmd"
        self._listen(CarlaEgoVehicleControl, control, "commands", qos.CONTROL, lambda m: [])
        self._change = self.create_client(ChangeState, "/rsd/planner/change_state")
        self._state = self.create_client(GetState, "/rsd/planner/get_state")

    def _listen(self, kind: type, topic: str, name: str, profile: Any, row: Callable[[Any], list]) -> None:
        def hear(message: Any) -> None:
            self.heard[name].append([stamp_to_ns(message.header.stamp), *row(message)])

        events = SubscriptionEventCallbacks(matched=functools.partial(self._on_matched, name))
        self.create_subscription(kind, topic, hear, profile, event_callbacks=events)

    def _relayed(self, message: Odometry) -> list[float]:
        self._relay.publish(message)
        position = message.pose.pose.position
        return [position.x, position.y, message.twist.twist.linear.x]

    def _on_matched(self, name: str, info: Any) -> None:
        self.senders[name] = info.current_count

    def wait(self, condition: Callable[[], object], seconds: float = SECONDS) -> bool:
        """Spin until `condition()` holds; returns whether it did."""
        until = time.monotonic() + seconds
        while not condition() and time.monotonic() < until:
            rclpy.spin_once(self, timeout_sec=0.05)
        return bool(condition())

    def bring_to(self, transition: str, state: str) -> bool:
        """Ask for `transition` until the planner is in `state`; an answer that is lost is not missed."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            answer = self._ask(self._state, GetState.Request())
            if answer is not None and answer.current_state.label == state:
                return True
            request = ChangeState.Request()
            request.transition.label = transition
            self._ask(self._change, request)
        return False

    def _ask(self, client: Any, request: Any) -> Any:
        """The answer of a service, or None where there is none in time."""
        if not self.wait(client.service_is_ready, ANSWER_SECONDS):
            return None
        answer = client.call_async(request)
        return answer.result() if self.wait(answer.done, ANSWER_SECONDS) else None

    def hears_all(self) -> bool:
        """Whether a sender of each topic, and who hears the odometry from here, are connected."""
        senders = len(self.senders) == len(self.heard) and all(self.senders.values())
        return senders and self._relay.get_subscription_count() > 0


def main(out: Path, ticks: int) -> str:
    """Watch; returns what it waited for in vain, or nothing."""
    watcher = Watcher()
    if not watcher.bring_to("configure", "inactive"):
        return "the planner was not configured"
    if not watcher.wait(watcher.hears_all):
        return f"connected are only {watcher.senders}"
    if not watcher.bring_to("activate", "active"):
        return "the planner was not activated"
    watcher.wait(lambda: min(map(len, watcher.heard.values())) >= ticks)
    out.write_text(json.dumps(watcher.heard))
    return ""


if __name__ == "__main__":
    rclpy.init()
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])) or 0)
