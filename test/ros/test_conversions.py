"""Messages to contracts and back: pure functions, no graph."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Quaternion, Transform, Vector3
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rsd_model.contracts import EgoState
from rsd_model.geometry import BENCH2DRIVE_CAMERAS, bench2drive_rig, intrinsic_matrix, pose_matrix
from rsd_ros.conversions import (
    InvalidInput,
    byte_array,
    camera_rig,
    decode_image,
    ego_state,
    image_message,
    intrinsics_of,
    ns_to_stamp,
    odometry_message,
    path_points,
    stamp_to_ns,
    transform_matrix,
)

SIZE = (8, 6)
RGB = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def raw(encoding: str, padding: int = 0) -> Image:
    codes = {"bgr8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGB2RGBA, "bgra8": cv2.COLOR_RGB2BGRA}
    pixels = cv2.cvtColor(RGB, codes[encoding]) if encoding in codes else RGB
    rows = pixels.reshape(SIZE[1], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(width=SIZE[0], height=SIZE[1], encoding=encoding, step=rows.shape[1])
    message.data = byte_array(rows)
    return message


def camera_info(width: int = 1600, height: int = 900, fov: float = 70.0) -> CameraInfo:
    return CameraInfo(width=width, height=height, k=intrinsic_matrix(width, height, fov).ravel().tolist())


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_keep_every_nanosecond(nanoseconds: int):
    assert stamp_to_ns(ns_to_stamp(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_every_supported_encoding_gives_the_same_rgb_with_or_without_row_padding(encoding: str, padding: int):
    np.testing.assert_array_equal(decode_image(raw(encoding, padding), "CAM_FRONT", SIZE), RGB)


def test_an_rgb_image_is_a_view_of_the_message():
    message = raw("rgb8")
    assert np.shares_memory(decode_image(message, "CAM_FRONT", SIZE), np.frombuffer(message.data, np.uint8))


def test_an_image_sent_as_the_bridge_sends_it_comes_back_unchanged():
    message = image_message(RGB, ns_to_stamp(5), "ego_vehicle/CAM_FRONT")
    assert (message.encoding, message.step) == ("bgra8", 4 * SIZE[0])
    np.testing.assert_array_equal(decode_image(message, "CAM_FRONT", SIZE), RGB)


def test_a_png_comes_back_unchanged_and_broken_data_is_refused():
    data = cv2.imencode(".png", cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR))[1].tobytes()
    whole = CompressedImage(format="png", data=array.array("B", data))
    np.testing.assert_array_equal(decode_image(whole, "CAM_FRONT", SIZE), RGB)
    for broken in (b"", b"no image at all", data[:20]):
        with pytest.raises(InvalidInput, match=r"CAM_FRONT.*no readable JPEG"):
            decode_image(CompressedImage(format="png", data=array.array("B", broken)), "CAM_FRONT", SIZE)


def test_an_image_of_another_size_encoding_or_length_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"CAM_BACK: image is 8x6, its camera_info says 1600x900"):
        decode_image(raw("rgb8"), "CAM_BACK", (1600, 900))
    message = raw("rgb8")
    message.encoding = "32FC1"
    with pytest.raises(InvalidInput, match=r"CAM_BACK.*'32FC1' is not supported"):
        decode_image(message, "CAM_BACK", SIZE)
    message = raw("bgra8")
    message.data = message.data[:-1]
    with pytest.raises(InvalidInput, match=r"CAM_BACK.*holds 191 bytes, expected 192"):
        decode_image(message, "CAM_BACK", SIZE)


def test_the_bench2drive_rig_survives_its_messages():
    rig = bench2drive_rig()
    infos = [camera_info(fov=camera[4]) for camera in BENCH2DRIVE_CAMERAS.values()]
    built = camera_rig(rig.names, infos, list(rig.cam_to_base))
    np.testing.assert_allclose(built.intrinsics, rig.intrinsics)
    np.testing.assert_array_equal(built.sizes, rig.sizes)
    assert built.names == rig.names


def test_the_focal_length_that_carla_once_published_is_refused_with_a_remedy():
    info = camera_info()
    info.k[0] = info.k[4] = 289307.0
    with pytest.raises(InvalidInput, match=r"CAM_FRONT: .*fx 289307 px.*0\.32 degrees.*update CARLA"):
        intrinsics_of(info, "CAM_FRONT")


@pytest.mark.parametrize(
    ("index", "value", "word"),
    [
        (0, float("nan"), "finite"),
        (0, 0.0, "positive"),
        (4, -5.0, "positive"),
        (0, 20.0, "field of view"),
        (2, 1700.0, "principal"),
    ],
)
def test_a_nonsense_camera_info_is_refused(index: int, value: float, word: str):
    info = camera_info()
    info.k[index] = value
    with pytest.raises(InvalidInput, match=word):
        intrinsics_of(info, "CAM_FRONT")


def test_a_camera_info_without_a_size_is_refused():
    with pytest.raises(InvalidInput, match="0x0"):
        intrinsics_of(CameraInfo(), "CAM_FRONT")


@given(st.floats(-3.1, 3.1), st.floats(-50, 50), st.floats(-2, 2))
def test_an_ego_state_survives_its_odometry(yaw: float, speed: float, yaw_rate: float):
    ego = EgoState(
        2.5, pose_matrix(np.array([10.0, -4.0, 0.5]), yaw), np.array([speed, 0.1, 0.0]), np.zeros(3), yaw_rate
    )
    back = ego_state(odometry_message(ego, ns_to_stamp(2_500_000_000), "map", "ego_vehicle"))
    np.testing.assert_allclose(back.pose, ego.pose, atol=1e-9)
    np.testing.assert_allclose(back.velocity, ego.velocity)
    assert (back.stamp, back.yaw_rate) == (ego.stamp, yaw_rate)


def test_acceleration_is_the_change_of_velocity_and_the_turn():
    def odometry(stamp: int, speed: float, yaw_rate: float) -> Odometry:
        ego = EgoState(0.0, np.eye(4), np.array([speed, 0.0, 0.0]), np.zeros(3), yaw_rate)
        return odometry_message(ego, ns_to_stamp(stamp), "map", "ego_vehicle")

    first = ego_state(odometry(0, 10.0, 0.0))
    second = ego_state(odometry(100_000_000, 10.2, 0.5), first)
    np.testing.assert_allclose(second.acceleration, [2.0, 5.1, 0.0], atol=1e-9)
    later = ego_state(odometry(5_000_000_000, 0.0, 0.0), first)
    np.testing.assert_array_equal(later.acceleration, np.zeros(3))


def test_odometry_with_nan_a_broken_quaternion_or_an_impossible_speed_is_refused():
    good = EgoState(0.0, np.eye(4), np.zeros(3), np.zeros(3), 0.0)
    for spoil, word in (
        (lambda m: setattr(m.pose.pose.position, "x", float("nan")), "position .*not finite"),
        (lambda m: setattr(m.twist.twist.linear, "x", float("inf")), "velocity .*not finite"),
        (lambda m: setattr(m.twist.twist.angular, "z", float("nan")), "yaw rate .*not finite"),
        (lambda m: setattr(m.pose.pose, "orientation", Quaternion(w=0.0)), "orientation .* is no unit quaternion"),
        (lambda m: setattr(m.twist.twist.linear, "x", 3000.0), "velocity .* beyond 100 m/s"),
    ):
        message = odometry_message(good, ns_to_stamp(0), "map", "ego_vehicle")
        spoil(message)
        with pytest.raises(InvalidInput, match=f"odometry: {word}"):
            ego_state(message)


def test_a_camera_mount_of_tf_is_its_matrix():
    rig = bench2drive_rig()
    # CAM_FRONT_LEFT looks 55 degrees to the left: optical z is forward and left in base_link.
    mount = rig.cam_to_base[1]
    assert mount[0, 2] == pytest.approx(np.cos(np.radians(55.0)))
    assert mount[1, 2] == pytest.approx(np.sin(np.radians(55.0)))
    from rsd_ros.conversions import quaternion_of

    x, y, z = mount[:3, 3]
    transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion_of(mount[:3, :3]))
    np.testing.assert_allclose(transform_matrix(transform, "TF"), mount, atol=1e-12)
    with pytest.raises(InvalidInput, match="TF: orientation"):
        transform_matrix(Transform(rotation=Quaternion(w=0.0)), "TF")


def test_a_route_must_be_in_the_map_frame_finite_and_have_two_points():
    def path(frame: str, xs: list[float]) -> Path:
        message = Path()
        message.header.frame_id = frame
        for x in xs:
            pose = PoseStamped()
            pose.pose.position.x = x
            message.poses.append(pose)
        return message

    np.testing.assert_array_equal(path_points(path("map", [0.0, 2.0]), "map"), [[0.0, 0.0], [2.0, 0.0]])
    for bad, word in (
        (path("odom", [0.0, 2.0]), "frame 'odom'"),
        (path("map", [1.0]), "1 points"),
        (path("", []), "0 points"),
    ):
        with pytest.raises(InvalidInput, match=word):
            path_points(bad, "map")
    with pytest.raises(InvalidInput, match="not finite"):
        path_points(path("map", [0.0, float("nan")]), "map")
