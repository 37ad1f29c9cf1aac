"""From raw outputs to objects and map elements: the top scores, as VAD's NMS-free coders take them, then base_link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsd_model.config import ModelConfig
from rsd_model.contracts import DetectedObjects, MapElements
from rsd_model.geometry import lidar_to_base_points, lidar_to_base_vectors, vad_to_base_yaw


@dataclass(frozen=True)
class RawObjects:
    """Objects of one sample in the LiDAR frame, by falling score; a query may appear under several classes."""

    boxes: Tensor  # (K, 9) x, y, z (centre), width, length, height, VAD's yaw, vx, vy
    scores: Tensor  # (K,)
    labels: Tensor  # (K,)
    futures: Tensor  # (K, modes, steps * 2) offsets in m
    queries: Tensor  # (K,) query each object comes from


@dataclass(frozen=True)
class RawMap:
    """Map elements of one sample in the LiDAR frame, by falling score."""

    boxes: Tensor  # (M, 4) x, y minima, then maxima, m
    scores: Tensor  # (M,)
    labels: Tensor  # (M,)
    points: Tensor  # (M, P, 2) m
    queries: Tensor  # (M,) instance each element comes from


def decode_boxes(code: Tensor) -> Tensor:
    """Regressed code (..., 10) to boxes (..., 9); see heads/objects.py for the code."""
    yaw = torch.atan2(code[..., 6:7], code[..., 7:8])
    return torch.cat(
        [code[..., :2], code[..., 4:5], code[..., 2:4].exp(), code[..., 5:6].exp(), yaw, code[..., 8:]], -1
    )


def _top(logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    scores, places = logits.sigmoid().flatten().topk(min(count, logits.numel()))
    return scores, places % logits.shape[-1], places // logits.shape[-1]


def decode_raw_objects(outputs: dict[str, Tensor], config: ModelConfig, sample: int) -> RawObjects:
    """The best (query, class) pairs of one sample whose centre is within `objects.decode_range`."""
    scores, labels, queries = _top(outputs["all_cls_scores"][-1, sample], config.objects.max_decoded)
    boxes = decode_boxes(outputs["all_bbox_preds"][-1, sample, queries])
    low, high = boxes.new_tensor(config.objects.decode_range).split(3)
    keep = ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(-1)
    futures = outputs["all_traj_preds"][-1, sample, queries]
    return RawObjects(boxes[keep], scores[keep], labels[keep], futures[keep], queries[keep])


def decode_raw_map(outputs: dict[str, Tensor], config: ModelConfig, sample: int) -> RawMap:
    """The best (instance, class) pairs of one sample whose bounding box is within `map.decode_range`."""
    scores, labels, queries = _top(outputs["map_all_cls_scores"][-1, sample], config.map.max_decoded)
    size = scores.new_tensor(config.bev.size)
    corner = scores.new_tensor(config.bev.range[:2])
    centre, extent = outputs["map_all_bbox_preds"][-1, sample, queries].split(2, dim=-1)
    boxes = torch.cat([(centre - extent / 2.0) * size + corner, (centre + extent / 2.0) * size + corner], -1)
    low, high = scores.new_tensor(config.map.decode_range).split(2)
    keep = ((boxes >= low.repeat(2)) & (boxes <= high.repeat(2))).all(-1)
    points = outputs["map_all_pts_preds"][-1, sample, queries] * size + corner
    return RawMap(boxes[keep], scores[keep], labels[keep], points[keep], queries[keep])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy().astype(np.float64)


def _first_of_each(queries: Tensor) -> Tensor:
    """(K,) bool: the best class of each query, where a query appears under several."""
    _, first = np.unique(queries.cpu().numpy(), return_index=True)
    keep = torch.zeros(len(queries), dtype=torch.bool)
    keep[torch.from_numpy(first)] = True
    return keep.to(queries.device)


def decode_objects(
    outputs: dict[str, Tensor], config: ModelConfig, sample: int = 0, min_score: float = 0.1
) -> DetectedObjects:
    """Objects of one sample in base_link, one per query; risk is 0 where the network has no RiskHead."""
    raw = decode_raw_objects(outputs, config, sample)
    keep = _first_of_each(raw.queries) & (raw.scores >= min_score)
    boxes, queries = _array(raw.boxes[keep]), raw.queries[keep]
    futures = _array(raw.futures[keep]).reshape(len(boxes), config.motion.modes, config.motion.steps, 2)
    positions = boxes[:, None, None, :2] + futures.cumsum(2)
    modes = _array(outputs["all_traj_cls_scores"][-1, sample, queries].sigmoid())
    risks = outputs["object_risk"][sample, queries] if "object_risk" in outputs else torch.zeros(len(boxes))
    return DetectedObjects(
        boxes=np.column_stack(
            [lidar_to_base_points(boxes[:, :3]), boxes[:, [4, 3, 5]], np.asarray(vad_to_base_yaw(boxes[:, 6]))]
        ),
        velocities=lidar_to_base_vectors(boxes[:, 7:9]),
        labels=raw.labels[keep].cpu().numpy(),
        scores=_array(raw.scores[keep]),
        risks=_array(risks),
        futures=lidar_to_base_points(positions),
        future_probabilities=modes / np.maximum(modes.sum(1, keepdims=True), 1e-9),
    )


def decode_map(outputs: dict[str, Tensor], config: ModelConfig, sample: int = 0, min_score: float = 0.3) -> MapElements:
    """Map polylines of one sample in base_link."""
    raw = decode_raw_map(outputs, config, sample)
    keep = raw.scores >= min_score
    return MapElements(
        points=lidar_to_base_points(_array(raw.points[keep])),
        labels=raw.labels[keep].cpu().numpy(),
        scores=_array(raw.scores[keep]),
    )


def decode_trajectories(outputs: dict[str, Tensor], sample: int = 0) -> np.ndarray:
    """(commands, steps, 2) positions in m, base_link: the planned displacement of the vehicle under every command."""
    return lidar_to_base_vectors(_array(outputs["ego_fut_preds"][sample]).cumsum(1))


def decode(
    outputs: dict[str, Tensor], config: ModelConfig, object_score: float = 0.1, map_score: float = 0.3
) -> list[tuple[DetectedObjects, MapElements]]:
    """Objects and map elements of every sample in base_link, those that score at least so much."""
    batch = outputs["ego_fut_preds"].shape[0]
    return [
        (decode_objects(outputs, config, i, object_score), decode_map(outputs, config, i, map_score))
        for i in range(batch)
    ]
