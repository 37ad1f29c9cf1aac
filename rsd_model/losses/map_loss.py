"""Losses of the map polylines."""

from __future__ import annotations

import torch
from torch import Tensor

from rsd_model.config import ModelConfig
from rsd_model.losses.elementary import direction_loss, focal_cost, pad_sequences, sigmoid_focal_loss
from rsd_model.losses.map_lines import ABSENT, equivalent_orders
from rsd_model.losses.matching import Matches, match
from rsd_model.losses.targets import PlannerTargets


def map_orders(targets: PlannerTargets, config: ModelConfig) -> Tensor:
    """(B, M_max, V, P, 2) every equivalent point order of every line, m."""
    orders = targets.map_variants or [equivalent_orders(item) for item in targets.map_points]
    variants = max(item.shape[1] for item in orders)
    padded = []
    for item in orders:
        if len(item) and item.shape[2] != config.map.points:
            raise ValueError(f"a map line has {item.shape[2]} points, map.points of the network is {config.map.points}")
        full = item.new_full((len(item), variants, config.map.points, 2), ABSENT)
        if len(item):
            full[:, : item.shape[1]] = item
        padded.append(full)
    return pad_sequences(padded)


def _normalise(points: Tensor, config: ModelConfig) -> Tensor:
    return (points - points.new_tensor(config.bev.range[:2])) / points.new_tensor(config.bev.size)


def match_map(
    outputs: dict[str, Tensor], targets: PlannerTargets, orders: Tensor, config: ModelConfig
) -> tuple[Matches, Tensor]:
    """Instances to ground-truth lines for every layer, and the matched lines (K, P, 2) in their best order, m."""
    logits, points = outputs["map_all_cls_scores"].detach(), outputs["map_all_pts_preds"].detach()
    layers, batch, instances = points.shape[:3]
    lines, variants = orders.shape[1:3]
    labels = pad_sequences(targets.map_labels)
    classes = focal_cost(logits).gather(-1, labels[None, :, None].expand(*logits.shape[:3], -1))
    wanted = _normalise(orders, config).flatten(3).flatten(1, 2).expand(layers, -1, -1, -1)
    distance = torch.cdist(points.flatten(3), wanted, p=1).view(layers, batch, instances, lines, variants)
    nearest, order = distance.min(-1)
    cost = config.loss.map_class * classes + config.loss.map_points * nearest
    matches = match(cost, [len(item) for item in targets.map_labels])
    chosen = order[matches.layer, matches.sample, matches.query, matches.target]
    return matches, orders[matches.sample, matches.target, chosen]


def map_terms(outputs: dict[str, Tensor], targets: PlannerTargets, config: ModelConfig) -> dict[str, Tensor]:
    """Per layer (L,): loss_map_cls, loss_map_pts, loss_map_dir, and the two box terms, whose weight is zero in VAD."""
    logits, points = outputs["map_all_cls_scores"], outputs["map_all_pts_preds"]
    zero = logits.new_zeros(len(logits))
    orders = map_orders(targets, config)
    wanted = torch.zeros_like(logits)
    if orders.shape[1] == 0:
        classes = sigmoid_focal_loss(logits, wanted).sum((1, 2, 3))
        near = direction = zero + 0.0 * points.sum((1, 2, 3, 4))
    else:
        matches, truth = match_map(outputs, targets, orders, config)
        where = (matches.layer, matches.sample, matches.query)
        wanted[(*where, pad_sequences(targets.map_labels)[matches.sample, matches.target])] = 1.0
        classes = sigmoid_focal_loss(logits, wanted).sum((1, 2, 3)) / matches.normaliser
        found = points[where]
        near = zero.index_add(0, matches.layer, (found - _normalise(truth, config)).abs().sum((1, 2)))
        steps = found.diff(dim=1) * found.new_tensor(config.bev.size)
        direction = zero.index_add(0, matches.layer, direction_loss(steps, truth.diff(dim=1)).sum(1))
        near, direction = near / matches.normaliser, direction / matches.normaliser
    weights = config.loss
    return {
        "loss_map_cls": weights.map_class * classes,
        "loss_map_bbox": zero,
        "loss_map_iou": zero,
        "loss_map_pts": weights.map_points * near,
        "loss_map_dir": weights.map_direction * direction,
    }
