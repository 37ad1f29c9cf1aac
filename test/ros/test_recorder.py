"""The recorder over real DDS: what it writes of a drive, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from drive_samples import PLANNER, RIG, SECOND, VEHICLE, closing_event, route, tick
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from rsd_ros import qos
from rsd_ros.conversions import image_message, ns_to_stamp
from rsd_ros.drive_log import read_drive
from rsd_ros.mcap_file import recorder_profile
from rsd_ros.message_definitions import message_definition
from rsd_ros.recorder_node import TOPICS, RecorderNode

TICKS = 3


class Sender(Node):
    """Sends ticks as world and planner do."""

    def __init__(self, context: object) -> None:
        super().__init__("sender", context=context)
        self._publishers_of: dict[str, object] = {}

    def announce(self, topic: str, message: object, latched: bool = False) -> None:
        if topic not in self._publishers_of:
            self._publishers_of[topic] = self.create_publisher(type(message), topic, recorder_profile(latched))

    def send(self, topic: str, message: object, latched: bool = False) -> None:
        self.announce(topic, message, latched)
        self._publishers_of[topic].publish(message)

    def heard(self) -> bool:
        """Whether somebody listens to every topic."""
        return all(publisher.get_subscription_count() for publisher in self._publishers_of.values())


def messages(stamp: int) -> dict[str, object]:
    """Topic -> message of a tick as it is sent: with raw images, and the clock first."""
    images = {
        f"{VEHICLE}/{name}/image": image_message(
            np.full((45, 80, 3), 40 * i, np.uint8), ns_to_stamp(stamp), f"ego_vehicle/{name}"
        )
        for i, name in enumerate(RIG.names)
    }
    others = {topic: message for topic, message in tick(stamp).items() if not topic.endswith("/compressed")}
    return {"/clock": Clock(clock=ns_to_stamp(stamp))} | others | images


@pytest.fixture
def recorder(ros_context: object, tmp_path: Path) -> RecorderNode:
    overrides = [Parameter("output", value=str(tmp_path / "drive.mcap")), Parameter("use_sim_time", value=True)]
    return RecorderNode(context=ros_context, parameter_overrides=overrides)


@pytest.fixture
def recording(ros_context: object, recorder: RecorderNode, spin_until: Callable, tmp_path: Path) -> Path:
    """Two latched messages before the clock runs, then ticks at 1.0 s, 1.1 s, ..."""
    sender = Sender(ros_context)
    sender.send(f"{VEHICLE}/waypoints", route(), latched=True)
    sender.send("/rsd/world/events", closing_event(), latched=True)
    for topic, message in messages(0).items():
        sender.announce(topic, message)
    assert spin_until([sender, recorder], lambda: sender.heard() and recorder.written == 2, 30.0)
    for number in range(TICKS):
        for topic, message in messages(SECOND + number * SECOND // 10).items():
            sender.send(topic, message)
        enough = 2 + (number + 1) * len(messages(0))
        assert spin_until([sender, recorder], lambda enough=enough: recorder.written == enough, 30.0)
    recorder.destroy_node()
    sender.destroy_node()
    return tmp_path / "drive.mcap"


def test_a_drive_is_recorded_whole(recording: Path) -> None:
    log = read_drive(recording)
    moments = log.moments
    assert [m.stamp for m in moments] == pytest.approx([1.0, 1.1, 1.2])
    assert all(set(m.images) == set(RIG.names) for m in moments)
    assert all(None not in (m.objects, m.risk, m.markers, m.status, m.odometry, m.control) for m in moments)
    assert set(log.rig.names) == set(RIG.names)
    assert len(log.route) == len(route().poses)
    assert log.events == [closing_event().data]

    with recording.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        channels = {c.topic: c for c in reader.get_summary().channels.values()}
        decoded = list(reader.iter_decoded_messages())
    assert {f"{VEHICLE}/{name}/image/compressed" for name in RIG.names} <= set(channels)
    assert {"/clock", "/tf", f"{PLANNER}/trajectory", f"{VEHICLE}/odometry"} <= set(channels)
    offer = yaml.safe_load(channels[f"{VEHICLE}/waypoints"].metadata["offered_qos_profiles"])[0]
    assert offer["durability"] == "transient_local"
    times = [message.log_time for _, _, message, _ in decoded]
    assert times == sorted(times)
    assert min(times) >= SECOND  # nothing lies before the clock


def test_best_effort_cameras_are_recorded_too(
    ros_context: object, recorder: RecorderNode, spin_until: Callable, tmp_path: Path
) -> None:
    sender = Node("camera", context=ros_context)
    clock = sender.create_publisher(Clock, "/clock", qos.CLOCK)
    camera = sender.create_publisher(Image, f"{VEHICLE}/CAM_FRONT/image", qos.IMAGE_BEST_EFFORT)
    picture = image_message(np.zeros((45, 80, 3), np.uint8), ns_to_stamp(SECOND), "ego_vehicle/CAM_FRONT")

    def arrived() -> bool:
        clock.publish(Clock(clock=ns_to_stamp(SECOND)))
        camera.publish(picture)
        return bool(recorder.newest_images)

    assert spin_until([sender, recorder], arrived, 30.0)
    recorder.destroy_node()
    sender.destroy_node()


def test_an_image_that_cannot_be_read_is_left_out_and_recording_goes_on(
    ros_context: object, recorder: RecorderNode, spin_until: Callable, tmp_path: Path
) -> None:
    sender = Sender(ros_context)
    topic = f"{VEHICLE}/CAM_FRONT/image"
    sender.send(topic, Image(encoding="yuv_of_tomorrow", width=4, height=4, data=bytes(48)))
    assert spin_until([sender, recorder], sender.heard, 30.0)
    sender.send(topic, Image(encoding="yuv_of_tomorrow", width=4, height=4, data=bytes(48)))
    sender.send("/rsd/world/events", String(data="{}"), latched=True)
    assert spin_until([sender, recorder], lambda: recorder.written >= 1, 30.0)
    assert not recorder.newest_images
    recorder.destroy_node()
    sender.destroy_node()


@pytest.mark.parametrize(
    "name", ["rsd/msg/PlannedTrajectory", "visualization_msgs/msg/MarkerArray", "carla_msgs/msg/CarlaEgoVehicleControl"]
)
def test_a_definition_holds_all_nested_types_once(name: str) -> None:
    parts = message_definition(name).split("=" * 80 + "\n")
    nested = [part.splitlines()[0] for part in parts[1:]]
    assert len(nested) == len(set(nested))
    assert "MSG: std_msgs/Header" in nested
    assert "MSG: builtin_interfaces/Time" in nested


def test_every_topic_that_is_known_as_latched_is_sent_latched() -> None:
    assert {topic for topic, latched in TOPICS.items() if latched} == {
        "/tf_static", "/rsd/world/events", f"{VEHICLE}/waypoints", f"{VEHICLE}/global_plan", f"{VEHICLE}/vehicle_info",
        "/carla/world_info",
    }  # fmt: skip
