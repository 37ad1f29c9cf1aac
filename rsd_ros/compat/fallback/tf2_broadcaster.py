"""Sends transforms: the part of tf2_ros that broadcasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from rsd_ros.compat.messages import TFMessage


class TransformBroadcaster:
    """Sends transforms that change, on /tf (reliable, depth 100)."""

    def __init__(self, node: Node, qos: QoSProfile | int = 100) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf", qos)

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Sends one transform or several."""
        self.pub_tf.publish(TFMessage(transforms=_as_list(transform)))


class StaticTransformBroadcaster:
    """Sends transforms that never change, latched on /tf_static; what was sent before is sent along."""

    def __init__(self, node: Node, qos: QoSProfile | None = None) -> None:
        qos = qos or QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self._sent: dict[str, TransformStamped] = {}  # by child frame

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Sends one transform or several; a later one replaces an earlier one of the same child frame."""
        self._sent |= {item.child_frame_id: item for item in _as_list(transform)}
        self.pub_tf.publish(TFMessage(transforms=list(self._sent.values())))


def _as_list(transform: Any) -> list[TransformStamped]:
    return [transform] if isinstance(transform, TransformStamped) else list(transform)
