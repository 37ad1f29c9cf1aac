"""Loss of the BEV flow: the velocity of what stands in a cell, asked of the BEV before any object query sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rsd_model.config import ModelConfig
from rsd_model.losses.targets import PlannerTargets


def bev_flow_term(flow: Tensor, targets: PlannerTargets, config: ModelConfig) -> dict[str, Tensor]:
    """loss_bev_flow: error of the flow (B, HW, 2) m/s at the cells of the objects' centres, mean over objects."""
    bev = config.bev
    sample = torch.repeat_interleave(torch.tensor([len(boxes) for boxes in targets.object_boxes])).to(flow.device)
    boxes = torch.cat(targets.object_boxes).to(flow)
    share = (boxes[:, :2] - boxes.new_tensor(bev.range[:2])) / boxes.new_tensor(bev.size)
    column, row = (share * share.new_tensor([bev.columns, bev.rows])).floor().long().unbind(1)
    inside = ((share >= 0.0) & (share < 1.0)).all(1)
    found = flow[sample[inside], (row * bev.columns + column)[inside]]
    error = F.smooth_l1_loss(found, boxes[inside, 7:9], reduction="sum", beta=config.loss.velocity_beta)
    return {"loss_bev_flow": config.loss.bev_flow * error / inside.sum().clamp(min=1)}
