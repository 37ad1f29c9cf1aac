"""Peers whose quality of service keeps them apart are named; nodes go without the handlers that DDS would call."""

import pytest
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float32

from rsd_ros.qos_mismatches import qos_mismatches
from rsd_ros.without_events import NO_EVENTS, WithoutEvents

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PLAIN = QoSProfile(depth=1)


def mismatches(nodes, spin_until) -> list[str]:
    ours, _ = nodes
    assert spin_until(nodes, lambda: ours.count_publishers("/speed") and ours.count_subscribers("/speed"))
    return qos_mismatches(ours, ["speed", "/not_used"])


@pytest.mark.parametrize(
    ("sent", "heard", "reason"),
    [(BEST_EFFORT, PLAIN, "best effort publisher and reliable"), (PLAIN, LATCHED, "volatile publisher and transient")],
)
def test_a_sender_that_offers_too_little_is_named(nodes, spin_until, sent, heard, reason):
    ours, theirs = nodes
    ours.create_subscription(Float32, "/speed", lambda message: None, heard)
    theirs.create_publisher(Float32, "/speed", sent)
    (sentence,) = mismatches(nodes, spin_until)
    assert sentence.startswith("/speed: the quality of service with which /theirs sends it") and reason in sentence
    assert "nothing will arrive" in sentence and "image_reliability" in sentence


def test_a_listener_that_asks_for_too_much_is_named(nodes, spin_until):
    ours, theirs = nodes
    ours.create_publisher(Float32, "/speed", BEST_EFFORT)
    theirs.create_subscription(Float32, "/speed", lambda message: None, PLAIN)
    (sentence,) = mismatches(nodes, spin_until)
    assert "/theirs listens to it" in sentence


def test_ends_that_match_and_a_nodes_own_are_not_mentioned(nodes, spin_until):
    ours, theirs = nodes
    ours.create_subscription(Float32, "/speed", lambda message: None, BEST_EFFORT)
    theirs.create_publisher(Float32, "/speed", PLAIN)
    theirs.create_publisher(Float32, "/speed", BEST_EFFORT)
    theirs.create_subscription(Float32, "/speed", lambda message: None, PLAIN)  # their own affair
    assert mismatches(nodes, spin_until) == []


class Lean(WithoutEvents, Node):
    """A node of ours."""


class LeanLifecycle(WithoutEvents, LifecycleNode):
    """A lifecycle node of ours."""


@pytest.mark.parametrize("kind", [Lean, LeanLifecycle])
def test_endpoints_have_no_event_handlers(ros_context, kind):
    node = kind("lean", context=ros_context)
    try:
        ends = [node.create_publisher(Float32, "a", 1), node.create_subscription(Float32, "b", lambda message: None, 1)]
        if kind is LeanLifecycle:
            ends.append(node.create_lifecycle_publisher(Float32, "c", 1, **NO_EVENTS))
        ends += [*node.publishers, *node.subscriptions]
        assert [end.event_handlers for end in ends] == [[]] * len(ends)
    finally:
        node.destroy_node()
