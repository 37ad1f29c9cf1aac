"""From judged objects to the bird's eye view: where a box found in an image stands, and the dense risk map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rsd_model.contracts import CameraRig
from rsd_model.losses.risk_labels import ground_contacts, risk_map_target
from rsd_offline.labeling.store import RiskMapRow

NOT_JUDGED = 255
# length, width, height in m of what a detector found, whose box nobody measured
NOMINAL_SIZES = {
    "car": (4.5, 1.9, 1.6), "van": (5.5, 2.1, 2.3), "truck": (8.0, 2.6, 3.2), "bus": (11.0, 2.9, 3.2),
    "bicycle": (1.8, 0.6, 1.7), "motorcycle": (2.1, 0.8, 1.6), "pedestrian": (0.7, 0.7, 1.75),
    "traffic_cone": (0.4, 0.4, 0.8), "barrier": (2.0, 0.5, 1.0),
}  # fmt: skip
OTHER_SIZE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class MapConfig:
    """The dense risk map, in base_link; row = y, column = x."""

    ahead: float = 40.0  # m
    behind: float = 20.0  # m
    aside: float = 20.0  # m to each side
    resolution: float = 1.0  # m
    falloff: float = 1.5  # m beyond a footprint until its risk is 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (along y), columns (along x)."""
        return round(2 * self.aside / self.resolution), round((self.ahead + self.behind) / self.resolution)

    @cached_property
    def cells(self) -> np.ndarray:
        """(rows, columns, 2) float32 m, the cells' centres."""
        rows, columns = self.shape
        x = -self.behind + (np.arange(columns) + 0.5) * self.resolution
        y = -self.aside + (np.arange(rows) + 0.5) * self.resolution
        return np.stack(np.meshgrid(x, y), -1).astype(np.float32)


def to_image_matrices(rig: CameraRig) -> np.ndarray:
    """(N, 4, 4) projection of homogeneous base_link points to pixels times depth."""
    matrices = np.tile(np.eye(4), (len(rig.names), 1, 1))
    for i, matrix in enumerate(matrices):
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = rig.intrinsics[i]
        matrix[:] = intrinsics @ np.linalg.inv(rig.cam_to_base[i])
    return matrices


def lift_image_boxes(
    image_boxes: np.ndarray, cameras: np.ndarray, classes: Sequence[str], rig: CameraRig, max_range: float = 60.0
) -> np.ndarray:
    """3-D boxes (K, 7) in base_link of image boxes (K, 4) px in cameras (K,), from where they touch the ground.

    Sizes are nominal ones of the class and the heading is along the line of sight: good for a place on the map, not for
    shape. nan rows where the lower edge does not meet the ground within `max_range` m.
    """
    boxes = np.full((len(image_boxes), 7), np.nan)
    if len(image_boxes) == 0:
        return boxes
    contacts = ground_contacts(image_boxes, to_image_matrices(rig)[cameras])
    for row, (contact, name) in enumerate(zip(contacts, classes, strict=True)):
        eye = rig.cam_to_base[cameras[row], :2, 3]
        reach = float(np.linalg.norm(contact - eye))
        if not np.isfinite(reach) or reach > max_range:
            continue
        length, width, height = NOMINAL_SIZES.get(name, OTHER_SIZE)
        direction = (contact - eye) / max(reach, 1e-6)
        centre = contact + direction * length / 2.0
        boxes[row] = (*centre, height / 2.0, length, width, height, np.arctan2(direction[1], direction[0]))
    return boxes


def dense_map(frame_id: str, boxes: np.ndarray, risks: np.ndarray, config: MapConfig, everything: bool) -> RiskMapRow:
    """Dense risk of boxes (K, 7) with risks (K,), nan = not judged; `everything`: empty places were judged too."""
    near, kept = _near_boxes(boxes, config)
    values, mask = np.zeros(config.shape, np.float32), np.full(config.shape, everything)
    some, known = risk_map_target(
        config.cells[near][None], boxes[kept].astype(np.float32), risks[kept], config.falloff, everything
    )
    values[near], mask[near] = some[0], known[0]
    coded = np.where(mask, np.round(values * 254.0), NOT_JUDGED).astype(np.uint8)
    rows, columns = config.shape
    return RiskMapRow(frame_id, rows, columns, config.resolution, -config.behind, -config.aside, coded.tobytes())


def _near_boxes(boxes: np.ndarray, config: MapConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cells (rows, columns) bool that a box may reach, and the indices of the boxes that reach any."""
    reach = np.hypot(boxes[:, 3], boxes[:, 4]) / 2.0 + config.falloff
    corner = np.array([-config.behind, -config.aside])
    low = np.floor((boxes[:, :2] - reach[:, None] - corner) / config.resolution).astype(int)
    high = np.ceil((boxes[:, :2] + reach[:, None] - corner) / config.resolution).astype(int)
    rows, columns = config.shape
    low, high = np.maximum(low, 0), np.minimum(high, (columns, rows))
    kept = np.flatnonzero((low < high).all(1))
    near = np.zeros(config.shape, bool)
    for left, bottom, right, top in np.concatenate([low, high], 1)[kept].tolist():
        near[bottom:top, left:right] = True
    return near, kept


def decode_map(row: RiskMapRow | dict) -> tuple[np.ndarray, np.ndarray]:
    """Risk (rows, columns) float32 in [0, 1] and the mask (rows, columns) bool of what was judged."""
    fields = row if isinstance(row, dict) else vars(row)
    coded = np.frombuffer(fields["values"], np.uint8).reshape(fields["rows"], fields["columns"])
    mask = coded != NOT_JUDGED
    return np.where(mask, coded / 254.0, 0.0).astype(np.float32), mask
