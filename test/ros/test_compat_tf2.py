"""Frames over time: the same suite for the real tf2_ros and for ours."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

from rsd_ros.compat import tf2_ros, tf_transformations


def transform(parent, child, seconds, xyz=(0.0, 0.0, 0.0), yaw=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(nanoseconds=round(seconds * 1e9)).to_msg()
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = xyz
    turn.x, turn.y, turn.z, turn.w = map(float, tf_transformations.quaternion_from_euler(0.0, 0.0, yaw))
    return message


def pose(message):
    shift, turn = message.transform.translation, message.transform.rotation
    yaw = tf_transformations.euler_from_quaternion([turn.x, turn.y, turn.z, turn.w])[2]
    return np.array([shift.x, shift.y, yaw])


@pytest.fixture
def buffer():
    """A vehicle that drives along x at 10 m/s while it turns by 1 rad/s, with a camera on it."""
    tree = tf2_ros.Buffer()
    for seconds in (1.0, 2.0):
        yaw = seconds - 1.0
        tree.set_transform(transform("map", "base_link", seconds, (10.0 * seconds, 0.0, 0.0), yaw), "test")
    tree.set_transform_static(transform("base_link", "camera", 0.0, (1.0, 0.5, 1.6), math.pi / 2), "test")
    return tree


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9))


def test_a_static_frame_is_known_at_every_time(buffer):
    for seconds in (0.0, 1.5, 99.0):
        found = buffer.lookup_transform("base_link", "camera", at(seconds))
        np.testing.assert_allclose(pose(found), [1.0, 0.5, math.pi / 2], atol=1e-9)


def test_between_two_stamps_position_and_heading_are_interpolated(buffer):
    found = buffer.lookup_transform("map", "base_link", at(1.25))
    np.testing.assert_allclose(pose(found), [12.5, 0.0, 0.25], atol=1e-9)
    assert (found.header.frame_id, found.child_frame_id) == ("map", "base_link")
    assert Time.from_msg(found.header.stamp).nanoseconds == 1_250_000_000


def test_time_zero_asks_for_the_newest(buffer):
    found = buffer.lookup_transform("map", "camera", Time())
    np.testing.assert_allclose(pose(found)[2], 1.0 + math.pi / 2, atol=1e-9)
    assert Time.from_msg(found.header.stamp).nanoseconds == 2_000_000_000


def test_a_lookup_against_the_arrows_is_the_inverse(buffer):
    forward = pose(buffer.lookup_transform("map", "camera", at(1.0)))
    backward = pose(buffer.lookup_transform("camera", "map", at(1.0)))
    np.testing.assert_allclose(backward[2], -forward[2], atol=1e-9)
    rotation = tf_transformations.euler_matrix(0, 0, backward[2])[:2, :2]
    np.testing.assert_allclose(backward[:2], -rotation @ forward[:2], atol=1e-9)


def test_siblings_meet_in_their_parent(buffer):
    buffer.set_transform_static(transform("base_link", "lidar", 0.0, (-0.4, 0.0, 1.8)), "test")
    np.testing.assert_allclose(
        pose(buffer.lookup_transform("lidar", "camera", Time())), [1.4, 0.5, math.pi / 2], atol=1e-9
    )


@pytest.mark.parametrize(
    ("target", "source", "seconds", "problem"),
    [
        ("map", "nowhere", 0.0, tf2_ros.LookupException),
        ("map", "island_top", 0.0, tf2_ros.ConnectivityException),
        ("map", "base_link", 2.5, tf2_ros.ExtrapolationException),
        ("map", "base_link", 0.5, tf2_ros.ExtrapolationException),
    ],
)
def test_what_cannot_be_answered_is_refused(buffer, target, source, seconds, problem):
    buffer.set_transform_static(transform("island", "island_top", 0.0), "test")
    with pytest.raises(problem):
        buffer.lookup_transform(target, source, at(seconds))
    assert issubclass(problem, tf2_ros.TransformException)
    assert not buffer.can_transform(target, source, at(seconds))


def test_what_is_older_than_the_cache_is_forgotten():
    tree = tf2_ros.Buffer(cache_time=Duration(seconds=5.0))
    for seconds in range(1, 21):
        tree.set_transform(transform("map", "base_link", float(seconds)), "test")
    assert tree.can_transform("map", "base_link", at(16.5))
    assert not tree.can_transform("map", "base_link", at(10.0))


def test_a_transform_of_nan_is_ignored(buffer):
    buffer.set_transform(transform("map", "base_link", 3.0, (float("nan"), 0.0, 0.0)), "test")
    assert not buffer.can_transform("map", "base_link", at(3.0))


def test_broadcasts_reach_a_listener_that_comes_later(ros_context, spin_until):
    import rclpy

    sender, receiver = (rclpy.create_node(name, context=ros_context) for name in ("sender", "receiver"))
    static = tf2_ros.StaticTransformBroadcaster(sender)
    static.sendTransform(transform("base_link", "camera", 0.0, (1.0, 0.0, 0.0)))
    static.sendTransform([transform("base_link", "lidar", 0.0, (2.0, 0.0, 0.0))])
    tree = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(tree, receiver)
    moving = tf2_ros.TransformBroadcaster(sender)
    timer = sender.create_timer(0.05, lambda: moving.sendTransform(transform("map", "base_link", 1.0)))
    frames = ("camera", "lidar")
    arrived = spin_until([sender, receiver], lambda: all(tree.can_transform("map", f, Time()) for f in frames))
    timer.cancel()
    del listener
    for node in (sender, receiver):
        node.destroy_node()
    assert arrived
