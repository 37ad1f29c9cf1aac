"""Losses of objects and of their futures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rsd_model.config import ModelConfig
from rsd_model.losses.elementary import focal_cost, pad_sequences, sigmoid_focal_loss
from rsd_model.losses.matching import Matches, match
from rsd_model.losses.targets import PlannerTargets

MATCHED_CODE = 8  # velocities do not take part in matching


def encode_boxes(boxes: Tensor) -> Tensor:
    """(..., 9) x, y, z, w, l, h, yaw, vx, vy to the regressed code (..., 10); -inf where a size is zero."""
    centre, size, yaw, velocity = boxes.split([3, 3, 1, 2], dim=-1)
    size = size.log()
    return torch.cat(
        [centre[..., :2], size[..., :2], centre[..., 2:], size[..., 2:], yaw.sin(), yaw.cos(), velocity], -1
    )


def match_objects(outputs: dict[str, Tensor], targets: PlannerTargets, config: ModelConfig) -> Matches:
    """Queries to ground-truth objects, for every decoder layer."""
    logits, boxes = outputs["all_cls_scores"].detach(), outputs["all_bbox_preds"].detach()
    code = encode_boxes(pad_sequences(targets.object_boxes, 1.0))[..., :MATCHED_CODE]
    labels = pad_sequences(targets.object_labels)
    classes = focal_cost(logits).gather(-1, labels[None, :, None].expand(*logits.shape[:3], -1))
    distance = torch.cdist(boxes[..., :MATCHED_CODE], code.expand(len(boxes), -1, -1, -1), p=1)
    cost = config.loss.object_class * classes + config.loss.object_box * distance
    return match(cost, [len(item) for item in targets.object_labels])


def object_terms(
    outputs: dict[str, Tensor], targets: PlannerTargets, matches: Matches, config: ModelConfig
) -> dict[str, Tensor]:
    """Per layer (L,): loss_cls, loss_bbox."""
    logits, boxes = outputs["all_cls_scores"], outputs["all_bbox_preds"]
    where = (matches.layer, matches.sample, matches.query)
    labels = pad_sequences(targets.object_labels)[matches.sample, matches.target]
    wanted = torch.zeros_like(logits)
    wanted[(*where, labels)] = 1.0
    classes = sigmoid_focal_loss(logits, wanted).sum((1, 2, 3)) / matches.normaliser
    code = encode_boxes(pad_sequences(targets.object_boxes, 1.0))[matches.sample, matches.target]
    finite = code.isfinite().all(-1, keepdim=True)
    places, velocities = boxes[where].tensor_split([MATCHED_CODE], -1)
    true_places, true_velocities = code.masked_fill(~finite, 0.0).tensor_split([MATCHED_CODE], -1)
    beta = config.loss.velocity_beta
    moving = F.smooth_l1_loss(velocities, true_velocities, reduction="none", beta=beta)
    error = torch.cat([(places - true_places).abs(), moving], -1) * finite * boxes.new_tensor(config.loss.box_code)
    box = boxes.new_zeros(len(boxes)).index_add(0, matches.layer, error.sum(-1)) / matches.normaliser
    return {"loss_cls": config.loss.object_class * classes, "loss_bbox": config.loss.object_box * box}


def motion_terms(
    outputs: dict[str, Tensor], targets: PlannerTargets, matches: Matches, config: ModelConfig
) -> dict[str, Tensor]:
    """loss_traj of the mode that ends nearest, loss_traj_cls of choosing it; last layer only."""
    last = matches.of_layer(len(outputs["all_cls_scores"]) - 1)
    where = (last.sample, last.query)
    futures = outputs["all_traj_preds"][-1][where].unflatten(-1, (-1, 2))  # (K, modes, steps, 2)
    truth = pad_sequences(targets.object_futures)[last.sample, last.target]
    known = pad_sequences(targets.object_future_masks).to(truth.dtype)[last.sample, last.target]
    final = torch.linalg.vector_norm((truth[:, None] - futures.detach()).sum(-2), dim=-1) * known[:, -1:]
    best = final.argmin(-1)  # (K,)
    chosen = futures[torch.arange(len(best), device=best.device), best]
    boxes = encode_boxes(pad_sequences(targets.object_boxes, 1.0))[last.sample, last.target]
    weight = known[..., None] * boxes.isfinite().all(-1)[:, None, None]
    distance = ((chosen - truth).abs() * weight).sum() / last.normaliser
    logits = outputs["all_traj_cls_scores"][-1]
    wanted = torch.zeros_like(logits)
    wanted[where] = F.one_hot(best, logits.shape[-1]).to(logits.dtype)
    classes = sigmoid_focal_loss(logits, wanted).sum() / last.normaliser
    return {"loss_traj": config.loss.future * distance, "loss_traj_cls": config.loss.future_class * classes}
