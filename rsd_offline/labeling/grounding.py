"""Which objects the teacher is asked about: numbered, with an image box, from annotations or from a detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from rsd_model.contracts import CameraRig
from rsd_model.losses.risk_labels import footprint_distances
from rsd_offline.datasets.frames import AnnotatedObjects, KeyFrame

NEAR_PLANE = 0.1  # m
BUFFER_WIDTH = 400  # px, of the images in which occlusion is worked out
# A box's edges as pairs of `box_corners`' order (bits: length, width, height).
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])
_SIGNS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)


@dataclass(frozen=True)
class GroundingConfig:
    """Which annotated objects are put before the teacher."""

    max_range: float = 60.0  # m
    max_objects: int = 30  # nearest first
    min_visible: float = 0.15  # share of the object's silhouette that nothing annotated hides
    min_area: float = 3e-5  # visible share of the image: 43 px of 1600 x 900
    cameras: tuple[str, ...] = ()  # only objects that these see; empty = all
    ignored_classes: tuple[str, ...] = ("traffic_sign", "traffic_light")  # their boxes are no bodies on the road


@dataclass(frozen=True)
class GroundedObject:
    """One object as the teacher hears of it; positions in base_link."""

    number: int  # 1 .. K in this frame, the id in the prompt
    object_id: int  # the dataset's
    class_name: str
    camera: int  # index in the rig
    image_box: tuple[float, float, float, float]  # left, top, right, bottom, px of that camera's image
    position: tuple[float, float]  # m, nan = unknown
    visible: float  # share of the silhouette that is not hidden
    velocity: tuple[float, float] | None = None  # m/s over ground
    box: tuple[float, ...] | None = None  # x, y, z, length, width, height, yaw; None = not annotated
    score: float = 1.0  # the detector's

    @property
    def distance(self) -> float:
        """m from the ego's origin."""
        return math.hypot(*self.position)


def ground_annotations(frame: KeyFrame, config: GroundingConfig) -> list[GroundedObject]:
    """The frame's annotated objects that a camera sees, nearest first."""
    assert frame.objects is not None
    objects = frame.objects
    distances = np.linalg.norm(objects.boxes[:, :2], axis=1)
    wanted = np.array([c not in config.ignored_classes for c in objects.classes], bool)
    rows = np.flatnonzero(wanted & (distances <= config.max_range) & np.isfinite(objects.boxes).all(1))
    rectangles, visible, areas = visible_boxes(frame.rig, objects.boxes[rows])
    visible[:, objects.hidden[rows]] = 0.0
    if config.cameras:
        other = [i for i, name in enumerate(frame.rig.names) if name not in config.cameras]
        visible[other], areas[other] = 0.0, 0.0
    seen = (visible >= config.min_visible) & (areas >= config.min_area)
    cameras = np.where(seen, areas, -1.0).argmax(0)
    kept = [k for k in np.argsort(distances[rows], kind="stable") if seen[cameras[k], k]][: config.max_objects]
    cameras, rows = cameras[kept], rows[kept]
    return _grounded(objects, rows, cameras, rectangles[cameras, kept], visible[cameras, kept])


def _grounded(
    objects: AnnotatedObjects, rows: np.ndarray, cameras: np.ndarray, rectangles: np.ndarray, visible: np.ndarray
) -> list[GroundedObject]:
    """The objects of `rows`, numbered in this order; the other arrays go with them."""
    boxes, velocities, ids = objects.boxes[rows].tolist(), objects.velocities[rows].tolist(), objects.ids[rows].tolist()
    image_boxes, shares, in_cameras = rectangles.tolist(), visible.tolist(), cameras.tolist()
    return [
        GroundedObject(
            number=k + 1, object_id=ids[k], class_name=objects.classes[row], camera=in_cameras[k],
            image_box=tuple(image_boxes[k]), position=tuple(boxes[k][:2]), visible=shares[k],
            velocity=tuple(velocities[k]) if all(map(math.isfinite, velocities[k])) else None, box=tuple(boxes[k]),
        )
        for k, row in enumerate(rows.tolist())
    ]  # fmt: skip


def visible_boxes(rig: CameraRig, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project 3-D boxes (K, 7) into all N cameras and let nearer boxes hide farther ones.

    Returns rectangles (N, K, 4) px, cut at the image's edges (nan = outside); the share (N, K) of each silhouette in
    the image that no nearer box covers; and that visible part (N, K) as a share of the image's area.
    """
    shape = (len(rig.names), len(boxes))
    visible, areas, rectangles = np.zeros(shape), np.zeros(shape), np.full((*shape, 4), np.nan)
    if len(boxes) == 0:
        return rectangles, visible, areas
    cameras, rows, corners = _in_view(rig, _corners(boxes))
    outlines, rectangles[cameras, rows] = _silhouettes(corners, rig.sizes[cameras].astype(float))
    distances = footprint_distances(rig.cam_to_base[:, :2, 3], boxes)[cameras, rows]
    far_to_near = np.argsort(-distances, kind="stable")
    far_to_near = far_to_near[np.isfinite(rectangles[cameras, rows, 0])[far_to_near]]
    cameras, rows = cameras[far_to_near], rows[far_to_near]
    scales = np.minimum(1.0, BUFFER_WIDTH / rig.sizes[:, 0])
    sizes = (rig.sizes * scales[:, None]).round().astype(int)
    outlines = (outlines[far_to_near] * scales[cameras, None, None]).round().astype(np.int32)
    kept, alone = _paint(outlines, cameras, sizes)
    visible[cameras, rows] = kept / np.maximum(alone, 1)
    areas[cameras, rows] = kept / sizes.prod(1)[cameras]
    return rectangles, visible, areas


def _paint(outlines: np.ndarray, cameras: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint convex outlines (P, E, 2) px in this order, each into the image of its camera (P,); sizes (N, 2) px.

    Returns the pixels (P,) that each keeps in the end, and those that it covers alone.
    """
    images = [np.zeros((height, width), np.uint16) for width, height in sizes.tolist()]
    low, high = np.maximum(outlines.min(1), 0), np.clip(outlines.max(1) + 1, 0, sizes[cameras])
    windows, alone = [], []
    for k, (left, top, right, bottom) in enumerate(np.concatenate([low, high], 1).tolist()):
        image = images[cameras[k]]
        cv2.fillConvexPoly(image, cv2.convexHull(outlines[k]), k + 1)
        windows.append(image[top:bottom, left:right])
        alone.append(np.count_nonzero(windows[k] == k + 1))  # nothing was painted over it yet
    kept = [np.count_nonzero(window == k) for k, window in enumerate(windows, start=1)]
    return np.array(kept), np.array(alone)


def _silhouettes(corners: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outlines (P, E, 2) px of boxes with corners (P, 8, 3) in images of a size (P, 2), and rectangles (P, 4) in them.

    The rectangle of a box outside its image is nan.
    """
    pixels, in_front = _outline_points(corners)
    low = np.where(in_front[..., None], pixels, np.inf).min(1)
    high = np.where(in_front[..., None], pixels, -np.inf).max(1)
    outside = ~in_front.any(1) | (low >= size).any(1) | (high <= 0).any(1)
    rectangles = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], 1)
    # Points behind the camera repeat one in front, so that all outlines have as many.
    first = np.take_along_axis(pixels, in_front.argmax(1)[:, None, None], 1)
    points = np.where(in_front[..., None], pixels, first).clip(-16000, 16000).astype(np.float32)
    return points, np.where(outside[:, None], np.nan, rectangles)


def _in_view(rig: CameraRig, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a camera and a box that is not wholly beyond one side of its view: indices (P,), (P,).

    Also returns their corners (P, 8, 3) in homogeneous pixels, which are pixels times depth, and depth.
    """
    matrices = rig.intrinsics @ np.linalg.inv(rig.cam_to_base)[:, :3]
    points = corners.reshape(1, -1, 3) @ matrices[:, :, :3].transpose(0, 2, 1) + matrices[:, None, :, 3]
    points = points.reshape(len(matrices), -1, 8, 3)
    across, depth = points[..., :2], points[..., 2:]
    within = (across > 0.0).any(2) & (across < rig.sizes[:, None, None] * depth).any(2)
    cameras, rows = np.nonzero(within.all(2) & (depth[..., 0] >= NEAR_PLANE).any(2))
    return cameras, rows, points[cameras, rows]


def _outline_points(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (P, 8 or 24, 2) of the corners, or the ends of the edges cut at the near plane, and which are in front."""
    ends = corners
    if (corners[..., 2] < NEAR_PLANE).any():
        first, second = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        ends = np.concatenate([_cut(first, second), _cut(second, first)], 1)
    in_front = ends[..., 2] >= NEAR_PLANE * 0.999
    return ends[..., :2] / np.where(in_front, ends[..., 2], 1.0)[..., None], in_front


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(K, 8, 3) corners of boxes (K, 7)."""
    local = _SIGNS * boxes[:, None, 3:6] / 2.0
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    turned = [local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos, local[..., 2]]
    return np.stack(turned, -1) + boxes[:, None, :3]


def _cut(end: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`end` moved along its edge to the near plane where it is behind it and the other end is not."""
    span = other[..., 2] - end[..., 2]
    crosses = (end[..., 2] < NEAR_PLANE) & (other[..., 2] > NEAR_PLANE)
    share = np.where(crosses, (NEAR_PLANE - end[..., 2]) / np.where(crosses, span, 1.0), 0.0)
    return end + share[..., None] * (other - end)
