"""A plan as messages: pure functions, no graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from rsd_model.contracts import Command, DetectedObjects, EgoState, MapElements, PlannerOutput, RiskGrid
from rsd_model.geometry import bench2drive_rig, pose_matrix
from rsd_ros.calibration import Calibration
from rsd_ros.conversions import InvalidInput, ns_to_stamp, odometry_message
from rsd_ros.ego_history import EgoHistory
from rsd_ros.markers import marker_array, risk_color
from rsd_ros.plan_messages import (
    check_output,
    headings_of,
    objects_message,
    occupancy_message,
    path_message,
    risk_message,
    stop_message,
    trajectory_message,
    trajectory_points,
)

HEADER = Header(stamp=ns_to_stamp(1_500_000_000), frame_id="ego_vehicle")
LEFT = np.stack([3.0 * np.arange(1, 7), 0.2 * np.arange(1, 7) ** 2], axis=1)


def objects(count: int) -> DetectedObjects:
    boxes = np.tile([10.0, 1.0, 0.8, 4.5, 1.9, 1.6, 0.2], (count, 1))
    return DetectedObjects(
        boxes, np.ones((count, 2)), np.arange(count) % 9, np.linspace(0.9, 0.1, count), np.linspace(0.0, 1.0, count),
        np.ones((count, 6, 6, 2)), np.full((count, 6), 1.0 / 6.0),
    )  # fmt: skip


def plan(count: int = 5) -> PlannerOutput:
    elements = MapElements(np.ones((2, 4, 2)), np.array([0, 4]), np.array([0.9, 0.1]))
    grid = RiskGrid(np.array([[0.0, 0.5, np.nan], [1.0, 0.004, 2.0]], np.float32), 0.5, (-15.0, -30.0))
    return PlannerOutput(1.5, Command.LEFT, LEFT, np.tile(LEFT, (6, 1, 1)), objects(count), elements, grid, 5.0 / 6.0)


def test_a_trajectory_survives_its_message():
    message = trajectory_message(plan(), LEFT, HEADER)
    np.testing.assert_allclose(trajectory_points(message), LEFT)
    assert (message.command, message.step, message.is_stop) == (0, 0.5, False)
    assert message.valid_share == pytest.approx(5.0 / 6.0)
    assert message.header == HEADER
    headings = [2.0 * np.arctan2(p.orientation.z, p.orientation.w) for p in message.poses]
    np.testing.assert_allclose(headings, headings_of(LEFT))


def test_a_stop_holds_its_heading_where_it_stands_and_says_why():
    stopped = np.array([[1.0, 1.0]] * 6)
    message = stop_message(stopped, Command.RIGHT, "no images", HEADER)
    assert (message.is_stop, message.stop_reason, len(message.candidates)) == (True, "no images", 0)
    np.testing.assert_allclose(headings_of(stopped), np.pi / 4.0)
    assert message.velocities[-1].x == 0.0


@pytest.mark.parametrize("bad", [np.full((6, 2), np.nan), np.full((6, 2), 1e6)])
def test_a_trajectory_that_cannot_be_driven_is_not_let_out(bad: np.ndarray):
    with pytest.raises(InvalidInput, match="not finite or beyond"):
        check_output(replace(plan(), trajectory=bad))


def test_risk_in_per_cent_is_clipped_and_unknown_is_minus_one_while_the_float_grid_keeps_it():
    grid = plan().risk_grid
    message = occupancy_message(grid, HEADER)
    assert list(message.data) == [0, 50, -1, 100, 0, 100]
    assert (message.info.width, message.info.height) == (3, 2)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-15.0, -30.0)
    np.testing.assert_array_equal(np.array(risk_message(grid, HEADER).data).reshape(2, 3), grid.values)


def test_objects_below_the_score_or_not_finite_stay_out():
    detected = objects(9)
    detected.boxes[0, 2] = np.nan
    message = objects_message(detected, 0.45, HEADER)
    assert [thing.id for thing in message.objects] == [1, 2, 3, 4]
    assert message.objects[0].class_name == "van"
    assert len(message.objects[0].futures[5].positions) == 6


def test_markers_clear_the_last_plan_colour_by_risk_and_name_the_top_risk():
    markers = marker_array(plan(), LEFT, 0.25, HEADER).markers
    assert markers[0].action == Marker.DELETEALL
    boxes = [marker for marker in markers if marker.ns == "objects"]
    assert len(boxes) == 4
    assert boxes[0].color.g > boxes[0].color.r
    assert boxes[-1].color.r > boxes[-1].color.g
    text = next(marker for marker in markers if marker.ns == "top_risk")
    assert text.text == "bicycle: risk 0.75"
    assert len({(marker.ns, marker.id) for marker in markers[1:]}) == len(markers) - 1
    assert not next(marker for marker in markers if marker.ns == "map/TrafficLight").points


def test_a_plan_without_objects_has_its_markers_and_no_text():
    markers = marker_array(plan(0), LEFT, 0.3, HEADER).markers
    assert not [marker for marker in markers if marker.ns in ("objects", "top_risk")]
    assert len(path_message(LEFT, HEADER).poses) == 7


@given(st.floats(-1.0, 2.0))
def test_every_risk_has_a_colour(risk: float):
    assert all(0.0 <= channel <= 1.0 for channel in risk_color(risk))


def odometry(seconds: float, x: float, speed: float = 10.0) -> Odometry:
    ego = EgoState(seconds, pose_matrix(np.array([x, 0.0, 0.0]), 0.0), np.array([speed, 0.0, 0.0]), np.zeros(3), 0.0)
    return odometry_message(ego, ns_to_stamp(round(seconds * 1e9)), "map", "ego_vehicle")


def test_the_ego_at_the_images_instant_is_exact_carried_on_or_refused():
    history = EgoHistory(timeout=0.3)
    with pytest.raises(InvalidInput, match="waiting for odometry"):
        history.at(0)
    for k in range(5):
        history.add(odometry(1.0 + 0.1 * k, 1.0 * k))
    assert history.at(1_200_000_000).pose[0, 3] == pytest.approx(2.0)
    assert history.at(1_250_000_000).pose[0, 3] == pytest.approx(2.5)
    assert history.at(1_450_000_000).pose[0, 3] == pytest.approx(4.5)
    with pytest.raises(InvalidInput, match=r"odometry is 0\.60 s away"):
        history.at(2_000_000_000)
    history.add(odometry(1.5, float("nan")))
    assert history.refused == 1
    assert history.has_reached(1_500_000_000)  # nobody waits for it once more
    assert history.at(1_500_000_000).pose[0, 3] == pytest.approx(5.0)
    history.add(odometry(0.1, 7.0))  # time jumped back
    assert history.at(100_000_000).pose[0, 3] == pytest.approx(7.0)
    assert history.newest[0] == 100_000_000


def test_the_rig_is_whole_or_not_there_and_follows_a_new_calibration():
    rig = bench2drive_rig()
    known: set[str] = set(rig.names[:5])

    def lookup(frame: str) -> np.ndarray:
        if frame not in known:
            raise InvalidInput(f"waiting for TF from '{frame}'")
        return rig.cam_to_base[rig.names.index(frame)]

    def info(i: int, scale: float = 1.0) -> CameraInfo:
        message = CameraInfo(width=1600, height=900, k=(rig.intrinsics[i]).ravel().tolist())
        message.k[0] *= scale
        message.header.frame_id = rig.names[i]
        return message

    calibration = Calibration(rig.names, lookup)
    for i in range(5):
        calibration.on_camera_info(i, info(i))
    with pytest.raises(InvalidInput, match="waiting for camera_info of CAM_BACK_RIGHT"):
        calibration.rig()
    calibration.on_camera_info(5, info(5))
    with pytest.raises(InvalidInput, match="waiting for TF from 'CAM_BACK_RIGHT'"):
        calibration.rig()
    known.add("CAM_BACK_RIGHT")
    built = calibration.rig()
    np.testing.assert_allclose(built.cam_to_base, rig.cam_to_base)
    calibration.on_camera_info(0, info(0))
    assert calibration.rig() is built  # nothing new: the same object, so that projections stay cached
    calibration.on_camera_info(0, info(0, scale=1.1))
    assert calibration.rig().intrinsics[0, 0, 0] == pytest.approx(1.1 * rig.intrinsics[0, 0, 0])


def test_the_bench2drive_rig_stands_in_for_a_broken_camera_info():
    calibration = Calibration(bench2drive_rig().names, lambda frame: np.eye(4), source="bench2drive")
    for i in range(6):
        info = CameraInfo(width=800, height=450)
        info.k[0] = 289307.0
        calibration.on_camera_info(i, info)
    np.testing.assert_allclose(calibration.rig().intrinsics, bench2drive_rig(800, 450).intrinsics)
