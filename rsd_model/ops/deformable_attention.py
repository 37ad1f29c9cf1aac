"""Multi-scale deformable attention: the one operator that the encoder, the decoders and the RiskHead share.

Every path computes the same sum (Deformable DETR, arXiv 2010.04159, eq. 3; the numbers of mmcv's
multi_scale_deformable_attn): bilinear samples with zero padding and align_corners=False, weighted and added over
levels and points.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

PATHS = ("grid_sample", "embedding_bag", "triton")
SpatialShapes = Sequence[tuple[int, int]]


def deformable_attention(
    value: Tensor,
    spatial_shapes: SpatialShapes,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    path: str | None = None,
    maps: Tensor | None = None,
) -> Tensor:
    """Weighted sum of bilinear samples of flattened feature maps.

    value (B, S, heads, dim), S = sum of h*w; spatial_shapes: (h, w) of each level; sampling_locations (B, Q, heads,
    levels, points, 2) x, y with [0, 1] the whole map (outside: zeros); attention_weights (B, Q, heads, levels, points).
    Returns (B, Q, heads*dim) in value's dtype. With `maps` (Q,), ascending, B of locations and weights is 1 and query q
    samples value[maps[q]]: as many queries for each map as it needs, without padding. Locations are read in float32 at
    least: half precision misses by whole cells. `path` is one of PATHS; None takes the fastest one for the device.
    Raises ValueError where shapes disagree.
    """
    shapes = tuple((int(h), int(w)) for h, w in spatial_shapes)
    _check_shapes(value, shapes, sampling_locations, attention_weights, maps)
    if not sampling_locations.dtype.itemsize >= 4:
        sampling_locations = sampling_locations.float()
    chosen = path or _fastest_path(value, sampling_locations, attention_weights, maps)
    if chosen == "grid_sample":
        return _by_grid_sample(value, shapes, sampling_locations, attention_weights, maps)
    if chosen == "embedding_bag":
        return _by_embedding_bag(value, shapes, sampling_locations, attention_weights, maps)
    if chosen == "triton":
        from rsd_model.ops.deformable_attention_triton import deformable_attention_triton

        return deformable_attention_triton(value, shapes, sampling_locations, attention_weights, maps)
    raise ValueError(f"path {path!r} of deformable attention is none of {PATHS}")


def triton_available() -> bool:
    """Whether the Triton path can run on this machine's GPU."""
    return find_spec("triton") is not None and torch.cuda.is_available()


def _fastest_path(value: Tensor, locations: Tensor, weights: Tensor, maps: Tensor | None) -> str:
    if value.is_cuda and triton_available():
        return "triton"
    if maps is not None and torch.compiler.is_compiling():
        return "embedding_bag"  # the other one reads from the tensor how many queries each map has
    # Measured on CPU: embedding_bag is 2 to 10 times as fast forward, but its backward sorts every index, and it copies
    # the whole map, which a few samples of a large map do not repay.
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (value, locations, weights))
    few_samples = 4 * weights.numel() < value.numel() // value.shape[-1]
    return "grid_sample" if needs_gradient or few_samples else "embedding_bag"


def _check_shapes(
    value: Tensor, shapes: SpatialShapes, locations: Tensor, weights: Tensor, maps: Tensor | None
) -> None:
    cells = sum(h * w for h, w in shapes)
    if value.dim() != 4 or value.shape[1] != cells:
        raise ValueError(f"value has shape {tuple(value.shape)}, expected (B, {cells}, heads, dim) for levels {shapes}")
    batch, _, heads, _ = value.shape
    queries = weights.shape[1]
    if maps is not None and tuple(maps.shape) != (queries,):
        raise ValueError(f"maps have shape {tuple(maps.shape)}, expected one map for each of {queries} queries")
    expected = (batch if maps is None else 1, queries, heads, len(shapes), weights.shape[-1])
    if tuple(weights.shape) != expected:
        raise ValueError(
            f"attention_weights have shape {tuple(weights.shape)}, expected (B, Q, heads, levels, points) {expected}"
        )
    if tuple(locations.shape) != (*expected, 2):
        raise ValueError(f"sampling_locations have shape {tuple(locations.shape)}, expected {(*expected, 2)}")


def _by_grid_sample(
    value: Tensor, shapes: SpatialShapes, locations: Tensor, weights: Tensor, maps: Tensor | None
) -> Tensor:
    if maps is not None:
        return _map_by_map(value, shapes, locations, weights, maps)
    batch, _, heads, dim = value.shape
    queries, samples = weights.shape[1], weights.shape[3] * weights.shape[4]
    # Beyond -2 and 2 no map reaches; an infinite location would make a share that is not a number of nothing.
    grids = (2.0 * locations - 1.0).clamp(-3.0, 3.0).transpose(1, 2).flatten(0, 1)  # (B*heads, Q, levels, points, 2)
    images = value.to(locations.dtype).permute(0, 2, 3, 1).flatten(0, 1)  # (B*heads, dim, S)
    sampled = [
        F.grid_sample(level.unflatten(-1, (h, w)), grids[:, :, i], align_corners=False)
        for i, ((h, w), level) in enumerate(zip(shapes, images.split([h * w for h, w in shapes], -1), strict=True))
    ]
    weights = weights.to(locations.dtype).transpose(1, 2).reshape(batch * heads, 1, queries, samples)
    summed = (torch.cat(sampled, -1) * weights).sum(-1)  # (B*heads, dim, Q)
    return summed.view(batch, heads * dim, queries).transpose(1, 2).contiguous().to(value.dtype)


def _map_by_map(value: Tensor, shapes: SpatialShapes, locations: Tensor, weights: Tensor, maps: Tensor) -> Tensor:
    if (maps[1:] < maps[:-1]).any():
        raise ValueError("maps are not in ascending order, as the grid_sample path needs them")
    edges = torch.searchsorted(maps, torch.arange(len(value) + 1, device=maps.device)).tolist()
    parts = [
        _by_grid_sample(value[i : i + 1], shapes, locations[:, start:end], weights[:, start:end], None)
        for i, (start, end) in enumerate(pairwise(edges))
    ]
    return torch.cat(parts, 1)


def _by_embedding_bag(
    value: Tensor, shapes: SpatialShapes, locations: Tensor, weights: Tensor, maps: Tensor | None
) -> Tensor:
    """Each (query, head) is a bag of table rows; the other three corners are the same rows of a later start."""
    batch, queries, heads, levels, points = weights.shape
    samples, dim = levels * points, value.shape[-1]
    table, pitch = _padded_table(value, shapes)
    of_query = torch.arange(batch, device=value.device)[:, None] if maps is None else maps
    first_rows = of_query.to(torch.int32) * (table.shape[0] // len(value))
    rows, fractions = _upper_left_rows(locations, shapes, pitch, first_rows)
    x, y = fractions.unbind(-1)
    flat_weights = weights.to(locations.dtype).flatten(2)
    lower = flat_weights * y
    upper = flat_weights - lower
    upper_right, lower_right = upper * x, lower * x
    corners = (
        (0, upper - upper_right),
        (heads, upper_right),
        (pitch * heads, lower - lower_right),
        (pitch * heads + heads, lower_right),
    )
    rows = rows.view(-1, samples)
    sums = [
        F.embedding_bag(rows, table[shift:], per_sample_weights=part.reshape(-1, samples).to(value.dtype), mode="sum")
        for shift, part in corners
    ]
    return (sums[0] + sums[1] + sums[2] + sums[3]).view(batch, queries, heads * dim)


def _padded_table(value: Tensor, shapes: SpatialShapes) -> tuple[Tensor, int]:
    """Levels in one table, bordered by zeros, of one row pitch: no corner needs a mask or an index of its own."""
    batch, _, heads, dim = value.shape
    pitch = max(w for _, w in shapes) + 3
    levels = value.split([h * w for h, w in shapes], 1)
    padded = [
        F.pad(level.reshape(batch, h, w, heads * dim), (0, 0, 1, pitch - 1 - w, 1, 2)).flatten(1, 2)
        for (h, w), level in zip(shapes, levels, strict=True)
    ]
    table = padded[0] if len(padded) == 1 else torch.cat(padded, 1)
    return table.view(-1, dim), pitch


def _upper_left_rows(locations: Tensor, shapes: SpatialShapes, pitch: int, first_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Table rows (B, Q, heads*levels*points) int32 of the upper left corners, and fractions (..., 2) beyond.

    first_rows (B, 1) or (Q,): where the table of the map that a query samples begins.
    """
    heads, points = locations.shape[2], locations.shape[4]
    device = locations.device
    size = torch.tensor([[(w, h)] * points for h, w in shapes], dtype=locations.dtype, device=device)
    size = size.flatten().repeat(heads)  # one long row broadcasts several times faster than (levels, 1, 2)
    starts, cells = [], pitch + 1
    for h, _ in shapes:
        starts.append([cells] * points)
        cells += (h + 3) * pitch
    offsets = torch.tensor(starts, dtype=torch.int32, device=device).flatten() * heads
    offsets = (offsets + torch.arange(heads, dtype=torch.int32, device=device).unsqueeze(1)).flatten()
    offsets = offsets + first_rows[..., None]

    cell = (locations.flatten(2) * size - 0.5).clamp(torch.full_like(size, -1.0), size)
    corner = cell.floor()
    fractions = (cell - corner).unflatten(-1, (-1, 2))
    x, y = corner.unflatten(-1, (-1, 2)).unbind(-1)
    # A location that is not a number must stay inside the table; its weight is nan, so it still shows in the output.
    rows = ((x + y * pitch).to(torch.int32) * heads + offsets).clamp(min=0)
    return rows, fractions
