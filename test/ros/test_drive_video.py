"""Video and report of recorded drives, whole and poor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from drive_samples import IMAGES, trajectory, write_recording

from rsd_ros.drive_log import DriveLog, Moment, read_drive
from rsd_ros.drive_report import drive_metrics, stage_milliseconds, write_report
from rsd_ros.drive_video import DriveVideo, mosaic_order, write_video

EVERYTHING_BUT_PLANS = ("objects", "/rsd/planner/risk", "markers", "status", "odometry", "camera_info", "control")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DriveLog:
    return read_drive(write_recording(tmp_path_factory.mktemp("whole") / "drive.mcap"))


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> DriveLog:
    """Plans and one camera."""
    path = tmp_path_factory.mktemp("poor") / "drive.mcap"
    return read_drive(write_recording(path, without=(*EVERYTHING_BUT_PLANS, *IMAGES[1:], "events", "waypoints")))


@pytest.mark.parametrize("kind", ["whole", "poor"])
def test_the_video_shows_each_moment_at_its_time(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    log = request.getfixturevalue(kind)
    pictures = []
    write_video(log, tmp_path / "drive.mp4", lambda: pictures.append(1))
    with av.open(str(tmp_path / "drive.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
        assert (video.streams.video[0].width, video.streams.video[0].height) == DriveVideo(log).size
    assert len(pictures) == 5
    np.testing.assert_allclose(times, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=0.002)


def test_uneven_stamps_keep_their_distance_in_the_video(whole: DriveLog, tmp_path: Path) -> None:
    log = replace(whole, moments=[whole.moments[0], whole.moments[1], whole.moments[4]])
    write_video(log, tmp_path / "drive.mp4")
    with av.open(str(tmp_path / "drive.mp4")) as video:
        np.testing.assert_allclose([f.time for f in video.decode(video=0)], [0.0, 0.1, 0.4, 0.5], atol=0.002)


def test_stops_between_images_do_not_flicker_but_a_long_silence_shows(whole: DriveLog) -> None:
    first = whole.moments[0]
    stops = [Moment(first.stamp + s, trajectory=trajectory(1, "no images")) for s in (0.02, 0.04, 0.9)]
    log = replace(whole, moments=[first, *stops])
    assert [round(seconds, 2) for seconds, _ in DriveVideo(log).frames()] == [0.0, 0.9]


def test_the_newest_moment_can_be_asked_for_from_the_end(whole: DriveLog) -> None:
    video = DriveVideo(whole)
    np.testing.assert_array_equal(video.frame(-1), video.frame(len(whole.moments) - 1))


def test_a_damaged_picture_does_not_end_the_video(whole: DriveLog) -> None:
    damaged = replace(whole.moments[0], images=dict.fromkeys(whole.moments[0].images, b"\xff\xd8"))
    assert DriveVideo(replace(whole, moments=[damaged])).frame(0).any()


def test_cameras_are_laid_out_as_they_look() -> None:
    names = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
    assert [n[4:] for n in mosaic_order(names)][:3] == ["FRONT_LEFT", "FRONT", "FRONT_RIGHT"]
    assert mosaic_order(["left_eye", "right_eye"]) == ["left_eye", "right_eye"]


def test_metrics_sum_the_drive_up(whole: DriveLog) -> None:
    metrics = drive_metrics(whole, {"passed": True})
    assert metrics["plans"] == 5
    assert metrics["mean_speed"] == pytest.approx(5.0)
    assert metrics["max_risk"] == pytest.approx(0.9)
    assert metrics["milliseconds"]["network"]["median"] == pytest.approx(40.0)
    assert metrics["world"]["outcome"] == "completed"
    json.dumps(metrics, allow_nan=False)


def test_metrics_of_a_poor_recording_are_valid_json(poor: DriveLog) -> None:
    metrics = drive_metrics(poor, {})
    assert metrics["mean_speed"] is None
    assert metrics["milliseconds"] == {}
    json.dumps(metrics, allow_nan=False)


def test_a_stop_says_nothing_about_the_planners_speed(whole: DriveLog) -> None:
    whole.moments[2].status.total_milliseconds = 0.0
    total = stage_milliseconds(whole)["total"]
    whole.moments[2].status.total_milliseconds = 50.0
    assert np.isnan(total[2])
    assert np.nanmedian(total) == pytest.approx(50.0)


def test_the_report_needs_no_other_file(whole: DriveLog, tmp_path: Path) -> None:
    write_report(whole, drive_metrics(whole, {"passed": True}), tmp_path / "report.html", "drive.mp4")
    page = (tmp_path / "report.html").read_text()
    assert "completed, passed" in page
    assert page.count("data:image/svg+xml") == 2
    assert "data:image/jpeg" in page
    assert 'src="http' not in page


def test_the_report_of_a_broken_drive_says_what_broke(poor: DriveLog, tmp_path: Path) -> None:
    log = replace(poor, damage="EndOfFile: cut <short>")
    metrics = drive_metrics(log, {"passed": False, "problem": "planner was killed by SIGKILL", "world": {}})
    write_report(log, metrics, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "planner was killed by SIGKILL" in page
    assert "cut &lt;short&gt;" in page
    assert "holds no planner status" in page
