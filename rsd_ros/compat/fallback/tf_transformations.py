"""The calls of tf_transformations that are in common use, on transforms3d: quaternions as (x, y, z, w)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from transforms3d import affines, euler, quaternions

Vector = Sequence[float] | np.ndarray


def _wxyz(quaternion: Vector) -> np.ndarray:
    x, y, z, w = quaternion
    return np.array([w, x, y, z], dtype=float)


def _xyzw(quaternion: np.ndarray) -> np.ndarray:
    return np.roll(quaternion, -1)


def _affine(rotation: np.ndarray) -> np.ndarray:
    return affines.compose(np.zeros(3), rotation, np.ones(3))


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: str = "sxyz") -> np.ndarray:
    """Roll, pitch, yaw (for the default axes) to a quaternion (4,)."""
    return _xyzw(euler.euler2quat(ai, aj, ak, axes))


def euler_from_quaternion(quaternion: Vector, axes: str = "sxyz") -> tuple[float, float, float]:
    """A quaternion to roll, pitch, yaw (for the default axes)."""
    return euler.quat2euler(_wxyz(quaternion), axes)


def euler_matrix(ai: float, aj: float, ak: float, axes: str = "sxyz") -> np.ndarray:
    """Roll, pitch, yaw (for the default axes) to a (4, 4) rotation."""
    return _affine(euler.euler2mat(ai, aj, ak, axes))


def euler_from_matrix(matrix: np.ndarray, axes: str = "sxyz") -> tuple[float, float, float]:
    """The rotation of a (3, 3) or (4, 4) matrix as roll, pitch, yaw (for the default axes)."""
    return euler.mat2euler(np.asarray(matrix)[:3, :3], axes)


def quaternion_matrix(quaternion: Vector) -> np.ndarray:
    """A quaternion to a (4, 4) rotation."""
    return _affine(quaternions.quat2mat(_wxyz(quaternion)))


def quaternion_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """The rotation of a (4, 4) matrix as a quaternion (4,)."""
    return _xyzw(quaternions.mat2quat(np.asarray(matrix)[:3, :3]))


def quaternion_multiply(quaternion1: Vector, quaternion0: Vector) -> np.ndarray:
    """The rotation quaternion0 followed by quaternion1."""
    return _xyzw(quaternions.qmult(_wxyz(quaternion1), _wxyz(quaternion0)))


def quaternion_inverse(quaternion: Vector) -> np.ndarray:
    """The opposite rotation."""
    return _xyzw(quaternions.qinverse(_wxyz(quaternion)))


def quaternion_slerp(quat0: Vector, quat1: Vector, fraction: float) -> np.ndarray:
    """Between two rotations along the shortest way, fraction 0 .. 1."""
    start, end = (np.asarray(q, dtype=float) / np.linalg.norm(q) for q in (quat0, quat1))
    cosine = float(start @ end)
    end = np.copysign(1.0, cosine) * end
    angle = np.arccos(min(abs(cosine), 1.0))
    if angle < 1e-6:
        return start
    return (np.sin((1 - fraction) * angle) * start + np.sin(fraction * angle) * end) / np.sin(angle)


def translation_matrix(direction: Vector) -> np.ndarray:
    """A (4, 4) translation by `direction`."""
    return affines.compose(direction, np.eye(3), np.ones(3))


def translation_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """The translation (3,) of a (4, 4) matrix."""
    return np.array(matrix, dtype=float)[:3, 3]


def inverse_matrix(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a square matrix."""
    return np.linalg.inv(matrix)


def concatenate_matrices(*matrices: np.ndarray) -> np.ndarray:
    """The product of matrices, from left to right."""
    return reduce(np.dot, matrices, np.eye(4))
