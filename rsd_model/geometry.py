"""Every change of frame of the project.

base_link (x forward, y left) is the public frame; the network computes in VAD's LiDAR frame (x right, y forward,
origin at the LiDAR of the Bench2Drive rig); CARLA is left-handed (y right, yaw clockwise). Only this module converts.
"""

from __future__ import annotations

import numpy as np

from rsd_model.contracts import CameraRig

# Optical frame (x right, y down, z forward) expressed in a body frame (x forward, y left, z up).
OPTICAL_TO_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

# LiDAR frame of the Bench2Drive rig -> base_link (zoo team_code/vad_b2d_agent.py, lidar2ego).
LIDAR_TO_BASE = np.array([[0.0, 1.0, 0.0, -0.39], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.84], [0.0, 0.0, 0.0, 1.0]])
BASE_TO_LIDAR = np.linalg.inv(LIDAR_TO_BASE)

# name: x, y (right positive, CARLA), z in m, yaw clockwise in degrees, horizontal field of view in degrees
BENCH2DRIVE_CAMERAS = {
    "CAM_FRONT": (0.80, 0.0, 1.60, 0.0, 70.0),
    "CAM_FRONT_LEFT": (0.27, -0.55, 1.60, -55.0, 70.0),
    "CAM_FRONT_RIGHT": (0.27, 0.55, 1.60, 55.0, 70.0),
    "CAM_BACK": (-2.0, 0.0, 1.60, 180.0, 110.0),
    "CAM_BACK_LEFT": (-0.32, -0.55, 1.60, -110.0, 70.0),
    "CAM_BACK_RIGHT": (-0.32, 0.55, 1.60, 110.0, 70.0),
}


def rotation_z(yaw: float) -> np.ndarray:
    """(3, 3) rotation about z, counter-clockwise."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pose_matrix(position: np.ndarray, yaw: float) -> np.ndarray:
    """(4, 4) transform of an upright body at `position` (3,) m with heading `yaw` rad into the parent frame."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_z(yaw)
    pose[:3, 3] = position
    return pose


def yaw_of(pose: np.ndarray) -> float:
    """Heading in rad of a (4, 4) pose."""
    return float(np.arctan2(pose[1, 0], pose[0, 0]))


def wrap_angle(angle: np.ndarray | float) -> np.ndarray | float:
    """Angle in rad wrapped to [-pi, pi)."""
    return (np.asarray(angle) + np.pi) % (2.0 * np.pi) - np.pi


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a (4, 4) transform to points (..., 2 or 3) m; 2-D points are taken at z = 0 and stay 2-D."""
    dims = points.shape[-1]
    return points @ transform[:dims, :dims].T + transform[:dims, 3]


def intrinsic_matrix(width: int, height: int, fov_degrees: float) -> np.ndarray:
    """(3, 3) pinhole matrix of CARLA's camera: square pixels, centre at half the size."""
    focal = width / (2.0 * np.tan(np.radians(fov_degrees) / 2.0))
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def bench2drive_rig(width: int = 1600, height: int = 900) -> CameraRig:
    """The six cameras of Bench2Drive at any image size, in their training order."""
    intrinsics, extrinsics = [], []
    for x, y, z, yaw, fov in BENCH2DRIVE_CAMERAS.values():
        intrinsics.append(intrinsic_matrix(width, height, fov))
        cam_to_base = pose_matrix(np.array([x, -y, z]), -np.radians(yaw))
        cam_to_base[:3, :3] = cam_to_base[:3, :3] @ OPTICAL_TO_BODY
        extrinsics.append(cam_to_base)
    sizes = np.tile(np.array([[width, height]]), (len(intrinsics), 1))
    return CameraRig(tuple(BENCH2DRIVE_CAMERAS), np.stack(intrinsics), np.stack(extrinsics), sizes)


def lidar_to_image(rig: CameraRig, sizes: np.ndarray | None = None) -> np.ndarray:
    """(N, 4, 4) projection of homogeneous LiDAR-frame points to pixels x depth; `sizes` (N, 2) rescales."""
    scale = np.ones((len(rig.names), 2)) if sizes is None else sizes / rig.sizes
    matrices = np.tile(np.eye(4), (len(rig.names), 1, 1))
    for i, matrix in enumerate(matrices):
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = np.diag([scale[i, 0], scale[i, 1], 1.0]) @ rig.intrinsics[i]
        matrix[:] = intrinsics @ np.linalg.inv(rig.cam_to_base[i]) @ LIDAR_TO_BASE
    return matrices


def project_to_image(rig: CameraRig, camera: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project base_link points (P, 3) into one camera: pixels (P, 2), depth (P,) m (<= 0: behind it)."""
    optical = transform_points(np.linalg.inv(rig.cam_to_base[camera]), points)
    depth = optical[:, 2]
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    pixels = (optical @ rig.intrinsics[camera].T)[:, :2] / safe[:, None]
    return pixels, depth


def box_corners(box: np.ndarray) -> np.ndarray:
    """(8, 3) corners of a box (x, y, z centre, length, width, height, yaw) in its own frame of reference."""
    x, y, z, length, width, height, yaw = box[:7]
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=float)
    return signs * np.array([length, width, height]) / 2.0 @ rotation_z(yaw).T + np.array([x, y, z])


def base_to_lidar_points(points: np.ndarray) -> np.ndarray:
    """Points (..., 2 or 3) from base_link to the LiDAR frame."""
    return transform_points(BASE_TO_LIDAR, points)


def lidar_to_base_points(points: np.ndarray) -> np.ndarray:
    """Points (..., 2 or 3) from the LiDAR frame to base_link."""
    return transform_points(LIDAR_TO_BASE, points)


def base_to_lidar_vectors(vectors: np.ndarray) -> np.ndarray:
    """Directions (velocities, offsets) (..., 2) from base_link to the LiDAR frame."""
    return vectors @ BASE_TO_LIDAR[:2, :2].T


def lidar_to_base_vectors(vectors: np.ndarray) -> np.ndarray:
    """Directions (..., 2) from the LiDAR frame to base_link."""
    return vectors @ LIDAR_TO_BASE[:2, :2].T


def base_to_vad_yaw(yaw: np.ndarray) -> np.ndarray:
    """Heading in base_link to the yaw that VAD stores in its boxes (zoo prepare_B2D.py: -yaw_in_lidar - pi/2)."""
    return np.asarray(wrap_angle(-(np.asarray(yaw) + np.pi / 2.0) - np.pi / 2.0))


def vad_to_base_yaw(yaw: np.ndarray) -> np.ndarray:
    """The inverse of `base_to_vad_yaw` (it is its own inverse)."""
    return base_to_vad_yaw(yaw)


def carla_to_map_point(location: np.ndarray) -> np.ndarray:
    """CARLA world location (..., 3), y right, to `map`, y left; the mapping is its own inverse."""
    return np.asarray(location) * np.array([1.0, -1.0, 1.0])


def carla_to_map_yaw(degrees: float) -> float:
    """CARLA yaw in degrees, clockwise seen from above, to rad counter-clockwise."""
    return float(-np.radians(degrees))
