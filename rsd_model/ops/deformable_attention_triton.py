"""Deformable attention as Triton kernels, forward and backward, behind a custom operator that torch.compile and
torch.export take as one node.

A program owns BLOCK rows, a row being one (sample, query, head): its output, weights and locations are contiguous, and
every bilinear corner is one contiguous run of the head's channels. Nothing but the output is written: the sampled
values, which the plain path stores for every point, stay in registers. Accumulates in float32 (float64 for float64
input).
"""

# mypy: disable-error-code="no-untyped-def"
# Triton gives annotations of kernel parameters a meaning of its own.

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_ELEMENTS = 1024  # rows times channels of a program's tile
NUM_WARPS = 4


@triton.jit
def _corner(first, x, y, width, height, start, active, channel, DIM: tl.constexpr, ROW: tl.constexpr):
    """Offsets (BLOCK, channels) of the cell (x, y) of one level and the mask of what lies inside the map."""
    inside = active & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    cell = (start + y * width + x).to(tl.int64)
    offsets = first[:, None] + cell[:, None] * ROW + channel[None, :]
    return offsets, inside[:, None] & (channel < DIM)[None, :]


@triton.jit
def _bounded(x, size):
    """Cells beyond -2 or size + 1, even infinite ones, brought there: all corners are masked either way."""
    return tl.where(x < -2.0, -2.0, tl.where(x > size + 1.0, size + 1.0, x))


@triton.jit
def _sample(locations, weights, row, level, point, width, height, active, LEVELS, POINTS, ACC: tl.constexpr):
    """Weight, upper left cell and the fractions beyond it, each (BLOCK,), of one sampling point."""
    index = (row * LEVELS + level) * POINTS + point
    weight = tl.load(weights + index, mask=active, other=0.0).to(ACC)
    x = _bounded(tl.load(locations + 2 * index, mask=active, other=0.0).to(ACC) * width - 0.5, width)
    y = _bounded(tl.load(locations + 2 * index + 1, mask=active, other=0.0).to(ACC) * height - 0.5, height)
    left, top = tl.floor(x), tl.floor(y)
    # What is not a number keeps its fractions, and so spoils its sum, but needs a defined cell.
    column, line = tl.where(x == x, left, -2.0).to(tl.int32), tl.where(y == y, top, -2.0).to(tl.int32)
    return index, weight, column, line, x - left, y - top


@triton.jit
def _forward_kernel(
    value, levels, maps, locations, weights, out, rows, cells,
    HEADS: tl.constexpr, DIM: tl.constexpr, DIM_BLOCK: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    active = row < rows
    channel = tl.arange(0, DIM_BLOCK)
    first = (tl.load(maps + row // HEADS, mask=active, other=0) * cells * HEADS + row % HEADS) * DIM
    total = tl.zeros((BLOCK, DIM_BLOCK), dtype=ACC)
    for level in range(LEVELS):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        start = tl.load(levels + 3 * level + 2)
        for point in range(POINTS):
            _, weight, left, top, fx, fy = _sample(
                locations, weights, row, level, point, width, height, active, LEVELS, POINTS, ACC
            )
            for dy in tl.static_range(2):
                for dx in tl.static_range(2):
                    offsets, mask = _corner(
                        first, left + dx, top + dy, width, height, start, active, channel, DIM, HEADS * DIM
                    )
                    share = weight * (fx if dx == 1 else 1.0 - fx) * (fy if dy == 1 else 1.0 - fy)
                    total += share[:, None] * tl.load(value + offsets, mask=mask, other=0.0).to(ACC)
    mask = active[:, None] & (channel < DIM)[None, :]
    tl.store(out + row[:, None] * DIM + channel[None, :], total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _backward_kernel(
    grad_out, value, levels, maps, locations, weights, grad_value, grad_locations, grad_weights, rows, cells,
    HEADS: tl.constexpr, DIM: tl.constexpr, DIM_BLOCK: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,
    BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    active = row < rows
    channel = tl.arange(0, DIM_BLOCK)
    first = (tl.load(maps + row // HEADS, mask=active, other=0) * cells * HEADS + row % HEADS) * DIM
    mask = active[:, None] & (channel < DIM)[None, :]
    grad = tl.load(grad_out + row[:, None] * DIM + channel[None, :], mask=mask, other=0.0).to(ACC)
    for level in range(LEVELS):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        start = tl.load(levels + 3 * level + 2)
        for point in range(POINTS):
            index, weight, left, top, fx, fy = _sample(
                locations, weights, row, level, point, width, height, active, LEVELS, POINTS, ACC
            )
            by_weight = tl.zeros((BLOCK,), dtype=ACC)
            by_x = tl.zeros((BLOCK,), dtype=ACC)
            by_y = tl.zeros((BLOCK,), dtype=ACC)
            for dy in tl.static_range(2):
                for dx in tl.static_range(2):
                    offsets, inside = _corner(
                        first, left + dx, top + dy, width, height, start, active, channel, DIM, HEADS * DIM
                    )
                    along_x = fx if dx == 1 else 1.0 - fx
                    along_y = fy if dy == 1 else 1.0 - fy
                    pulled = tl.sum(grad * tl.load(value + offsets, mask=inside, other=0.0).to(ACC), axis=1)
                    by_weight += along_x * along_y * pulled
                    by_x += (along_y if dx == 1 else -along_y) * pulled
                    by_y += (along_x if dy == 1 else -along_x) * pulled
                    share = (weight * along_x * along_y)[:, None] * grad
                    tl.atomic_add(grad_value + offsets, share, mask=inside, sem="relaxed")
            by_x *= weight * width
            by_y *= weight * height
            tl.store(grad_weights + index, by_weight.to(grad_weights.dtype.element_ty), mask=active)
            tl.store(grad_locations + 2 * index, by_x.to(grad_locations.dtype.element_ty), mask=active)
            tl.store(grad_locations + 2 * index + 1, by_y.to(grad_locations.dtype.element_ty), mask=active)


def deformable_attention_triton(
    value: Tensor,
    shapes: tuple[tuple[int, int], ...],
    locations: Tensor,
    weights: Tensor,
    maps: Tensor | None = None,
) -> Tensor:
    """As `deformable_attention`, on a GPU (or on a CPU in Triton's interpreter, TRITON_INTERPRET=1)."""
    return _forward(value, [size for shape in shapes for size in shape], locations, weights, maps)


@torch.library.custom_op("rsd::deformable_attention", mutates_args=())
def _forward(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, maps: Tensor | None) -> Tensor:
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    out = value.new_empty(weights.shape[0], weights.shape[1], value.shape[2] * value.shape[3])
    levels, maps = _levels(tuple(shapes), value.device), _map_of_each_query(maps, weights)
    _launch(_forward_kernel, (value, levels, maps, locations, weights, out), value, weights)
    return out


@_forward.register_fake
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, maps: Tensor | None) -> Tensor:
    return value.new_empty(weights.shape[0], weights.shape[1], value.shape[2] * value.shape[3])


@torch.library.custom_op("rsd::deformable_attention_backward", mutates_args=())
def _backward(
    grad_out: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, maps: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    grad_value = torch.zeros_like(value, dtype=torch.float64 if value.dtype == torch.float64 else torch.float32)
    grads = (grad_value, torch.empty_like(locations), torch.empty_like(weights))
    levels, maps = _levels(tuple(shapes), value.device), _map_of_each_query(maps, weights)
    _launch(_backward_kernel, (grad_out.contiguous(), value, levels, maps, locations, weights, *grads), value, weights)
    return grad_value.to(value.dtype), grads[1], grads[2]


@_backward.register_fake
def _(
    grad_out: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, maps: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _setup_context(ctx, inputs, output) -> None:
    value, ctx.shapes, locations, weights, maps = inputs
    ctx.save_for_backward(value, locations, weights, maps)


def _autograd(ctx, grad_out: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
    value, locations, weights, maps = ctx.saved_tensors
    by_value, by_locations, by_weights = _backward(grad_out, value, ctx.shapes, locations, weights, maps)
    return by_value, None, by_locations, by_weights, None


_forward.register_autograd(_autograd, setup_context=_setup_context)


def _launch(kernel, tensors: tuple[Tensor, ...], value: Tensor, weights: Tensor) -> None:
    _, cells, heads, dim = value.shape
    batch, queries, _, levels, points = weights.shape
    rows = batch * queries * heads
    if rows == 0:
        return
    dim_block = triton.next_power_of_2(dim)
    block = max(BLOCK_ELEMENTS // dim_block, 1)
    with torch.cuda.device_of(value):  # Triton launches on the current device, which need not be the tensors'
        kernel[(triton.cdiv(rows, block),)](
            *tensors, rows, cells,
            HEADS=heads, DIM=dim, DIM_BLOCK=dim_block, LEVELS=levels, POINTS=points, BLOCK=block,
            ACC=tl.float64 if value.dtype == torch.float64 else tl.float32,
            num_warps=NUM_WARPS, enable_fp_fusion=True,
        )  # fmt: skip


def _map_of_each_query(maps: Tensor | None, weights: Tensor) -> Tensor:
    """(B * Q,) int64, contiguous: `maps`, or of each query that of its sample."""
    if maps is not None:
        return maps.long().contiguous()
    batch, queries = weights.shape[:2]
    return torch.arange(batch, device=weights.device).repeat_interleave(queries)


@lru_cache(maxsize=64)
def _levels(shapes: tuple[int, ...], device: torch.device) -> Tensor:
    """(levels, 3) int32 height, width, first cell; kept on the device so that no launch waits for a copy."""
    sizes = list(zip(shapes[::2], shapes[1::2], strict=True))
    starts = [sum(h * w for h, w in sizes[:i]) for i in range(len(sizes))]
    return torch.tensor([(h, w, s) for (h, w), s in zip(sizes, starts, strict=True)], dtype=torch.int32, device=device)
