"""Drawing a moment of a drive into its camera images: the plan as a ribbon on the road, objects as boxes by risk."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from rsd_model.contracts import CameraRig
from rsd_model.geometry import box_corners, transform_points
from rsd_ros.drawn_text import Color, Labels
from rsd_ros.drive_log import Moment

BACKGROUND: Color = (28, 24, 20)
PLAN: Color = (255, 190, 40)
STOP_PLAN: Color = (60, 60, 255)
FAINT: Color = (150, 145, 140)
PLAN_WIDTH = 1.8  # m
NEAR = 0.3  # m, what is nearer to a camera is cut off
SHOWN_RISK = 0.15  # boxes below are drawn thin and without a label
_EDGES = ((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7), (6, 7))


def risk_bgr(risk: float) -> Color:
    """Green at 0 over yellow to red at 1."""
    risk = float(np.clip(risk, 0.0, 1.0))
    return (40, int(255 * min(1.0, 2.0 - 2.0 * risk)), int(255 * min(1.0, 2.0 * risk)))


def trajectory_points(moment: Moment) -> np.ndarray:
    """(T + 1, 2) m, base_link, the vehicle's own place first."""
    points = [[p.position.x, p.position.y] for p in moment.trajectory.poses]
    return np.array([[0.0, 0.0], *points])


def object_box(obj: Any) -> np.ndarray:
    """(7,) box of a recorded object."""
    p, q, s = obj.pose.position, obj.pose.orientation, obj.size
    return np.array([p.x, p.y, p.z, s.x, s.y, s.z, 2.0 * np.arctan2(q.z, q.w)])


class CameraProjector:
    """Projects base_link into one camera's picture of any size; segments are cut at the camera's plane."""

    def __init__(self, rig: CameraRig, camera: int, size: tuple[int, int]) -> None:
        self._base_to_camera = np.linalg.inv(rig.cam_to_base[camera])
        scale = np.array(size) / rig.sizes[camera]
        self._intrinsics = np.diag([scale[0], scale[1], 1.0]) @ rig.intrinsics[camera]

    def polyline(self, points: np.ndarray) -> list[np.ndarray]:
        """Visible pieces, (2, 2) pixels each, of a line through points (P, 3) m."""
        optical = transform_points(self._base_to_camera, points)
        pieces = []
        for a, b in zip(optical[:-1], optical[1:], strict=True):
            if a[2] < NEAR and b[2] < NEAR:
                continue
            if a[2] < NEAR:
                a = b + (a - b) * (b[2] - NEAR) / (b[2] - a[2])
            elif b[2] < NEAR:
                b = a + (b - a) * (a[2] - NEAR) / (a[2] - b[2])
            pieces.append(self._pixels(np.stack([a, b])))
        return pieces

    def polygon(self, points: np.ndarray) -> np.ndarray | None:
        """Pixels (P, 2) of a polygon (P, 3) m, or None where any corner is behind the camera."""
        optical = transform_points(self._base_to_camera, points)
        return None if (optical[:, 2] < NEAR).any() else self._pixels(optical)

    def _pixels(self, optical: np.ndarray) -> np.ndarray:
        pixels = optical @ self._intrinsics.T
        return np.clip(pixels[:, :2] / pixels[:, 2:], -4000, 4000)


def draw_camera(picture: np.ndarray, moment: Moment, projector: CameraProjector) -> None:
    """Plan ribbon and object boxes into a camera picture (H, W, 3) BGR, in place."""
    _draw_plan(picture, moment, projector)
    if moment.objects is None:
        return
    tops = [(obj, _draw_box(picture, obj, projector)) for obj in sorted(moment.objects.objects, key=lambda o: o.risk)]
    height, width = picture.shape[:2]
    labels = Labels(picture)
    for obj, top in reversed(tops):
        if obj.risk >= SHOWN_RISK and top is not None and 0 <= top[0] < width - 30 and -20 < top[1] < height:
            text = f"{obj.class_name} {obj.risk:.2f}"
            labels.put(text, (top[0] - 10, max(2, top[1] - 16)), 11, risk_bgr(obj.risk))


def _draw_plan(picture: np.ndarray, moment: Moment, projector: CameraProjector) -> None:
    points = trajectory_points(moment)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if lengths.sum() < 0.5:
        return
    fine = np.linspace(0.0, lengths.sum(), 24)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    line = np.stack([np.interp(fine, along, points[:, k]) for k in range(2)], axis=1)
    normal = np.gradient(line, axis=0) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    left, right = line + normal * PLAN_WIDTH / 2.0, line - normal * PLAN_WIDTH / 2.0
    overlay = picture.copy()
    color = STOP_PLAN if moment.trajectory.is_stop else PLAN
    for i in range(len(line) - 1):
        corners = np.stack([left[i], left[i + 1], right[i + 1], right[i]])
        polygon = projector.polygon(np.column_stack([corners, np.zeros(4)]))
        if polygon is not None:
            cv2.fillConvexPoly(overlay, polygon.astype(np.int32), color, cv2.LINE_AA)
    cv2.addWeighted(overlay, 0.45, picture, 0.55, 0.0, dst=picture)


def _draw_box(picture: np.ndarray, obj: Any, projector: CameraProjector) -> tuple[int, int] | None:
    """The edges of an object; returns their highest pixel, None where the camera does not see it."""
    corners = box_corners(object_box(obj))
    color, thick = risk_bgr(obj.risk), 2 if obj.risk >= SHOWN_RISK else 1
    top: tuple[int, int] | None = None
    for a, b in _EDGES:
        for piece in projector.polyline(corners[[a, b]]):
            start, end = (tuple(int(v) for v in p) for p in piece)
            cv2.line(picture, start, end, color, thick, cv2.LINE_AA)
            top = min((p for p in (top, start, end) if p), key=lambda p: p[1])
    return top
