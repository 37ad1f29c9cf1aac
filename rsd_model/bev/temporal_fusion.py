"""Convolutions over the current and the previous BEV: what has moved shows as a difference of neighbouring cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsd_model.bev.ego_motion import carry_bev
from rsd_model.config import BevConfig

DILATIONS = (1, 2, 1)  # together 9 x 9 cells


class TemporalFusion(nn.Module):
    """Adds to a BEV what it has in common with and against the previous one, both in the same vehicle frame.

    Warp, concatenate, convolve, as in BEVFormer v2 (arXiv 2211.10439): small networks that train for
    hours learn velocities by it long before temporal self-attention carries them.
    """

    def __init__(self, dims: int, config: BevConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (2 * dims, dims, dims)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n, dims, 3, padding=d, dilation=d) for n, d in zip(inputs, DILATIONS, strict=True)
        )
        nn.init.zeros_(self.convolutions[-1].weight)  # starts as if it were not there
        nn.init.zeros_(self.convolutions[-1].bias)

    def forward(self, current: Tensor, previous: Tensor | None, can_bus: Tensor) -> Tensor:
        """BEVs (B, HW, dims) to the same; can_bus (B, 18) relative to the previous frame; no previous one is zeros."""
        shape = (self.config.rows, self.config.columns)
        before = torch.zeros_like(current) if previous is None else carry_bev(previous, can_bus, self.config)
        hidden = torch.cat([current, before.to(current.dtype)], -1).transpose(1, 2).unflatten(2, shape)
        for convolution in self.convolutions[:-1]:
            hidden = convolution(hidden).relu()
        return current + self.convolutions[-1](hidden).flatten(2).transpose(1, 2)
