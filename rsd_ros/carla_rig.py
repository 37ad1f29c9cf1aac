"""CARLA's sensor file (`carla_spawn_objects`) as a camera rig, so that one file mounts the cameras here and there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from rsd_model.contracts import CameraRig
from rsd_model.geometry import OPTICAL_TO_BODY, intrinsic_matrix
from rsd_ros.conversions import InvalidInput

RGB_CAMERA = "sensor.camera.rgb"


def load_rig(path: Path, size: tuple[int, int] | None = None) -> CameraRig:
    """The RGB cameras of the first vehicle in the file, in its order.

    The file's poses are right-handed (y left, yaw counter-clockwise, degrees), as the bridge wants them. `size` (width,
    height) replaces the file's image size. Raises InvalidInput that names the file and what is missing.
    """
    try:
        vehicle = json.loads(path.read_text())["objects"][0]
        cameras = [sensor for sensor in vehicle["sensors"] if sensor["type"] == RGB_CAMERA]
        names = tuple(camera["id"] for camera in cameras)
        mounts = [_mount(camera["spawn_point"]) for camera in cameras]
        sizes = [size or (camera["image_size_x"], camera["image_size_y"]) for camera in cameras]
        views = [float(camera["fov"]) for camera in cameras]
    except (OSError, json.JSONDecodeError, KeyError, IndexError, TypeError) as problem:
        raise InvalidInput(f"{path} is no CARLA sensor file: {type(problem).__name__} {problem}") from problem
    if not cameras:
        raise InvalidInput(f"{path} holds no {RGB_CAMERA}")
    intrinsics = [intrinsic_matrix(*wh, view) for wh, view in zip(sizes, views, strict=True)]
    return CameraRig(names, np.stack(intrinsics), np.stack(mounts), np.array(sizes))


def _mount(pose: dict[str, float]) -> np.ndarray:
    mount = np.eye(4)
    angles = [pose["roll"], pose["pitch"], pose["yaw"]]
    mount[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ OPTICAL_TO_BODY
    mount[:3, 3] = [pose["x"], pose["y"], pose["z"]]
    return mount
