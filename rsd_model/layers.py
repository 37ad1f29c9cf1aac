"""Attention blocks that the encoder and the heads share. Everything is batch first: (B, queries, dims)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsd_model.ops.deformable_attention import deformable_attention

VECTOR = 16  # single-precision numbers in a wide register of today's CPUs


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention; parameters are laid out as in torch.nn.MultiheadAttention."""

    def __init__(self, dims: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dims, dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dims))
        self.out_proj = nn.Linear(dims, dims)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, x: Tensor, part: int) -> Tensor:
        """Input projection 0 = query, 1 = key, 2 = value: (B, n, dims) to (B, heads, n, dims / heads)."""
        weight = self.in_proj_weight.chunk(3)[part]
        bias = self.in_proj_bias.chunk(3)[part]
        return self._split(F.linear(x, weight, bias))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention on projected inputs; `mask` broadcasts to (B, heads, queries, keys): bool keep or added logits."""
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, Q, dims), (B, K, dims), (B, K, dims) to (B, Q, dims)."""
        if query is key:
            both = 2 * query.shape[-1]
            q, k = F.linear(query, self.in_proj_weight[:both], self.in_proj_bias[:both]).chunk(2, dim=-1)
            return self.attend(self._split(q), self._split(k), self.project(value, 2))
        return self.attend(self.project(query, 0), self.project(key, 1), self.project(value, 2))


def initial_offsets(heads: int, groups: int, points: int) -> Tensor:
    """(heads * groups * points * 2,) start offsets in cells: each head looks its own way, point k k + 1 cells out."""
    angles = torch.arange(heads, dtype=torch.float32) * (2.0 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1, dtype=torch.float32)
    return (directions[:, None, None, :] * steps[None, None, :, None]).expand(heads, groups, points, 2).flatten()


def softmax_of_few(x: Tensor) -> Tensor:
    """Softmax over the last dimension. Where that is short, a CPU takes a sixth of the time over a leading one."""
    if x.device.type != "cpu" or x.shape[-1] >= VECTOR:
        return x.softmax(-1)
    return x.movedim(-1, 0).softmax(0).movedim(0, -1)


class DeformableSampler(nn.Module):
    """Offsets, weights and values of deformable attention (arXiv 2010.04159), without an output projection.

    The weights are normalised over levels and points together.
    """

    def __init__(self, dims: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dims, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dims, heads * levels * points)
        self.value_proj = nn.Linear(dims, dims)
        nn.init.zeros_(self.sampling_offsets.weight)
        self.sampling_offsets.bias.data = initial_offsets(heads, levels, points)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.zeros_(self.value_proj.bias)

    def values(self, features: Tensor) -> Tensor:
        """(B, S, dims) to what is sampled, (B, S, heads, dims / heads)."""
        return self.value_proj(features).unflatten(-1, (self.heads, -1))

    def sample(
        self,
        query: Tensor,
        values: Tensor,
        shapes: list[tuple[int, int]],
        reference: Tensor,
        maps: Tensor | None = None,
    ) -> Tensor:
        """Sample `values`, levels of `shapes` (h, w) end to end, around `reference`.

        query (B, Q, dims); reference (B, Q, Z, 2) in [0, 1] x, y: point p belongs to reference p % Z.
        Returns (B, Q, dims). `maps`: as in `deformable_attention`; B of query and reference is 1 then.
        """
        batch, count = query.shape[:2]
        heights = reference.shape[2]
        offsets = self.sampling_offsets(query)
        offsets = offsets.view(batch, count, self.heads, self.levels, self.points // heights, heights, 2)
        sizes = query.new_tensor([[w, h] for h, w in shapes]).view(1, 1, 1, -1, 1, 1, 2)
        locations = (reference[:, :, None, None, None] + offsets / sizes).flatten(4, 5)
        weights = self.attention_weights(query).view(batch, count, self.heads, self.levels * self.points)
        weights = softmax_of_few(weights).unflatten(-1, (self.levels, self.points))
        return deformable_attention(values, shapes, locations, weights, maps=maps)

    def forward(self, query: Tensor, features: Tensor, shapes: list[tuple[int, int]], reference: Tensor) -> Tensor:
        """`sample` of `values`."""
        return self.sample(query, self.values(features), shapes, reference)


class DeformableAttention(DeformableSampler):
    """Deformable attention with its output projection."""

    def __init__(self, dims: int, heads: int, levels: int, points: int) -> None:
        super().__init__(dims, heads, levels, points)
        self.output_proj = nn.Linear(dims, dims)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    def forward(self, query: Tensor, features: Tensor, shapes: list[tuple[int, int]], reference: Tensor) -> Tensor:
        """As DeformableSampler.forward, projected."""
        return self.output_proj(super().forward(query, features, shapes, reference))


class FeedForward(nn.Module):
    """Two linear layers with a residual."""

    def __init__(self, dims: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dims, hidden)
        self.contract = nn.Linear(hidden, dims)
        for layer in (self.expand, self.contract):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dims) to (..., dims)."""
        return x + self.contract(F.relu(self.expand(x)))


class InteractionLayer(nn.Module):
    """Attention, norm, feed-forward, norm: how motion and ego queries look at others."""

    def __init__(self, dims: int, heads: int, ffn_dims: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dims, heads)
        self.norm_attention = nn.LayerNorm(dims)
        self.feed_forward = FeedForward(dims, ffn_dims)
        self.norm_feed_forward = nn.LayerNorm(dims)

    def finish(self, query: Tensor, attended: Tensor) -> Tensor:
        """What follows attention: residual, norm, feed-forward, norm."""
        return self.norm_feed_forward(self.feed_forward(self.norm_attention(query + attended)))

    def forward(self, query: Tensor, query_position: Tensor, key: Tensor, key_position: Tensor) -> Tensor:
        """(B, Q, dims) attends (B, K, dims); positions are added to query and key, not to the value."""
        return self.finish(query, self.attention(query + query_position, key + key_position, key))


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention into the BEV, feed-forward; residual and norm each."""

    def __init__(self, dims: int, heads: int, ffn_dims: int, points: int) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(dims, heads)
        self.norm_self = nn.LayerNorm(dims)
        self.bev_attention = DeformableAttention(dims, heads, 1, points)
        self.norm_bev = nn.LayerNorm(dims)
        self.feed_forward = FeedForward(dims, ffn_dims)
        self.norm_feed_forward = nn.LayerNorm(dims)

    def forward(
        self, query: Tensor, position: Tensor, bev: Tensor, shape: tuple[int, int], reference: Tensor
    ) -> Tensor:
        """query, position (B, Q, dims); bev (B, rows * columns, dims); reference (B, Q, 2) in [0, 1]."""
        placed = query + position
        query = self.norm_self(query + self.self_attention(placed, placed, query))
        query = self.norm_bev(query + self.bev_attention(query + position, bev, [shape], reference[:, :, None]))
        return self.norm_feed_forward(self.feed_forward(query))


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of values in [0, 1], clamped at eps from both ends."""
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp(min=eps) / (1.0 - x).clamp(min=eps))


def classification_branch(dims: int, classes: int, hidden_layers: int = 2) -> nn.Sequential:
    """Linear-norm-ReLU twice, then class logits; the bias starts at a probability of 0.01 (focal loss, RetinaNet)."""
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += [nn.Linear(dims, dims), nn.LayerNorm(dims), nn.ReLU(inplace=True)]
    head = nn.Linear(dims, classes)
    nn.init.constant_(head.bias, -math.log(99.0))
    return nn.Sequential(*layers, head)


def regression_branch(dims: int, outputs: int, hidden_layers: int = 2) -> nn.Sequential:
    """Linear-ReLU twice, then the outputs."""
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += [nn.Linear(dims, dims), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(dims, outputs))
