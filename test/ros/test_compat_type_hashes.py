"""Peers with another definition of a message are found and named."""

import os
import re
import shutil

from ackermann_msgs.msg import AckermannDrive
from carla_msgs.msg import CarlaSpeedometer
from rclpy.qos import QoSProfile
from std_msgs.msg import Float32

from rsd_ros.build_messages import build_one, source_folder
from rsd_ros.compat.type_hashes import type_mismatches

PEER = """
import rclpy
from {package}.msg import {name}
rclpy.init()
node = rclpy.create_node("peer")
publisher = node.create_publisher({name}, "{topic}", 10)
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    pass
"""


def named_mismatches(node, topic, spin_until):
    """What is found once the peer's name is known."""
    spin_until([node], lambda: "/peer" in " ".join(type_mismatches(node, [topic])), seconds=120)
    return type_mismatches(node, [topic])


def test_peers_with_the_same_definition_are_not_mentioned(nodes, spin_until):
    ours, theirs = nodes
    ours.create_subscription(Float32, "/speed", lambda message: None, 10)
    theirs.create_publisher(Float32, "/speed", QoSProfile(depth=1))
    assert spin_until(nodes, lambda: ours.count_publishers("/speed"))
    assert type_mismatches(ours, ["/speed", "/not_used"]) == []


def test_a_peer_with_another_type_on_the_topic_is_named(nodes, spin_until, start_process):
    ours, _ = nodes
    ours.create_subscription(CarlaSpeedometer, "speed", lambda message: None, 10)
    start_process("-c", PEER.format(package="std_msgs", name="Float32", topic="/speed"))
    (sentence,) = named_mismatches(ours, "speed", spin_until)
    assert sentence.startswith("/speed: /peer uses std_msgs/msg/Float32, this node carla_msgs/msg/CarlaSpeedometer")


def test_a_peer_built_from_another_definition_is_named(nodes, spin_until, start_process, tmp_path):
    """DDS itself connects the two and says nothing: the peer's package has one field renamed."""
    changed = shutil.copytree(source_folder("ackermann_msgs"), tmp_path / "ackermann_msgs")
    definition = changed / "msg" / "AckermannDrive.msg"
    definition.write_text(re.sub(r"\bspeed\b", "velocity", definition.read_text(), count=1))
    prefix = tmp_path / "prefix"
    build_one(changed, tmp_path / "build", prefix)
    (packages,) = prefix.glob("lib/python*/site-packages")
    libraries = f"{prefix / 'lib'}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"

    ours, _ = nodes
    ours.create_subscription(AckermannDrive, "/drive", lambda message: None, 10)
    start_process(
        "-c", PEER.format(package="ackermann_msgs", name="AckermannDrive", topic="/drive"),
        env={"PYTHONPATH": str(packages), "LD_LIBRARY_PATH": libraries},
    )  # fmt: skip
    (sentence,) = named_mismatches(ours, "/drive", spin_until)
    assert sentence.startswith("/drive: /peer was built with another definition of ackermann_msgs/msg/AckermannDrive")
    assert sentence.count("RIHS01_") == 2


def test_a_peer_without_a_hash_is_accepted(nodes, spin_until, monkeypatch):
    from rclpy.type_hash import TypeHash

    ours, theirs = nodes
    ours.create_subscription(Float32, "/speed", lambda message: None, 10)
    theirs.create_publisher(Float32, "/speed", 10)
    assert spin_until(nodes, lambda: ours.get_publishers_info_by_topic("/speed"))
    infos = ours.get_publishers_info_by_topic("/speed")
    infos[0].topic_type_hash = TypeHash()
    monkeypatch.setattr(ours, "get_publishers_info_by_topic", lambda topic: infos)
    assert type_mismatches(ours, ["/speed"]) == []
