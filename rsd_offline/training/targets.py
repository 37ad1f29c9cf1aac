"""Ground truth of one recorded frame in the network's terms: LiDAR frame, offsets, polylines, risks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.config import ModelConfig
from rsd_model.contracts import PLAN_STEPS
from rsd_model.geometry import (
    base_to_lidar_points,
    base_to_lidar_vectors,
    base_to_vad_yaw,
    rotation_z,
    transform_points,
)
from rsd_offline.datasets.episode_store import DriveFrame, Episode

MIN_VISIBLE_PIXELS = 10  # over all cameras; an object below is not asked of the network
RISK_FALLOFF = 1.0  # m, standard deviation of the risk around a box
RISK_DECAY = 0.8  # per future step of 0.5 s
KNOWN_MARGIN = 2.0  # m around a judged object in which the dense map counts as known


@dataclass(frozen=True)
class RiskLayout:
    """Dense risk map of the network: row 0 at the back, column 0 at the left, LiDAR frame."""

    rows: int
    columns: int
    x_min: float  # m
    y_min: float  # m
    cell_x: float  # m
    cell_y: float  # m

    def centres(self) -> np.ndarray:
        """(rows, columns, 2) m, centre of every cell."""
        x = self.x_min + (np.arange(self.columns) + 0.5) * self.cell_x
        y = self.y_min + (np.arange(self.rows) + 0.5) * self.cell_y
        return np.stack(np.meshgrid(x, y), axis=-1)


@dataclass(frozen=True)
class SampleTargets:
    """Targets of one sample as arrays; fields as in `rsd_model.losses.targets.PlannerTargets`."""

    object_boxes: np.ndarray  # (G, 9)
    object_labels: np.ndarray  # (G,)
    object_futures: np.ndarray  # (G, 6, 2)
    object_future_masks: np.ndarray  # (G, 6)
    object_risks: np.ndarray  # (G,), nan = unknown
    map_points: np.ndarray  # (M, P, 2)
    map_labels: np.ndarray  # (M,)
    ego_future: np.ndarray  # (6, 2) offsets
    command: int
    risk_map: np.ndarray  # (rows, columns)
    risk_map_mask: np.ndarray  # (rows, columns) bool


def object_boxes(frame: DriveFrame) -> np.ndarray:
    """(K, 9) boxes of a frame in VAD's code order and LiDAR frame."""
    if len(frame.boxes) == 0:
        return np.zeros((0, 9))
    centre = base_to_lidar_points(frame.boxes[:, :3])
    length, width, height, yaw = frame.boxes[:, 3:7].T
    velocity = base_to_lidar_vectors(frame.velocities)
    return np.column_stack([centre, width, length, height, base_to_vad_yaw(yaw), velocity])


def object_futures(episode: Episode, index: int, frame: DriveFrame) -> tuple[np.ndarray, np.ndarray]:
    """Future offsets (K, 6, 2) m, LiDAR frame, and masks (K, 6) of a frame's objects, from the frames that follow."""
    positions = np.full((len(frame.ids), PLAN_STEPS + 1, 2), np.nan)
    positions[:, 0] = frame.boxes[:, :2]
    to_now = np.linalg.inv(frame.pose)
    for step in range(1, min(PLAN_STEPS, len(episode) - 1 - index) + 1):
        later = episode.frame(index + step, with_images=False)
        rows = {int(i): k for k, i in enumerate(later.ids)}
        kept = [(k, rows[int(i)]) for k, i in enumerate(frame.ids) if int(i) in rows]
        if kept:
            now, then = np.array(kept).T
            positions[now, step] = transform_points(to_now @ later.pose, later.boxes[then, :3])[:, :2]
    offsets = np.diff(base_to_lidar_points(positions), axis=1)
    known = np.isfinite(offsets).all(axis=2)
    known = np.logical_and.accumulate(known, axis=1)
    return np.where(known[..., None], offsets, 0.0), known.astype(np.float32)


def ego_future(plan: np.ndarray) -> np.ndarray:
    """(6, 2) offsets in the LiDAR frame of a plan (6, 2) m in base_link (displacements of base_link's origin)."""
    return np.diff(np.vstack([np.zeros((1, 2)), base_to_lidar_vectors(plan)]), axis=0)


def resample_lines(points: np.ndarray, count: int) -> np.ndarray:
    """Polylines (M, P, 2) to `count` evenly spaced points each (M, count, 2)."""
    lines = np.zeros((len(points), count, 2))
    for line, source in zip(lines, points, strict=True):
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(source, axis=0), axis=1))])
        wanted = np.linspace(0.0, along[-1], count)
        line[:] = np.stack([np.interp(wanted, along, source[:, k]) for k in range(2)], axis=1)
    return lines


def distance_to_box(points: np.ndarray, centre: np.ndarray, size: np.ndarray, heading: float) -> np.ndarray:
    """Distance in m of points (..., 2) to an upright box (centre (2,), size (2,) length and width, heading rad)."""
    local = np.abs((points - centre) @ rotation_z(heading)[:2, :2])
    return np.linalg.norm(np.maximum(local - size / 2.0, 0.0), axis=-1)


def risk_map(
    layout: RiskLayout, boxes: np.ndarray, futures: np.ndarray, masks: np.ndarray, risks: np.ndarray, judged_all: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Dense risk (rows, columns) and where it is known, from judged objects; ours, neither paper has one.

    Each judged object (boxes (G, 9), futures (G, 6, 2), masks (G, 6), risks (G,) with nan = unknown) spreads its risk
    around its box and, fading, along its known future. With `judged_all` every cell is known, else the objects'
    surroundings are.
    """
    cells = layout.centres()
    values = np.zeros((layout.rows, layout.columns))
    known = np.full(values.shape, judged_all)
    for box, future, mask, risk in zip(boxes, futures, masks, risks, strict=True):
        heading = -box[6] - np.pi / 2.0
        size = box[[4, 3]]
        track = box[:2] + np.vstack([np.zeros((1, 2)), np.cumsum(future, axis=0)])
        if not np.isfinite(risk):
            known &= distance_to_box(cells, box[:2], size, heading) > KNOWN_MARGIN
            continue
        for step in range(1 + int(mask.sum())):
            distance = distance_to_box(cells, track[step], size, heading)
            spread = risk * RISK_DECAY**step * np.exp(-0.5 * (distance / RISK_FALLOFF) ** 2)
            np.maximum(values, spread, out=values)
            if step == 0 and not judged_all:
                known |= distance <= KNOWN_MARGIN
    return values, known


def sample_targets(
    episode: Episode,
    index: int,
    config: ModelConfig,
    layout: RiskLayout,
    risks: dict[int, tuple[float, float]],
    judged_all: bool,
) -> SampleTargets:
    """Targets of frame `index`; `risks` maps object id to (risk, weight) of the chosen teacher."""
    frame = episode.frame(index, with_images=False)
    boxes = object_boxes(frame)
    futures, masks = object_futures(episode, index, frame)
    low, high = np.array(config.bev.range[:2]), np.array(config.bev.range[3:5])
    inside = np.all((boxes[:, :2] >= low) & (boxes[:, :2] <= high), axis=1) & (frame.pixels >= MIN_VISIBLE_PIXELS)
    boxes, futures, masks = boxes[inside], futures[inside], masks[inside]
    risk = np.array([risks.get(int(i), (np.nan, 0.0))[0] for i in frame.ids[inside]], dtype=float)
    dense, known = risk_map(layout, boxes, futures, masks, risk, judged_all)
    return SampleTargets(
        object_boxes=boxes.astype(np.float32),
        object_labels=frame.labels[inside].astype(np.int64),
        object_futures=futures.astype(np.float32),
        object_future_masks=masks,
        object_risks=risk.astype(np.float32),
        map_points=base_to_lidar_points(resample_lines(frame.map_points, config.map.points)).astype(np.float32),
        map_labels=frame.map_labels.astype(np.int64),
        ego_future=ego_future(frame.plan).astype(np.float32),
        command=int(frame.command),
        risk_map=dense.astype(np.float32),
        risk_map_mask=known,
    )
