"""Messages in, contracts out: what the planner reads from images, calibration, odometry and route. Pure functions.

Every check of outside data lives here and raises `InvalidInput` with the thing, the value and the remedy.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform
from nav_msgs.msg import Odometry, Path
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rsd_model.contracts import CameraRig, EgoState

NANOSECONDS = 1_000_000_000
MAX_SPEED = 100.0  # m/s; beyond it an odometry message is garbage
FIELD_OF_VIEW_LIMITS = (10.0, 170.0)  # degrees
# encoding -> (channels, OpenCV conversion to RGB or None)
IMAGE_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
}


class InvalidInput(ValueError):
    """A message from outside that must not be planned on; the text names the thing, its value and the remedy."""


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds of a message stamp."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def ns_to_stamp(nanoseconds: int) -> Time:
    """Message stamp of non-negative nanoseconds."""
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def image_size(message: Image) -> tuple[int, int]:
    """Width and height in pixels that the message claims."""
    return message.width, message.height


def decode_image(message: Image | CompressedImage, camera: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a raw or compressed image; rgb8 without padding is a view of the message, not a copy.

    `size` is (width, height) of the camera's calibration. Raises InvalidInput on other sizes, encodings, broken data.
    """
    image = (
        _decode_compressed(message, camera) if isinstance(message, CompressedImage) else _decode_raw(message, camera)
    )
    if (image.shape[1], image.shape[0]) != tuple(size):
        raise InvalidInput(
            f"{camera}: image is {image.shape[1]}x{image.shape[0]}, its camera_info says {size[0]}x{size[1]}; "
            "publish a camera_info that belongs to these images"
        )
    return image


def _decode_raw(message: Image, camera: str) -> np.ndarray:
    if message.encoding not in IMAGE_ENCODINGS:
        raise InvalidInput(
            f"{camera}: image encoding '{message.encoding}' is not supported; "
            f"publish one of {', '.join(IMAGE_ENCODINGS)}"
        )
    channels, conversion = IMAGE_ENCODINGS[message.encoding]
    row = message.width * channels
    step = message.step or row
    if not message.width or not message.height or step < row or len(message.data) < step * message.height:
        raise InvalidInput(
            f"{camera}: {message.width}x{message.height} {message.encoding} image with step {message.step} holds "
            f"{len(message.data)} bytes, expected {max(step, row) * message.height}; the publisher cut it short"
        )
    rows = np.frombuffer(message.data, np.uint8, count=step * message.height).reshape(message.height, step)
    pixels = rows[:, :row].reshape(message.height, message.width, channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def _decode_compressed(message: CompressedImage, camera: str) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise InvalidInput(
            f"{camera}: {len(data)} bytes of format '{message.format}' are no readable JPEG or PNG; "
            "check the publisher's image transport (depth formats are not images)"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def byte_array(pixels: np.ndarray) -> array.array:
    """`pixels` as the array type that a message's `uint8[]` takes at once (numpy is checked byte by byte)."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data


def image_message(rgb: np.ndarray, stamp: Time, frame_id: str) -> Image:
    """Image message, bgra8 as CARLA's bridge sends it, of (H, W, 3) uint8 RGB."""
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="bgra8", step=4 * rgb.shape[1])
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = byte_array(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA))
    return message


def intrinsics_of(info: CameraInfo, camera: str) -> np.ndarray:
    """(3, 3) pinhole matrix in pixels; raises InvalidInput where no real camera has such numbers."""
    matrix = np.asarray(info.k, dtype=float).reshape(3, 3)
    if not info.width or not info.height:
        raise InvalidInput(
            f"{camera}: camera_info says {info.width}x{info.height} pixels; publish the image's size in it"
        )
    if not np.isfinite(matrix).all():
        raise InvalidInput(f"{camera}: camera_info.k holds values that are not finite: {matrix.ravel().tolist()}")
    for name, focal, pixels in (("fx", matrix[0, 0], info.width), ("fy", matrix[1, 1], info.height)):
        _check_focal_length(camera, name, focal, pixels)
    cx, cy = matrix[0, 2], matrix[1, 2]
    if not (0.0 < cx < info.width and 0.0 < cy < info.height):
        raise InvalidInput(
            f"{camera}: camera_info puts the principal point ({cx:g}, {cy:g}) outside "
            f"its {info.width}x{info.height} image"
        )
    return matrix


def _check_focal_length(camera: str, name: str, focal: float, pixels: int) -> None:
    if focal <= 0.0:
        raise InvalidInput(f"{camera}: camera_info has {name} {focal:g} px; a focal length is positive")
    view = np.degrees(2.0 * np.arctan(pixels / (2.0 * focal)))
    low, high = FIELD_OF_VIEW_LIMITS
    # A tall narrow crop may see few degrees vertically, so the lower limit holds for the width alone.
    if view > high or (name == "fx" and view < low):
        raise InvalidInput(
            f"{camera}: camera_info has {name} {focal:.0f} px for {pixels} pixels, a field of view of "
            f"{view:.2f} degrees "
            f"(allowed {low:g} to {high:g}). CARLA's native ROS 2 interface published such numbers before carla#9462: "
            "update CARLA, use its ROS bridge, or set the parameter rig_source to bench2drive"
        )


def distortion_of(info: CameraInfo) -> float:
    """Largest absolute distortion coefficient; the planner assumes a pinhole, so above 0 the images want rectifying."""
    return float(np.abs(np.asarray(info.d, dtype=float)).max()) if len(info.d) else 0.0


def rotation_of(quaternion: Quaternion, what: str) -> np.ndarray:
    """(3, 3) rotation; raises InvalidInput on a quaternion that is not finite or not of unit length."""
    values = np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w])
    if not np.isfinite(values).all() or abs(np.linalg.norm(values) - 1.0) > 0.05:
        raise InvalidInput(f"{what}: orientation (x y z w) {values.tolist()} is no unit quaternion")
    return Rotation.from_quat(values).as_matrix()


def quaternion_of(rotation: np.ndarray) -> Quaternion:
    """Quaternion message of a (3, 3) rotation."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return Quaternion(x=x, y=y, z=z, w=w)


def yaw_quaternion(yaw: float) -> Quaternion:
    """Quaternion message of a heading in rad."""
    return Quaternion(z=float(np.sin(yaw / 2.0)), w=float(np.cos(yaw / 2.0)))


def transform_matrix(transform: Transform, what: str) -> np.ndarray:
    """(4, 4) pose of the child frame in the parent frame; raises InvalidInput where it is not finite or no rotation."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_of(transform.rotation, what)
    matrix[:3, 3] = [transform.translation.x, transform.translation.y, transform.translation.z]
    if not np.isfinite(matrix).all():
        raise InvalidInput(f"{what}: translation {matrix[:3, 3].tolist()} is not finite")
    return matrix


def camera_rig(names: Sequence[str], infos: Sequence[CameraInfo], cam_to_base: Sequence[np.ndarray]) -> CameraRig:
    """The rig, in the order of `names`, from each camera's camera_info and (4, 4) optical frame -> base_link."""
    intrinsics = np.stack([intrinsics_of(info, name) for name, info in zip(names, infos, strict=True)])
    sizes = np.array([[info.width, info.height] for info in infos])
    return CameraRig(tuple(names), intrinsics, np.stack(cam_to_base), sizes)


def ego_state(odometry: Odometry, previous: EgoState | None = None) -> EgoState:
    """Ego state of an odometry message (twist in the child frame, REP 105).

    Odometry carries no acceleration: it is differenced from `previous`, zero without one (or after more than 0.5 s).
    Raises InvalidInput on NaN, a broken quaternion or an impossible speed.
    """
    position, linear = odometry.pose.pose.position, odometry.twist.twist.linear
    pose = np.eye(4)
    pose[:3, 3] = [position.x, position.y, position.z]
    velocity = np.array([linear.x, linear.y, linear.z])
    yaw_rate = float(odometry.twist.twist.angular.z)
    for name, value in (("position", pose[:3, 3]), ("velocity", velocity), ("yaw rate", np.array([yaw_rate]))):
        if not np.isfinite(value).all():
            raise InvalidInput(
                f"odometry: {name} {value.tolist()} is not finite; check the localisation that publishes it"
            )
    if np.abs(velocity).max() > MAX_SPEED:
        raise InvalidInput(f"odometry: velocity {velocity.tolist()} m/s is beyond {MAX_SPEED:g} m/s; check its unit")
    pose[:3, :3] = rotation_of(odometry.pose.pose.orientation, "odometry")
    stamp = stamp_to_ns(odometry.header.stamp) / NANOSECONDS
    return EgoState(stamp, pose, velocity, _acceleration(stamp, velocity, yaw_rate, previous), yaw_rate)


def _acceleration(stamp: float, velocity: np.ndarray, yaw_rate: float, previous: EgoState | None) -> np.ndarray:
    if previous is None or not 1e-4 < stamp - previous.stamp <= 0.5:
        return np.zeros(3)
    # The body frame turns: what an accelerometer would feel is the derivative plus omega x v.
    turning = yaw_rate * np.array([-velocity[1], velocity[0], 0.0])
    return (velocity - previous.velocity) / (stamp - previous.stamp) + turning


def odometry_message(ego: EgoState, stamp: Time, frame_id: str, child_frame_id: str) -> Odometry:
    """Odometry message of an ego state: pose in `frame_id`, twist in `child_frame_id`."""
    message = Odometry(child_frame_id=child_frame_id)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y, pose.position.z = map(float, ego.pose[:3, 3])
    pose.orientation = quaternion_of(ego.pose[:3, :3])
    twist.linear.x, twist.linear.y, twist.linear.z = map(float, ego.velocity)
    twist.angular.z = float(ego.yaw_rate)
    return message


def path_points(path: Path, frame: str) -> np.ndarray:
    """(P, 2) m of a path; raises InvalidInput on a frame other than `frame`, non-finite values, or under two points."""
    if path.header.frame_id not in ("", frame):
        raise InvalidInput(
            f"route: frame '{path.header.frame_id}', expected '{frame}'; publish it in the odometry's frame "
            "or set the parameter map_frame"
        )
    points = np.array([[pose.pose.position.x, pose.pose.position.y] for pose in path.poses], dtype=float).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise InvalidInput("route: holds positions that are not finite")
    if len(points) < 2:
        raise InvalidInput(f"route: has {len(points)} points, needs two at least")
    return points
