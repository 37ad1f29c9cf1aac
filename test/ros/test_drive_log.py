"""Reading recorded drives: whole, poor and damaged ones; and the file as other tools see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from drive_samples import IMAGES, RIG, SECOND, VEHICLE, write_recording
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from rsd_ros.drive_log import DriveLogError, closing_report, decode_bgr, read_drive
from rsd_ros.mcap_file import McapFile, recorder_profile


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recording(tmp_path_factory.mktemp("drive") / "drive.mcap")


def test_every_plan_becomes_a_moment_with_all_that_carries_its_stamp(recording: Path) -> None:
    log = read_drive(recording)
    assert [m.stamp for m in log.moments] == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4])
    first = log.moments[0]
    assert set(first.images) == set(RIG.names)
    assert first.speed == pytest.approx(5.0)
    assert first.top_risk == (pytest.approx(0.9), "car")
    assert None not in (first.risk, first.markers, first.status, first.control)
    assert log.damage == ""


def test_the_rig_is_read_from_camera_infos_and_transforms(recording: Path) -> None:
    rig = read_drive(recording).rig
    order = [rig.names.index(name) for name in RIG.names]
    np.testing.assert_allclose(rig.intrinsics[order], RIG.intrinsics)
    np.testing.assert_allclose(rig.cam_to_base[order], RIG.cam_to_base, atol=1e-6)


def test_the_route_ahead_starts_beside_the_vehicle(recording: Path) -> None:
    log = read_drive(recording)
    ahead = log.route_ahead(log.moments[0])  # the vehicle is at x = 5 m of a route along x
    assert np.abs(ahead[0]).max() <= 1.0
    assert ahead[-1, 0] == pytest.approx(40.0, abs=2.0)
    np.testing.assert_allclose(ahead[:, 1], 0.0, atol=1e-6)


def test_the_last_report_with_an_outcome_counts_and_broken_ones_are_passed_over(recording: Path) -> None:
    log = read_drive(recording)
    assert closing_report(log)["outcome"] == "completed"
    log.events.append("{")
    assert closing_report(log)["outcome"] == "completed"
    log.events.clear()
    assert closing_report(log) == {}


def test_a_recording_that_breaks_off_is_read_up_to_there(recording: Path, tmp_path: Path) -> None:
    whole = recording.read_bytes()
    long = write_recording(tmp_path / "long.mcap", ticks=120).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(long[: int(0.25 * len(long))])
    log = read_drive(cut)
    assert 1 <= len(log.moments) < 120
    assert log.damage
    cut.write_bytes(whole[:-20])  # only the end of the index is lost
    assert len(read_drive(cut).moments) == 5


@pytest.mark.parametrize("data", [b"", b"no mcap at all", b"\x89MCAP0\r\n" + bytes(50)])
def test_what_is_no_recording_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.mcap"
    path.write_bytes(data)
    with pytest.raises(DriveLogError, match=r"other\.mcap"):
        read_drive(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DriveLogError, match=r"none\.mcap"):
        read_drive(tmp_path / "none.mcap")


def test_a_recording_without_plans_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "idle.mcap", without=("trajectory",))
    with pytest.raises(DriveLogError, match="did the planner run"):
        read_drive(path)


def test_without_odometry_and_rig_speed_and_route_are_unknown(tmp_path: Path) -> None:
    log = read_drive(write_recording(tmp_path / "poor.mcap", without=("odometry", "camera_info")))
    assert np.isnan(log.moments[0].speed)
    assert log.rig is None
    assert log.route_ahead(log.moments[0]) is None


def test_a_damaged_picture_is_an_error_of_its_own() -> None:
    for data in (b"", b"\xff\xd8 broken"):
        with pytest.raises(DriveLogError, match=f"{len(data)} bytes"):
            decode_bgr(data)


def test_any_mcap_reader_decodes_the_file(recording: Path) -> None:
    with recording.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        schemas = reader.get_summary().schemas.values()
        assert {schema.encoding for schema in schemas} == {"ros2msg"}
        decoded = list(reader.iter_decoded_messages())
    times = [message.log_time for _, _, message, _ in decoded]
    assert times == sorted(times)
    assert {channel.topic for _, channel, _, _ in decoded} >= {*IMAGES, "/tf", f"{VEHICLE}/waypoints"}


def test_latched_messages_from_before_the_clock_get_its_first_time(recording: Path) -> None:
    with recording.open("rb") as stream:
        times = [m.log_time for _, _, m in make_reader(stream).iter_messages(topics=[f"{VEHICLE}/waypoints"])]
    assert times == [SECOND]


def test_latched_topics_say_so_to_players(recording: Path) -> None:
    with recording.open("rb") as stream:
        channels = make_reader(stream).get_summary().channels.values()
    offers = {c.topic: yaml.safe_load(c.metadata["offered_qos_profiles"])[0] for c in channels}
    assert offers[f"{VEHICLE}/waypoints"]["durability"] == "transient_local"
    assert offers["/rsd/world/events"]["durability"] == "transient_local"
    assert offers["/rsd/planner/trajectory"]["durability"] == "volatile"
    assert {offer["reliability"] for offer in offers.values()} == {"reliable"}


def test_rosbag2_is_told_how_quality_of_service_is_written(recording: Path) -> None:
    with recording.open("rb") as stream:
        (record,) = [r for r in make_reader(stream).iter_metadata() if r.name == "rosbag2"]
    bag = yaml.safe_load(record.metadata["serialized_metadata"])
    assert bag["version"] == 9  # from this on policies are words
    assert bag["storage_identifier"] == "mcap"


def test_log_times_never_run_back_when_the_clock_does(tmp_path: Path) -> None:
    file = McapFile(tmp_path / "jump.mcap")
    file.add_topic("/note", "std_msgs/msg/String", recorder_profile(latched=False))
    for now in (5, 9, 3, 10):
        file.write("/note", b"\x00\x01\x00\x00\x01\x00\x00\x00\x00", now)
    file.close()
    with (tmp_path / "jump.mcap").open("rb") as stream:
        assert [m.log_time for _, _, m in make_reader(stream).iter_messages()] == [5, 9, 9, 10]


def test_an_unknown_message_type_is_refused(tmp_path: Path) -> None:
    file = McapFile(tmp_path / "unknown.mcap")
    with pytest.raises(LookupError):
        file.add_topic("/x", "no_such_package/msg/Thing", recorder_profile(latched=False))
    file.close()
