"""Node `/rsd/recorder`: writes our topics as they come and the camera images as JPEG into one MCAP file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from rsd_ros.compat.rosidl_runtime_py import get_message
from rsd_ros.conversions import InvalidInput, decode_image, image_size
from rsd_ros.mcap_file import McapFile, recorder_profile
from rsd_ros.parameters import Parameter, declare, read
from rsd_ros.program import run_node
from rsd_ros.without_events import WithoutEvents

PARAMETERS = (
    Parameter("output", "drive.mcap", "file to write; it is replaced"),
    Parameter("cameras_only", [""], "image topics to record; empty: every Image topic below image_namespace"),
    Parameter("image_namespace", "/carla/ego_vehicle", "where the camera topics lie"),
    Parameter("jpeg_quality", 80, "quality of the recorded images", 1, 100),
    Parameter("topics", [""], "further topics to record, beside what planner, control and world send"),
)
# topic -> latched; everything the planner, the controller and the world say
TOPICS = {
    "/clock": False, "/tf": False, "/tf_static": True, "/diagnostics": False,
    "/rsd/planner/trajectory": False, "/rsd/planner/path": False, "/rsd/planner/risk_grid": False,
    "/rsd/planner/risk": False, "/rsd/planner/objects": False, "/rsd/planner/markers": False,
    "/rsd/planner/status": False, "/rsd/world/events": True,
    "/carla/ego_vehicle/odometry": False, "/carla/ego_vehicle/waypoints": True, "/carla/ego_vehicle/speedometer": False,
    "/carla/ego_vehicle/vehicle_control_cmd": False, "/carla/ego_vehicle/vehicle_status": False, "/carla/status": False,
    "/carla/ego_vehicle/global_plan": True, "/carla/ego_vehicle/vehicle_info": True, "/carla/world_info": True,
}  # fmt: skip
DISCOVERY_PERIOD = 0.2  # s
IMAGE, COMPRESSED_IMAGE, CAMERA_INFO = (
    "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
)  # fmt: skip


class RecorderNode(WithoutEvents, Node):
    """Subscribes to topics as they appear and writes each message with the time of the clock (simulated or real)."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("recorder", namespace="rsd", **kwargs)
        declare(self, PARAMETERS)
        self._settings = read(self, PARAMETERS)
        self._file = McapFile(Path(self._settings.output))
        self._wanted = dict(TOPICS) | {t: False for t in self._settings.topics if t}
        self._seen: set[str] = set()
        self.newest_images: dict[str, bytes] = {}  # camera -> JPEG
        self.written = 0  # messages
        self._discover()
        # discovery goes by wall time: on simulated time nothing would be found before the first tick
        self.create_timer(DISCOVERY_PERIOD, self._discover, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _discover(self) -> None:
        for topic, types in self.get_topic_names_and_types():
            if topic in self._seen or len(types) != 1 or not self._is_wanted(topic, types[0]):
                continue
            self._seen.add(topic)
            try:
                self._record_image(topic) if types[0] == IMAGE else self._record(topic, types[0])
            except (LookupError, OSError, ValueError) as problem:
                self.get_logger().error(f"{topic} is not recorded, its type {types[0]} is not installed: {problem}")

    def _is_wanted(self, topic: str, type_name: str) -> bool:
        cameras = [t for t in self._settings.cameras_only if t]
        below = topic.startswith(self._settings.image_namespace + "/")
        if type_name == IMAGE:
            return topic in cameras if cameras else below
        return topic in self._wanted or (type_name == CAMERA_INFO and below)

    def _profile(self, topic: str) -> QoSProfile:
        """What its publishers offer; where none is up yet, what this topic usually has."""
        offers = [publisher.qos_profile for publisher in self.get_publishers_info_by_topic(topic)]
        if not offers:
            return recorder_profile(self._wanted.get(topic, False))
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        return recorder_profile(latched, all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers))

    def _record(self, topic: str, type_name: str) -> None:
        profile = self._profile(topic)
        self._file.add_topic(topic, type_name, profile)

        def write(data: bytes) -> None:
            self._write(topic, data)

        self._listen(get_message(type_name), topic, write, profile, raw=True)

    def _record_image(self, topic: str) -> None:
        profile, written = self._profile(topic), f"{topic}/compressed"
        self._file.add_topic(written, COMPRESSED_IMAGE, profile)

        def write(message: Image) -> None:
            try:
                compressed = self._compress(message, topic)
            except InvalidInput as problem:
                self.get_logger().error(f"not recorded: {problem}", throttle_duration_sec=5.0)
                return
            self._write(written, serialize_message(compressed))
            self.newest_images[topic.split("/")[-2]] = bytes(compressed.data)

        self._listen(Image, topic, write, profile)

    def _listen(self, kind: type, topic: str, write: Callable[..., None], profile: QoSProfile, **options: bool) -> None:
        # Where a publisher is up, the profile is its own; where none is, it is a guess, and a mismatch must be told.
        guessed = self.count_publishers(topic) == 0
        events = SubscriptionEventCallbacks(use_default_callbacks=guessed)
        self.create_subscription(kind, topic, write, profile, event_callbacks=events, **options)

    def _compress(self, message: Image, topic: str) -> CompressedImage:
        bgr = cv2.cvtColor(decode_image(message, topic, image_size(message)), cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality]
        out = CompressedImage(header=message.header, format="jpeg")
        out.data.frombytes(cv2.imencode(".jpg", bgr, options)[1].tobytes())
        return out

    def _write(self, topic: str, data: bytes) -> None:
        self._file.write(topic, data, self.get_clock().now().nanoseconds)
        self.written += 1

    def destroy_node(self) -> None:
        """Close the file, then the node."""
        try:
            self._file.close()
        finally:
            super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Record until told to end."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
