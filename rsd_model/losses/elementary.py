"""Element-wise losses shared by the heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


def sigmoid_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss (arXiv 1708.02002) of every logit against 0/1 targets of the same shape, not reduced."""
    probability = logits.sigmoid()
    wrong = (1.0 - probability) * targets + probability * (1.0 - targets)
    weight = (FOCAL_ALPHA * targets + (1.0 - FOCAL_ALPHA) * (1.0 - targets)) * wrong.square()
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight


def focal_cost(logits: Tensor) -> Tensor:
    """What it costs to call each class present rather than absent, for matching; same shape as the logits."""
    eps = 1e-12
    probability = logits.sigmoid()
    absent = -(1.0 - probability + eps).log() * (1.0 - FOCAL_ALPHA) * probability.square()
    present = -(probability + eps).log() * FOCAL_ALPHA * (1.0 - probability).square()
    return present - absent


def direction_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - cosine between vectors (..., 2)."""
    eps = 1e-12
    dot = (predicted * target).sum(-1)
    norm = ((predicted.square().sum(-1) + eps) * (target.square().sum(-1) + eps)).sqrt()
    return 1.0 - dot / norm


def pad_sequences(items: list[Tensor], value: float = 0.0) -> Tensor:
    """B tensors (G_b, ...) to one (B, max G, ...), the tail filled with `value`."""
    return torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=value)
