"""Feature pyramid over the backbone's stages (FPN, arXiv 1612.03144; extra level as in RetinaNet)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Brings every stage to `channels` and adds the coarser ones into the finer.

    With fewer `levels` than stages only the finest are handed out, with the context of all; one more than stages adds a
    stride-2 convolution on the coarsest output.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, levels: int, kernel: int = 3) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(c, channels, 1) for c in in_channels])
        self.output = nn.ModuleList(
            [nn.Conv2d(channels, channels, kernel, 1, kernel // 2) for _ in in_channels[:levels]]
        )
        self.extra = nn.ModuleList([nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(levels - len(in_channels))])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Stages (B, C_i, h_i, w_i), the finest first, to levels (B, channels, h_i, w_i)."""
        laterals = [layer(x) for layer, x in zip(self.lateral, features, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size=laterals[i - 1].shape[2:])
        outputs = [layer(x) for layer, x in zip(self.output, laterals, strict=False)]
        for layer in self.extra:
            outputs.append(layer(outputs[-1]))
        return outputs
