"""Finds peers whose quality of service does not match a node's own: DDS keeps such ends apart, nothing arrives."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo

from rsd_ros.compat.type_hashes import is_of, peer_name

WRONG = "ERROR: "  # how rclpy marks a reason
REMEDY = "give both sides the same reliability and durability; for images set image_reliability to best_effort"


def qos_mismatches(node: Node, topics: Iterable[str]) -> list[str]:
    """One sentence for every peer on the node's topics that DDS keeps apart from it. Call it when peers are known."""
    return [sentence for topic in topics for sentence in _mismatches_on(node, node.resolve_topic_name(topic))]


def _mismatches_on(node: Node, topic: str) -> list[str]:
    senders, listeners = node.get_publishers_info_by_topic(topic), node.get_subscriptions_info_by_topic(topic)
    found = {
        _mismatch(topic, sender, listener, node)
        for sender in senders
        for listener in listeners
        if is_of(sender, node) != is_of(listener, node)
    }
    return sorted(filter(None, found))


def _mismatch(topic: str, sender: TopicEndpointInfo, listener: TopicEndpointInfo, node: Node) -> str | None:
    compatibility, reason = qos_check_compatible(sender.qos_profile, listener.qos_profile)
    if compatibility != QoSCompatibility.ERROR:
        return None
    peer, does = (listener, "listens to") if is_of(sender, node) else (sender, "sends")
    return (
        f"{topic}: the quality of service with which {peer_name(peer)} {does} it does not match this node's "
        f"({reason.replace(WRONG, '').strip(' ;').lower()}): nothing will arrive; {REMEDY}"
    )
