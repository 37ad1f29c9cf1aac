"""Losses of the VLM-AD heads: text alignment and structured actions (arXiv 2412.14446)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsd_model.heads.language import LanguageHeadConfig, LanguageOutput

UNKNOWN = -1  # class index of an action the teacher did not name
SAME_TEXT = 0.999  # cosine above which two texts of a batch count as one


@dataclass(frozen=True)
class LanguageTargets:
    """The teacher's answers to a batch."""

    text: Tensor  # (B, 3, text_dims) embeddings in the order of ANSWERS; nan = no such answer
    control: Tensor  # (B,) int64 index into CONTROL_ACTIONS, UNKNOWN = not answered
    turn: Tensor  # (B,) into TURN_ACTIONS
    lane: Tensor  # (B,) into LANE_ACTIONS


class LanguageLoss(nn.Module):
    """Weighted terms `text_alignment` and `action`."""

    def __init__(self, config: LanguageHeadConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, output: LanguageOutput, targets: LanguageTargets) -> dict[str, Tensor]:
        """Scalar terms, already weighted; without any answer a term is 0 and still part of the graph."""
        config = self.config
        alignment = alignment_loss(
            output.text, targets.text, config.alignment, config.teacher_temperature, config.student_temperature
        )
        action = action_loss(output.control, targets.control)
        action = action + action_loss(output.turn, targets.turn) + action_loss(output.lane, targets.lane)
        return {"text_alignment": config.alignment_weight * alignment, "action": config.action_weight * action}


def alignment_loss(
    student: Tensor, text: Tensor, kind: str, teacher_temperature: float, student_temperature: float
) -> Tensor:
    """Distance of predicted embeddings to the teacher's texts, summed over the answers, averaged over the batch.

    student, text (B, answers, dims); nan in `text` = no such answer, which adds nothing. kind, between t = text, s =
    student: cross_entropy: -softmax(t / teacher_temperature) . log_softmax(s / student_temperature), VLM-AD's;
    kl: KL divergence of the two softmax at the student's temperature (at two temperatures its gradient is
    cross_entropy's); mse: mean squared difference; contrastive: InfoNCE among the batch's texts of the same answer,
    equal texts are no negatives.
    """
    known = ~text.isnan().any(-1)  # (B, answers)
    text = text.nan_to_num()
    if kind == "cross_entropy":
        values = _cross_entropy(text / teacher_temperature, student / student_temperature)
    elif kind == "kl":
        wanted = text / student_temperature
        values = _cross_entropy(wanted, student / student_temperature) - _cross_entropy(wanted, wanted)
    elif kind == "mse":
        values = (student - text).square().mean(-1)
    elif kind == "contrastive":
        values = _contrastive(student, text, known, student_temperature)
    else:
        raise ValueError(f"alignment {kind!r} is none of cross_entropy, kl, mse, contrastive")
    answered = known.any(-1).sum().clamp(min=1)
    return torch.where(known, values, 0.0).sum() / answered


def action_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of (B, n) logits over the samples whose class (B,) is not UNKNOWN."""
    total = F.cross_entropy(logits, classes, ignore_index=UNKNOWN, reduction="sum")
    return total / (classes != UNKNOWN).sum().clamp(min=1)


def _cross_entropy(teacher: Tensor, student: Tensor) -> Tensor:
    return -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1)


def _contrastive(student: Tensor, text: Tensor, known: Tensor, temperature: float) -> Tensor:
    """(B, answers) InfoNCE of each prediction against the batch's texts."""
    student, text = (F.normalize(x, dim=-1).transpose(0, 1) for x in (student, text))  # (answers, B, dims)
    logits = student @ text.transpose(1, 2) / temperature  # (answers, B, B)
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    same = (text @ text.transpose(1, 2) > SAME_TEXT) & ~itself
    excluded = same | (~known.T[:, None] & ~itself)
    return -logits.masked_fill(excluded, float("-inf")).log_softmax(-1).diagonal(dim1=1, dim2=2).T
