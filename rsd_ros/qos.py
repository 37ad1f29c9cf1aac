"""Quality of service of every topic, and why. Fast DDS matches ends by these; a wrong one means silence."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


# CARLA's ROS bridge sends all sensors reliable, volatile, depth 10; the embedded world sends the same.
SENSOR_OUT = _profile(10)
# In lock-step a lost image would cost a whole deadline. Camera drivers that send best effort need
# image_reliability:=best_effort, which also matches reliable senders.
IMAGE_RELIABLE = _profile(4)
IMAGE_BEST_EFFORT = _profile(4, reliable=False)
# Sent with each image; any one of them will do, so nothing is lost by a short queue.
CAMERA_INFO = _profile(2)
# Every one counts: the acceleration is differenced from neighbours.
ODOMETRY = _profile(20)
# A route or plan is sent once, perhaps before we start: latched, as carla_waypoint_publisher and the leaderboard do.
LATCHED = _profile(1, latched=True)
# The bridge's vehicle_info and world_info: once, to whoever comes later.
LATCHED_INFO = _profile(10, latched=True)
# High-level command from a user's own node: the newest counts.
COMMAND = _profile(1)
# Actuation: the bridge subscribes with depth 10, the leaderboard with 1. Reliable: a lost command costs a lock-step
# tick 1 s.
CONTROL = _profile(10)
# The plan drives the vehicle: reliable; only the newest is worth following, a short queue bridges a busy control node.
TRAJECTORY = _profile(5)
# For eyes and recorders: reliable so that RViz's defaults match; depth 1, an old picture of the world is worth nothing.
VIEW = _profile(1)
# Health: rare and small, none should be lost.
STATUS = _profile(10)
# /diagnostics as diagnostic_updater and its aggregator use it.
DIAGNOSTICS = _profile(10)
# /clock: CARLA's bridge sends reliable depth 10.
CLOCK = _profile(10)
# /tf by geometry2's own defaults, so that any listener matches.
TF = _profile(100)


def image_profile(reliability: str) -> QoSProfile:
    """Profile of the image subscriptions: `reliable` or `best_effort`."""
    return {"reliable": IMAGE_RELIABLE, "best_effort": IMAGE_BEST_EFFORT}[reliability]
