"""Finds peers with another definition of a topic's message: DDS connects them without a word and mixes up fields."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

UNSET_VERSION = -1  # peers of older distributions publish no hash


def type_mismatches(node: Node, topics: Iterable[str]) -> list[str]:
    """One sentence for every peer whose message type on one of the node's topics differs from the node's own.

    Call it when peers have been discovered. Peers without a hash are accepted: older distributions have none.
    """
    return [sentence for topic in topics for sentence in _mismatches_on(node, node.resolve_topic_name(topic))]


def _mismatches_on(node: Node, topic: str) -> list[str]:
    infos = node.get_publishers_info_by_topic(topic) + node.get_subscriptions_info_by_topic(topic)
    ours = [info for info in infos if is_of(info, node)]
    if not ours:
        return []
    expected = ours[0]
    found = (_mismatch(topic, expected, info) for info in infos if not is_of(info, node))
    return sorted({sentence for sentence in found if sentence})


def _mismatch(topic: str, expected: TopicEndpointInfo, info: TopicEndpointInfo) -> str | None:
    peer = peer_name(info)
    if info.topic_type != expected.topic_type:
        return (
            f"{topic}: {peer} uses {info.topic_type}, this node {expected.topic_type}: nothing will arrive; "
            "remap the topic, or use the same message package on both sides"
        )
    hashes = expected.topic_type_hash, info.topic_type_hash
    if hashes[0] == hashes[1] or UNSET_VERSION in (hashes[0].version, hashes[1].version):
        return None
    return (
        f"{topic}: {peer} was built with another definition of {info.topic_type} ({hashes[1]}, here {hashes[0]}): "
        "fields will be lost or wrong; build both sides from the same message package"
    )


def peer_name(info: TopicEndpointInfo) -> str:
    """Full name of an endpoint's node; endpoints are known a moment before their node's name is."""
    is_named = "UNKNOWN" not in info.node_name
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}" if is_named else "a peer"


def is_of(info: TopicEndpointInfo, node: Node) -> bool:
    """Whether an endpoint is the node's own."""
    return (info.node_name, info.node_namespace) == (node.get_name(), node.get_namespace())
