"""Makes a trained image backbone cheaper to run without changing what it computes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rsd_model.backbone.resnet import BasicBlock, ResNet


def fold_batch_norm(backbone: ResNet) -> None:
    """Fold every batch norm into the convolution before it, in place; for inference only.

    The parameters change, so weights must be loaded before. Channels-last memory makes it faster on a CPU.
    """
    backbone.eval()
    _fold(backbone, "conv1", "bn1")
    for stage in backbone.stages:
        for block in stage.children():
            for index in range(1, 3 if isinstance(block, BasicBlock) else 4):
                _fold(block, f"conv{index}", f"bn{index}")
            if isinstance(block.downsample, nn.Module):
                _fold(block.downsample, "0", "1")
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fold(owner: nn.Module, conv: str, norm: str) -> None:
    setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
    setattr(owner, norm, nn.Identity())
