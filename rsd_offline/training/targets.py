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
    transform_points,
)
from rsd_model.heads.risk import RiskHeadConfig
from rsd_model.losses.risk_labels import risk_map_target
from rsd_offline.datasets.episode_store import DriveFrame, Episode
from rsd_offline.training.signals import signal_heads

MIN_VISIBLE_PIXELS = 10  # over all cameras; an object below is not asked of the network
RISK_DECAY = 0.8  # per future step of 0.5 s
RISK_FLOOR = 0.05  # below, a future place adds nothing to the map


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
    signal_places: np.ndarray  # (S, 3)
    signal_labels: np.ndarray  # (S,)
    language_text: np.ndarray | None = None  # (3, D), nan = no answer
    language_actions: np.ndarray | None = None  # (3,), UNKNOWN = no answer


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


def swept_boxes(
    boxes: np.ndarray, futures: np.ndarray, masks: np.ndarray, risks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where objects are and will be, as boxes (n, 7) x, y, z, length, width, height, heading with fading risks (n,).

    boxes (G, 9) in VAD's code order, futures (G, 6, 2) offsets, masks (G, 6), risks (G,) with nan = unknown. Ours:
    neither paper says how an object's risk spreads over the map.
    """
    upright = np.column_stack([boxes[:, :3], boxes[:, [4, 3, 5]], -boxes[:, 6] - np.pi / 2.0])
    places, values = [upright], [risks]
    track = np.cumsum(futures, axis=1)
    for step in range(futures.shape[1]):
        faded = risks * RISK_DECAY ** (step + 1)
        kept = (masks[:, step] > 0) & (faded > RISK_FLOOR)
        later = upright[kept].copy()
        later[:, :2] += track[kept, step]
        places.append(later)
        values.append(faded[kept])
    return np.concatenate(places), np.concatenate(values)


def sample_targets(
    episode: Episode,
    index: int,
    config: ModelConfig,
    risk_head: RiskHeadConfig,
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
    places, values = swept_boxes(boxes, futures, masks, risk)
    heads, labels = signal_heads(episode, frame)
    dense, known = risk_map_target(risk_head.cell_centres(), places, values, risk_head.falloff, judged_all)
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
        risk_map=dense,
        risk_map_mask=known,
        signal_places=base_to_lidar_points(heads).astype(np.float32),
        signal_labels=labels,
    )
