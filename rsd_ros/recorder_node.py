"""Node `/rsd/recorder`: writes our topics as they come and the camera images as JPEG into one MCAP file."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import rclpy
from mcap.writer import CompressionType, Writer
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from rsd_ros.compat.rosidl_runtime_py import get_message
from rsd_ros.conversions import decode_image, image_size
from rsd_ros.message_definitions import message_definition
from rsd_ros.parameters import Parameter, declare, read

PARAMETERS = (
    Parameter("output", "drive.mcap", "file to write; it is replaced"),
    Parameter("cameras_only", [""], "image topics to record; empty: every Image topic below image_namespace"),
    Parameter("image_namespace", "/carla/ego_vehicle", "where the camera topics lie"),
    Parameter("jpeg_quality", 80, "quality of the recorded images", 1, 100),
    Parameter("topics", [""], "further topics to record"),
)
# topic -> latched; everything the planner, the controller and the world say
TOPICS = {
    "/clock": False, "/tf": False, "/tf_static": True, "/diagnostics": False,
    "/rsd/planner/trajectory": False, "/rsd/planner/path": False, "/rsd/planner/risk_grid": False,
    "/rsd/planner/risk": False, "/rsd/planner/objects": False, "/rsd/planner/markers": False,
    "/rsd/planner/status": False, "/rsd/world/events": True,
    "/carla/ego_vehicle/odometry": False, "/carla/ego_vehicle/waypoints": True, "/carla/ego_vehicle/speedometer": False,
    "/carla/ego_vehicle/vehicle_control_cmd": False, "/carla/ego_vehicle/vehicle_status": False, "/carla/status": False,
}  # fmt: skip
DISCOVERY_PERIOD = 0.5  # s


def recorder_profile(latched: bool) -> QoSProfile:
    """Reliable with a deep queue: a recorder may lag for a moment but should lose nothing."""
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=durability
    )


class McapFile:
    """An MCAP file of ROS 2 messages; schemas and channels are registered as topics appear."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = Writer(self._file, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="rsd")
        self._channels: dict[str, int] = {}

    def write(self, topic: str, type_name: str, data: bytes, stamp_ns: int) -> None:
        """Append one serialized message."""
        if topic not in self._channels:
            schema = self._writer.register_schema(type_name, "ros2msg", message_definition(type_name).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        self._writer.add_message(self._channels[topic], stamp_ns, data, stamp_ns)

    def close(self) -> None:
        """Write the index; without it readers have to scan."""
        self._writer.finish()
        self._file.close()


class RecorderNode(Node):
    """Subscribes to topics as they appear and writes each message with the time of the clock (simulated or real)."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("recorder", namespace="rsd", **kwargs)
        declare(self, PARAMETERS)
        self._settings = read(self, PARAMETERS)
        self._file = McapFile(Path(self._settings.output))
        self._wanted = dict(TOPICS) | {t: False for t in self._settings.topics if t}
        self._subscribed: set[str] = set()
        self.newest_images: dict[str, bytes] = {}  # camera -> JPEG
        self._discover()
        # discovery goes by wall time: on simulated time nothing would be found before the first tick
        self.create_timer(DISCOVERY_PERIOD, self._discover, clock=rclpy.clock.Clock())

    def _discover(self) -> None:
        cameras = [t for t in self._settings.cameras_only if t]
        for topic, types in self.get_topic_names_and_types():
            if topic in self._subscribed or len(types) != 1:
                continue
            if topic in self._wanted:
                self._record(topic, types[0], self._wanted[topic])
            elif types[0] == "sensor_msgs/msg/Image" and (
                topic in cameras or (not cameras and topic.startswith(self._settings.image_namespace))
            ):
                self._record_image(topic)
            elif types[0] == "sensor_msgs/msg/CameraInfo" and topic.startswith(self._settings.image_namespace):
                self._record(topic, types[0], False)

    def _record(self, topic: str, type_name: str, latched: bool) -> None:
        self._subscribed.add(topic)

        def write(data: bytes) -> None:
            self._file.write(topic, type_name, data, self._now())

        self.create_subscription(get_message(type_name), topic, write, recorder_profile(latched), raw=True)

    def _record_image(self, topic: str) -> None:
        self._subscribed.add(topic)

        def write(message: Image) -> None:
            compressed = self._compress(message, topic)
            self._file.write(
                f"{topic}/compressed", "sensor_msgs/msg/CompressedImage", serialize_message(compressed), self._now()
            )
            self.newest_images[topic.split("/")[-2]] = bytes(compressed.data)

        self.create_subscription(Image, topic, write, recorder_profile(False))

    def _compress(self, message: Image, topic: str) -> CompressedImage:
        bgr = cv2.cvtColor(decode_image(message, topic, image_size(message)), cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality]
        out = CompressedImage(header=message.header, format="jpeg")
        out.data.frombytes(cv2.imencode(".jpg", bgr, options)[1].tobytes())
        return out

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def destroy_node(self) -> None:
        """Close the file, then the node."""
        self._file.close()
        super().destroy_node()


def main() -> None:
    """Run until interrupted."""
    rclpy.init(args=sys.argv)
    node = RecorderNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()


if __name__ == "__main__":
    main()
