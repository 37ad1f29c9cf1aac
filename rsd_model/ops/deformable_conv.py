"""Modulated deformable convolution (DCNv2, arXiv 1811.11168) on the sampling of deformable attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rsd_model.ops.deformable_attention import deformable_attention


def deformable_conv2d(
    x: Tensor,
    offsets: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    path: str | None = None,
) -> Tensor:
    """Convolution whose tap k at cell (i, j) reads where offsets say, bilinear with zero padding, times the mask.

    x (B, C, H, W); weight (C_out, C, rows, columns), K = rows * columns taps, row by row; offsets (B, 2 K, h, w) px, y
    before x for each tap; mask (B, K, h, w). Returns (B, C_out, h, w): the numbers of mmcv's modulated_deform_conv2d
    with one group. `path` as in `deformable_attention`. Raises ValueError where shapes disagree.
    """
    _check_shapes(x, offsets, mask, weight, stride, padding)
    args = (x, offsets, mask, weight, bias, stride, padding, path)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, offsets, mask, weight)):
        # The samples are K times the input: kept for the backward pass they would fill a GPU, so it takes them again.
        return checkpoint(_convolve, *args, use_reentrant=False, preserve_rng_state=False)
    return _convolve(*args)


def _convolve(
    x: Tensor,
    offsets: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    path: str | None,
) -> Tensor:
    size = offsets.shape[2:]
    locations = _tap_locations(offsets, weight.shape, x.shape, stride, padding).flatten(1, 3)  # (B, h w K, 2)
    weights = mask.permute(0, 2, 3, 1).flatten(1)
    value = x.flatten(2).transpose(1, 2).unsqueeze(2)
    # Every tap of every cell is a query with one head, one level and one point: what comes back are the columns.
    samples = deformable_attention(
        value, [(x.shape[2], x.shape[3])], locations[:, :, None, None, None], weights[:, :, None, None, None], path
    )
    columns = samples.unflatten(1, (size[0] * size[1], -1)).flatten(2)  # (B, h w, K C)
    out = F.linear(columns, weight.permute(0, 2, 3, 1).flatten(1), bias)
    return out.transpose(1, 2).unflatten(2, size)


def _tap_locations(offsets: Tensor, kernel: torch.Size, image: torch.Size, stride: int, padding: int) -> Tensor:
    """(B, h, w, K, 2) x, y of every tap with [0, 1] the whole map, in float32 at least."""
    dtype = torch.promote_types(offsets.dtype, torch.float32)
    rows, columns, height, width = kernel[2], kernel[3], offsets.shape[2], offsets.shape[3]

    def places(count: int, taps: int) -> Tensor:  # (count, taps) px, of the unmoved taps along one axis
        cells = torch.arange(count, device=offsets.device, dtype=dtype) * stride - padding
        return cells[:, None] + torch.arange(taps, device=offsets.device, dtype=dtype)

    y, x = offsets.to(dtype).unflatten(1, (rows, columns, 2)).permute(3, 0, 4, 5, 1, 2)  # each (B, h, w, rows, columns)
    y = y + places(height, rows)[:, None, :, None]
    x = x + places(width, columns)[None, :, None, :]
    return torch.stack([(x + 0.5) / image[3], (y + 0.5) / image[2]], -1).flatten(3, 4)


def _check_shapes(x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, stride: int, padding: int) -> None:
    if x.dim() != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (B, {weight.shape[1]}, H, W) for this weight")
    taps = weight.shape[2] * weight.shape[3]
    size = [(n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
    for name, tensor, channels in (("offsets", offsets, 2 * taps), ("mask", mask, taps)):
        expected = (x.shape[0], channels, *size)
        if tuple(tensor.shape) != expected:
            raise ValueError(f"{name} have shape {tuple(tensor.shape)}, expected {expected}")
