"""/diagnostics of a node: named checks with a level, a sentence and values, sent once a second and at every change."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.duration import Duration
from rclpy.node import Node

from rsd_ros import qos

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


@dataclass(frozen=True)
class Check:
    """State of one check."""

    level: bytes
    message: str
    values: dict[str, str] = field(default_factory=dict)


class Diagnostics:
    """Publisher of a node's checks; it works in every lifecycle state, so a failed start shows too."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._checks: dict[str, Check] = {}

    def set(self, name: str, level: bytes, message: str, **values: object) -> bool:
        """Record a check; returns whether its level or sentence is new, and then sends all at once."""
        before = self._checks.get(name)
        self._checks[name] = Check(level, message, {key: str(value) for key, value in values.items()})
        changed = before is None or (before.level, before.message) != (level, message)
        if changed:
            self.publish()
        return changed

    def level(self, name: str) -> bytes:
        """Level of a check, STALE before it was first set."""
        return self._checks[name].level if name in self._checks else STALE

    def publish(self) -> None:
        """Send all checks."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        prefix = self._node.get_fully_qualified_name().strip("/")
        for name, check in list(self._checks.items()):
            values = [KeyValue(key=key, value=value) for key, value in check.values.items()]
            message.status.append(
                DiagnosticStatus(
                    level=check.level,
                    name=f"{prefix}: {name}",
                    message=check.message,
                    hardware_id=prefix,
                    values=values,
                )
            )
        self._publisher.publish(message)

    def flush(self, timeout: float = 3.0) -> None:
        """Send all to whoever listens, before a process that could not start ends.

        The two ends find each other at different times and the topic keeps nothing: it is said again for half a second
        after a listener has been found.
        """
        until = time.monotonic() + timeout
        found = False
        while time.monotonic() < until:
            if self._publisher.get_subscription_count() and not found:
                found, until = True, time.monotonic() + 0.5
            self.publish()
            time.sleep(0.1)
        self._publisher.wait_for_all_acked(Duration(seconds=3.0))
