"""What the Planner computes, under the public code's names and in its axis order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from rsd_model.checkpoints.golden import GoldenFile
from rsd_model.config import ModelConfig
from rsd_model.decode import decode_raw_map, decode_raw_objects
from rsd_model.network import Planner

SAME_SCORE = 1e-5  # scores nearer than this may swap places: rounding decides which is first
RANKED = {
    "scores_3d": ("boxes_3d", "scores_3d", "labels_3d", "trajs_3d"),
    "map_scores_3d": ("map_boxes_3d", "map_scores_3d", "map_labels_3d", "map_pts_3d"),
}


class Recorder:
    """Keeps what chosen modules return during a forward pass."""

    def __init__(self, model: Planner) -> None:
        self.seen: dict[str, Any] = {}
        watched: dict[str, nn.Module] = {
            "backbone": model.backbone,
            "fpn": model.neck,
            "objects": model.object_head,
            "map": model.map_head,
            "motion_dec": model.motion_head.object_layers[-1],
            "lane_encoder": model.map_head.polyline_encoder,
            "motion_map_dec": model.motion_head.map_layers[-1],
            "ego_agent": model.ego_head.agent_layers[-1],
            "ego_map": model.ego_head.map_layers[-1],
            **{f"enc{i}": layer for i, layer in enumerate(model.bev_encoder.layers)},
        }
        self.handles = [module.register_forward_hook(self._keep(name)) for name, module in watched.items()]

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            self.seen[name] = output

        return hook

    def close(self) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()

    def tensor(self, name: str) -> Tensor | None:
        """A recorded intermediate `<layer>/<n>` in the public code's axis order; None where we have no such thing."""
        layer, _, index = name.partition("/")
        if layer in ("backbone", "fpn"):
            levels = dict(enumerate(self.seen[layer]))
            return levels.get(int(index)) if index.isdecimal() else None
        if layer in ("det_dec", "map_dec"):
            queries = self.seen["objects" if layer == "det_dec" else "map"]
            return {"0": queries.hidden.transpose(1, 2), "1": queries.references}.get(index)
        if layer not in self.seen or layer in ("objects", "map") or index != "0":
            return None
        value = self.seen[layer]
        if layer in ("motion_dec", "ego_agent", "ego_map"):
            return value.transpose(0, 1)
        return value.flatten(0, 1)[None] if layer == "motion_map_dec" else value


def decoded_tensors(outputs: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The public detector's decoded result of sample 0, under its names."""
    objects, lanes = decode_raw_objects(outputs, config, 0), decode_raw_map(outputs, config, 0)
    boxes = objects.boxes.clone()
    boxes[:, 2] -= boxes[:, 5] / 2.0  # the public box structure keeps the bottom centre
    return {
        "boxes_3d": boxes,
        "scores_3d": objects.scores,
        "labels_3d": objects.labels,
        "trajs_3d": objects.futures,
        "map_boxes_3d": lanes.boxes,
        "map_scores_3d": lanes.scores,
        "map_labels_3d": lanes.labels,
        "map_pts_3d": lanes.points,
        "ego_fut_preds": outputs["ego_fut_preds"][0],
    }


def in_recorded_order(decoded: dict[str, Tensor], golden: GoldenFile, frame: int) -> dict[str, Tensor]:
    """`decoded` with its lists sorted as recorded where equal scores leave the order open."""
    sorted_lists = dict(decoded)
    for score, names in RANKED.items():
        rows = golden.whole(frame, f"decoded/{names[0]}")
        if rows is None or rows.shape != tuple(decoded[names[0]].shape):
            continue
        order = _matched_order(decoded[score].numpy(), decoded[names[0]].numpy(), rows)
        sorted_lists |= {name: decoded[name][order] for name in names}
    return sorted_lists


def _matched_order(scores: np.ndarray, rows: np.ndarray, recorded: np.ndarray) -> Tensor:
    """Which of our rows (K, C) stands at each recorded place; rows move only among equal scores (K,), which fall."""
    order = np.arange(len(scores))
    ends = np.flatnonzero(np.append(-np.diff(scores) > SAME_SCORE, True)) + 1 if len(scores) else []
    start = 0
    for end in ends:
        if end - start > 1:
            distance = np.abs(recorded[start:end, None] - rows[None, start:end]).sum(-1)
            distance = np.nan_to_num(distance, nan=1e30, posinf=1e30)
            order[start:end] = start + linear_sum_assignment(distance)[1]
        start = end
    return torch.from_numpy(order)


def layer_group(name: str) -> str:
    """What a row belongs to, for a summary: backbone, fpn, enc, det_dec, ..., head, decoded, loss, plan."""
    parts = name.split("/")
    if not re.fullmatch(r"f\d+", parts[0]):
        return parts[0]
    return re.sub(r"\d+$", "", parts[2]) if len(parts) > 2 and parts[1] == "mid" else parts[1]
