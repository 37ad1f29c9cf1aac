"""Losses of the RiskHead. An object or a place that the teacher did not score is unknown, never zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsd_model.heads.risk import RiskHeadConfig, RiskOutput


@dataclass(frozen=True)
class RiskTargets:
    """The teacher's word on a batch."""

    object_risk: Tensor  # (B, Q) in [0, 1], one for each reference point; nan = unknown
    risk_map: Tensor | None = None  # (B, rows, columns) in [0, 1], laid out as RiskOutput.risk_map
    risk_map_mask: Tensor | None = None  # (B, rows, columns) bool, true = known; None: known where risk_map is not nan


class RiskLoss(nn.Module):
    """Weighted terms `object_risk` (L1), `risk_map` (L1) and, where switched on, `risk_ranking`."""

    def __init__(self, config: RiskHeadConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, output: RiskOutput, targets: RiskTargets) -> dict[str, Tensor]:
        """Scalar terms, already weighted; a term without any known target is 0 and still part of the graph."""
        config = self.config
        balance = (config.risky_share, config.risky_above)
        object_loss = object_risk_loss(output.object_risk, targets.object_risk, *balance)
        terms = {"object_risk": config.object_weight * object_loss}
        if targets.risk_map is not None:
            map_loss = risk_map_loss(output.risk_map, targets.risk_map, targets.risk_map_mask, *balance)
            terms["risk_map"] = config.map_weight * map_loss
        if config.ranking_weight > 0.0:
            ranking = ranking_loss(output.object_risk, targets.object_risk, config.ranking_margin, config.ranking)
            terms["risk_ranking"] = config.ranking_weight * ranking
        return terms


def object_risk_loss(predicted: Tensor, target: Tensor, risky_share: float = 0.0, risky_above: float = 0.1) -> Tensor:
    """Mean absolute error over the known entries of `target` (B, Q), nan = unknown (RSD's L_risk)."""
    return _balanced_l1(predicted, target, ~target.isnan(), risky_share, risky_above)


def risk_map_loss(
    predicted: Tensor, target: Tensor, mask: Tensor | None = None, risky_share: float = 0.0, risky_above: float = 0.1
) -> Tensor:
    """Mean absolute error over the known cells of `target` (B, rows, columns): `mask` true, value not nan."""
    known = ~target.isnan() if mask is None else mask.bool() & ~target.isnan()
    return _balanced_l1(predicted, target, known, risky_share, risky_above)


def _balanced_l1(predicted: Tensor, target: Tensor, known: Tensor, risky_share: float, risky_above: float) -> Tensor:
    """L1 with `risky_share` on risky targets: nearly all is harmless, and plain L1 learns the median, zero."""
    target = target.nan_to_num()
    error = (predicted - target).abs()
    if risky_share == 0.0:
        return _masked_mean(error, known)
    risky = known & (target > risky_above)
    return risky_share * _masked_mean(error, risky) + (1.0 - risky_share) * _masked_mean(error, known & ~risky)


def ranking_loss(predicted: Tensor, target: Tensor, margin: float, kind: str = "hinge") -> Tensor:
    """Mean penalty over the pairs of one sample whose order the teacher states by more than `margin`.

    hinge: relu(margin - (p_i - p_j)); logistic: log(1 + exp(-(p_i - p_j) / margin)). predicted, target (B, Q), nan =
    unknown. The order within a frame is what VLM teachers are most reliable at; their absolute scale is not.
    """
    ordered = (target.unsqueeze(2) - target.unsqueeze(1)) > margin  # false where either is nan
    gap = predicted.unsqueeze(2) - predicted.unsqueeze(1)  # (B, Q, Q)
    penalty = F.relu(margin - gap) if kind == "hinge" else F.softplus(-gap / max(margin, 1e-3))
    return _masked_mean(penalty, ordered)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
