"""Losses of the plan: imitation, and VAD's three constraints (arXiv 2303.12077, section 3.4).

The constraints see a trajectory `plan` (B, T, 2), positions in m, LiDAR frame, and give one value a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FAR = 1.0e6  # m, where lines and agents go that do not count
HALT_STEP = 0.1  # m of the last step (0.5 s) below which a future ends standing


def imitation_term(offsets: Tensor, truth: Tensor, mask: Tensor, command: Tensor, all_commands: bool = False) -> Tensor:
    """Mean L1 over all rows (B, commands, T, 2), zero outside the known steps and, unless all learn, other commands."""
    row = torch.nn.functional.one_hot(command, offsets.shape[1]).to(offsets.dtype)
    row = torch.ones_like(row) if all_commands else row
    weight = row[:, :, None, None] * mask[:, None, :, None]
    return ((offsets - truth[:, None]).abs() * weight).mean()


def ego_mode(truth: Tensor) -> Tensor:
    """(B,) index into EGO_MODES of futures (B, T, 2) offsets in m: a halt is what stands at its end."""
    return (torch.linalg.vector_norm(truth[:, -1], dim=-1) < HALT_STEP).long()


def mode_term(logits: Tensor, mode: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of (B, EGO_MODES) logits; `mask` (B, T): a future whose end is unknown does not count."""
    known = mask[:, -1]
    entropy = torch.nn.functional.cross_entropy(logits, mode, reduction="none")
    return (entropy * known).sum() / known.sum().clamp(min=1.0)


def _segments_cross(start: Tensor, end: Tensor, other_start: Tensor, other_end: Tensor) -> Tensor:
    """Whether segments (..., 2) cross or touch; parallel ones do not."""
    step, other = end - start, other_end - other_start
    between = other_start - start
    determinant = step[..., 0] * other[..., 1] - other[..., 0] * step[..., 1]
    parallel = determinant == 0
    divisor = determinant.masked_fill(parallel, 1.0)
    on_first = (between[..., 0] * other[..., 1] - between[..., 1] * other[..., 0]) / divisor
    on_second = (between[..., 0] * step[..., 1] - between[..., 1] * step[..., 0]) / divisor
    inside = (on_first >= 0) & (on_first <= 1) & (on_second >= 0) & (on_second <= 1)
    return inside & ~parallel


def _nearest_line(plan: Tensor, lines: Tensor) -> Tensor:
    """(B, T, P, 2): the line with the nearest point, for every step; lines (B, V, P, 2)."""
    distance = torch.linalg.vector_norm(plan[:, :, None, None] - lines[:, None], dim=-1).amin(-1)
    nearest = distance.argmin(-1)
    return lines[torch.arange(len(lines), device=lines.device)[:, None], nearest]


def bound_constraint(plan: Tensor, bounds: Tensor, margin: float) -> Tensor:
    """(B, T) how much nearer than `margin` m a step is to a bound (B, V, P, 2); 0 from where the plan crosses one."""
    start = torch.cat([torch.zeros_like(plan[:, :1]), plan[:, :-1]], 1)
    line = _nearest_line(plan, bounds)
    crossed = _segments_cross(start[:, :, None], plan[:, :, None], line[:, :, :-1], line[:, :, 1:]).any(-1)
    distance = torch.linalg.vector_norm(plan[:, :, None] - bounds.flatten(1, 2)[:, None], dim=-1).min(-1).values
    return (margin - distance).clamp(min=0.0).masked_fill(crossed.cumsum(1) > 0, 0.0)


def collision_constraint(plan: Tensor, agents: Tensor, margin: tuple[float, ...], reach: float = 3.0) -> Tensor:
    """(B, T, 2) how much nearer than `margin` m in x and in y a step is to an agent (B, A, T, 2) within `reach` m.

    As published, the nearest agent is chosen for each axis on its own.
    """
    gap = plan[:, None] - agents
    far = torch.linalg.vector_norm(gap, dim=-1, keepdim=True) > reach
    nearest = gap.abs().masked_fill(far, FAR).min(1).values
    return (nearest.new_tensor(margin) - nearest).clamp(min=0.0)


def direction_constraint(plan: Tensor, dividers: Tensor, reach: float = 2.0, moving: float = 1.0) -> Tensor:
    """(B, T) angle in rad between the plan and the nearest divider (B, V, P, 2), whichever way that one points.

    0 where no divider is within `reach` m and for a plan shorter than `moving` m.
    """
    line = _nearest_line(plan, dividers)
    distance, index = torch.linalg.vector_norm(plan[:, :, None] - line, dim=-1).min(-1)
    last = line.shape[2] - 1
    beside = torch.where(index == last, index - 1, index + 1)
    rows = torch.arange(len(plan), device=plan.device)[:, None]
    steps = torch.arange(plan.shape[1], device=plan.device)[None]
    along = line[rows, steps, beside] - line[rows, steps, index]
    heading = plan.diff(dim=1)
    heading = torch.cat([heading, heading[:, -1:]], 1)
    angle = torch.atan2(heading[..., 1], heading[..., 0]) - torch.atan2(along[..., 1], along[..., 0])
    angle = torch.where(angle > math.pi, angle - math.pi, angle)
    angle = torch.where(angle > math.pi / 2, angle - math.pi, angle)
    angle = torch.where(angle < -math.pi, angle + math.pi, angle)
    angle = torch.where(angle < -math.pi / 2, angle + math.pi, angle)
    standing = torch.linalg.vector_norm(plan[:, -1] - plan[:, 0], dim=-1) < moving
    return angle.abs().masked_fill((distance > reach) | standing[:, None], 0.0)
