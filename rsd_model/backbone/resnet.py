"""ResNet with basic or bottleneck blocks, deformable where configured; parameter names inside are torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

from rsd_model.config import BackboneConfig
from rsd_model.ops.deformable_conv import deformable_conv2d


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = _norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = _norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class DeformableConv2d(nn.Conv2d):
    """3x3 convolution whose taps move and are weighted by what it sees (DCNv2); parameter names are mmcv's."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride, 1, bias=False)
        self.conv_offset = nn.Conv2d(in_channels, 3 * 9, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        offsets, mask = self.conv_offset(x).split([18, 9], 1)
        return deformable_conv2d(x, offsets, mask.sigmoid(), self.weight, self.bias, self.stride[0], padding=1)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a residual. The 3x3 carries the stride, as in torchvision; with `caffe` the first 1x1."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, caffe: bool = False, deformable: bool = False
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False)
        self.bn1 = _norm(width)
        self.conv2 = (
            DeformableConv2d(width, width, second) if deformable else nn.Conv2d(width, width, 3, second, 1, bias=False)
        )
        self.bn2 = _norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = _norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4 width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), _norm(out_channels))


def _block(config: BackboneConfig, stage: int, in_channels: int, stride: int) -> BasicBlock | Bottleneck:
    width = config.widths[stage]
    if config.block == "basic":
        return BasicBlock(in_channels, width, stride)
    return Bottleneck(in_channels, width, stride, config.style == "caffe", stage in config.deformable_stages)


class ResNet(nn.Module):
    """Image backbone of any depth and width.

    `forward` takes (B, 3, H, W) and returns the chosen stages, the finest first, each (B, C, H / s, W / s) with
    s = 4, 8, 16, 32 for stage 0..3.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.stem_width, config.stem_kernel, 2, config.stem_kernel // 2, bias=False)
        self.bn1 = _norm(config.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = config.stem_width
        self.stages = nn.ModuleList()
        for index in range(max(config.out_stages) + 1):
            blocks = [_block(config, index, channels, 1 if index == 0 else 2)]
            channels = config.widths[index] * blocks[0].expansion
            blocks += [_block(config, index, channels, 1) for _ in range(config.depths[index] - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self._initialise()
        self._freeze()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, DeformableConv2d):  # begins with every tap in its place, as published
                nn.init.zeros_(module.conv_offset.weight)
                nn.init.zeros_(module.conv_offset.get_parameter("bias"))

    def _freeze(self) -> None:
        frozen = [self.conv1, self.bn1, *self.stages][: 2 + self.config.frozen_stages]
        if self.config.frozen_stages < 0:
            frozen = []
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d) and not self.config.train_norm]
        for module in frozen + norms:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet:
        """As nn.Module.train; batch norm stays in eval mode unless `train_norm`."""
        super().train(mode)
        if mode and not self.config.train_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images to the features of `out_stages`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.config.out_stages:
                features.append(x)
        return features
