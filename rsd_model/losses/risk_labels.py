"""From a teacher's scored image boxes to risk targets: camera geometry, nearest-object matching, dense maps.

Positions and boxes are in one common frame of the caller's choice (base_link, or the BEV's own), z up; `to_image` (N,
4, 4) projects homogeneous points of that frame to pixels times depth.
"""

from __future__ import annotations

import numpy as np

from rsd_model.geometry import box_corners


def ground_contacts(image_boxes: np.ndarray, to_image: np.ndarray, ground_height: float = 0.0) -> np.ndarray:
    """Where the middle of each box's bottom edge touches the ground.

    image_boxes (K, 4) left, top, right, bottom in px; to_image (K, 4, 4) of the camera of each box; ground_height: z
    of the ground in m (0 in base_link). Returns (K, 2) m, nan where the ray does not meet the ground in front of the
    camera.
    """
    u = (image_boxes[:, 0] + image_boxes[:, 2]) / 2.0
    v = image_boxes[:, 3]
    # u = row0.X / row2.X and v = row1.X / row2.X with X = (x, y, ground, 1) are two linear equations in x and y.
    rows = np.stack([to_image[:, 0] - u[:, None] * to_image[:, 2], to_image[:, 1] - v[:, None] * to_image[:, 2]], 1)
    matrix, constant = rows[:, :, :2], rows[:, :, 2] * ground_height + rows[:, :, 3]
    parallel = np.abs(np.linalg.det(matrix)) < 1e-9
    matrix = np.where(parallel[:, None, None], np.eye(2), matrix)
    ground = np.linalg.solve(matrix, -constant[:, :, None])[:, :, 0]
    depth = (to_image[:, 2, :2] * ground).sum(1) + to_image[:, 2, 2] * ground_height + to_image[:, 2, 3]
    return np.where((parallel | (depth <= 0.1))[:, None], np.nan, ground)


def nearest_object_risks(points: np.ndarray, scores: np.ndarray, boxes: np.ndarray, radius: float) -> np.ndarray:
    """Give each label's score to the object nearest to it.

    points (K, 2) m, nan rows are skipped; scores (K,); boxes (G, 7) x, y, z, length, width, height, yaw; radius in m,
    measured to the footprint (a box's bottom edge lies on the near side of the object, not at its centre). Of several
    labels that reach one object the nearest counts, and of equally near ones the higher score. Returns (G,), nan = no
    label.
    """
    risks = np.full(len(boxes), np.nan)
    usable = np.isfinite(points).all(1) & np.isfinite(scores)
    points, scores = points[usable], scores[usable]
    if len(points) == 0 or len(boxes) == 0:
        return risks
    distances = footprint_distances(points, boxes)  # (K, G)
    centres = np.linalg.norm(points[:, None] - boxes[None, :, :2], axis=2)
    nearest = np.lexsort((centres, distances), axis=1)[:, 0]  # inside several footprints: the nearest centre
    reached = distances[np.arange(len(points)), nearest]
    for k in np.lexsort((-scores, reached)):
        if reached[k] <= radius and np.isnan(risks[nearest[k]]):
            risks[nearest[k]] = scores[k]
    return risks


def projected_object_risks(
    image_boxes: np.ndarray, cameras: np.ndarray, scores: np.ndarray, boxes: np.ndarray, to_image: np.ndarray,
    sizes: np.ndarray, min_overlap: float = 0.3,
) -> np.ndarray:  # fmt: skip
    """Give each label's score to the 3-D box whose projection overlaps it most, where 3-D boxes are known.

    image_boxes (K, 4) px; cameras (K,) index into to_image (N, 4, 4) and sizes (N, 2) width, height px; boxes (G, 7).
    Greedy by falling intersection over union, one label an object. Returns (G,), nan = no label.
    """
    risks = np.full(len(boxes), np.nan)
    overlaps = np.zeros((len(image_boxes), len(boxes)))
    for g, box in enumerate(boxes):
        rectangles = np.stack([_projected_rectangle(box, to_image[c], sizes[c]) for c in range(len(to_image))])
        overlaps[:, g] = _overlap(image_boxes, rectangles[cameras])
    given = np.zeros(len(image_boxes), bool)
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        k, g = divmod(int(flat), len(boxes))
        if overlaps[k, g] < min_overlap:
            break
        if np.isnan(risks[g]) and not given[k]:
            risks[g], given[k] = scores[k], True
    return risks


def risk_map_target(
    cells: np.ndarray, boxes: np.ndarray, risks: np.ndarray, falloff: float, empty_is_safe: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Dense target from scored objects: the score on the footprint, falling linearly to 0 over `falloff` m around it.

    cells (rows, columns, 2) m, centres in the frame of `boxes` (G, 7); risks (G,), nan = unknown. Cells near an
    unknown object are unknown unless a known one covers them; cells near nothing are known to be 0 if `empty_is_safe`
    (the labels cover every object there is), else unknown. Returns (map float32, mask bool), both (rows, columns).
    """
    shape = cells.shape[:2]
    if len(boxes) == 0:
        return np.zeros(shape, np.float32), np.full(shape, empty_is_safe)
    distances = footprint_distances(cells.reshape(-1, 2), boxes)  # (cells, G)
    reach = np.clip(1.0 - distances / falloff, 0.0, 1.0)
    known = np.isfinite(risks)
    values = (reach * np.where(known, risks, 0.0)).max(1)
    near_known = (reach[:, known] > 0).any(1)
    near_unknown = (reach[:, ~known] > 0).any(1)
    mask = near_known | (empty_is_safe & ~near_unknown)
    return values.reshape(shape).astype(np.float32), mask.reshape(shape)


def footprint_distances(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(K, G) m from points (K, 2) to the footprints of boxes (G, 7); 0 inside."""
    dx, dy = points[:, :1] - boxes[:, 0], points[:, 1:2] - boxes[:, 1]
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    along = np.abs(dx * cos + dy * sin) - boxes[:, 3] / 2.0
    across = np.abs(dy * cos - dx * sin) - boxes[:, 4] / 2.0
    return np.hypot(np.maximum(along, 0.0), np.maximum(across, 0.0))


def _projected_rectangle(box: np.ndarray, to_image: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom px of a 3-D box, clipped to the image; nan when not in front of the camera."""
    corners = np.concatenate([box_corners(box), np.ones((8, 1))], 1) @ to_image.T
    if (corners[:, 2] <= 0.1).any():
        return np.full(4, np.nan)
    pixels = np.clip(corners[:, :2] / corners[:, 2:3], 0.0, size)
    return np.concatenate([pixels.min(0), pixels.max(0)])


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (K,) of rectangles (K, 4) pair by pair; 0 where either is nan or empty."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    areas = [np.prod(np.clip(r[:, 2:] - r[:, :2], 0.0, None), axis=1) for r in (first, second)]
    union = areas[0] + areas[1] - shared
    return np.nan_to_num(shared / np.where(union > 0, union, 1.0))
