"""Receives transforms: the part of tf2_ros that fills a Buffer from /tf and /tf_static."""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from rsd_ros.compat.fallback.tf2_buffer import Buffer
from rsd_ros.compat.messages import TFMessage


class TransformListener:
    """Subscribes to both topics and puts every transform into the buffer; the node's own executor has to spin."""

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        if spin_thread:
            raise NotImplementedError("spin_thread is not supported by this implementation; spin the node instead")
        self.buffer = buffer
        group = ReentrantCallbackGroup()  # a lookup that waits in one callback must not hold back the transforms
        latched = static_qos or QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_sub = node.create_subscription(TFMessage, "/tf", self._on_tf, qos or 100, callback_group=group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, "/tf_static", self._on_static_tf, latched, callback_group=group
        )

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def _on_static_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            self.buffer.set_transform_static(transform, "default_authority")
