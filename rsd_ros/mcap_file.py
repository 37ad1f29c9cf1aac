"""An MCAP file of serialized ROS 2 messages that Foxglove, `mcap` readers and `ros2 bag play` open."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mcap.writer import CompressionType, Writer
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from rsd_ros.message_definitions import message_definition

CHUNK = 256 * 1024  # bytes; what a killed recorder loses at most
# As rosbag2 writes it from Jazzy on (`offered_qos_profiles` of a channel): by it the player offers a topic latched.
_QOS = """- history: keep_last
  depth: {depth}
  reliability: {reliability}
  durability: {durability}
  deadline: {forever}
  lifespan: {forever}
  liveliness: automatic
  liveliness_lease_duration: {forever}
  avoid_ros_namespace_conventions: false"""
# By its version rosbag2 knows how QoS is written; the rest it takes from the file's own statistics.
_BAG = """version: 9
storage_identifier: mcap
duration: {nanoseconds: 0}
starting_time: {nanoseconds_since_epoch: 0}
message_count: 0
topics_with_message_count: []
compression_format: ""
compression_mode: ""
relative_file_paths: []
files: []
custom_data: {}
ros_distro: ""
"""
_FOREVER = "{sec: 9223372036, nsec: 854775807}"


def recorder_profile(latched: bool, reliable: bool = True) -> QoSProfile:
    """A deep queue: a recorder may lag for a moment but should lose nothing."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def qos_metadata(profile: QoSProfile) -> str:
    """`offered_qos_profiles` of a topic that is to be played back with this profile."""
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return _QOS.format(
        depth=1 if latched else 10,
        reliability="reliable" if profile.reliability == ReliabilityPolicy.RELIABLE else "best_effort",
        durability="transient_local" if latched else "volatile",
        forever=_FOREVER,
    )


class McapFile:
    """Schemas and channels are registered as topics appear; log times never run back, whatever the clock does.

    Messages from before the clock runs (latched ones, on simulation time) get the time of its first tick.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = Writer(self._file, chunk_size=CHUNK, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="rsd")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._sequence: Counter[str] = Counter()
        self._early: list[tuple[str, bytes]] = []
        self._last = 0  # ns

    def add_topic(self, topic: str, type_name: str, profile: QoSProfile) -> None:
        """Register a topic. Raises LookupError or FileNotFoundError where its type is not installed."""
        if type_name not in self._schemas:
            text = message_definition(type_name).encode()
            self._schemas[type_name] = self._writer.register_schema(type_name, "ros2msg", text)
        metadata = {"offered_qos_profiles": qos_metadata(profile)}
        self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[type_name], metadata)

    def write(self, topic: str, data: bytes, now: int) -> None:
        """Append one serialized message at `now` ns; 0 means that the clock does not run yet."""
        if now <= 0:
            self._early.append((topic, data))
            return
        self._last = max(self._last, now)
        self._write_early()
        self._append(topic, data)

    def _write_early(self) -> None:
        for topic, data in self._early:
            self._append(topic, data)
        self._early.clear()

    def _append(self, topic: str, data: bytes) -> None:
        self._sequence[topic] += 1
        self._writer.add_message(self._channels[topic], self._last, data, self._last, self._sequence[topic])

    def close(self) -> None:
        """Write the index; without it readers have to scan. Raises OSError where the disk is full."""
        with self._file:
            self._write_early()
            self._writer.add_metadata("rosbag2", {"serialized_metadata": _BAG})
            self._writer.finish()
