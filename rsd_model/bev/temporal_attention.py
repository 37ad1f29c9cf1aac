"""Temporal self-attention: each BEV cell looks around itself in the previous and in the current BEV."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsd_model.layers import initial_offsets, softmax_of_few
from rsd_model.ops.deformable_attention import deformable_attention

FRAMES = 2  # previous, current


class TemporalSelfAttention(nn.Module):
    """Deformable attention over the stack (previous BEV, current BEV), averaged over the two, with a residual."""

    def __init__(self, dims: int, heads: int, points: int, mix_batch: bool = False) -> None:
        super().__init__()
        self.heads, self.points, self.mix_batch = heads, points, mix_batch
        self.sampling_offsets = nn.Linear(FRAMES * dims, FRAMES * heads * points * 2)
        self.attention_weights = nn.Linear(FRAMES * dims, FRAMES * heads * points)
        self.value_proj = nn.Linear(dims, dims)
        self.output_proj = nn.Linear(dims, dims)
        nn.init.zeros_(self.sampling_offsets.weight)
        self.sampling_offsets.bias.data = initial_offsets(heads, FRAMES, points)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def values(self, frames: Tensor) -> Tensor:
        """frames (B, 2, HW, dims), previous and current, to what `forward` samples: (2 B, HW, heads, dims / heads)."""
        return self.value_proj(frames).flatten(0, 1).unflatten(-1, (self.heads, -1))

    def previous(self, frames: Tensor) -> Tensor:
        """(B, HW, dims) of `frames`."""
        # Quirk: the public code lays out the frames sample by sample and takes the first B of the 2 B as the previous.
        return frames.flatten(0, 1)[: len(frames)] if self.mix_batch else frames[:, 0]

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        previous: Tensor,
        values: Tensor,
        shape: tuple[int, int],
        reference: Tensor,
    ) -> Tensor:
        """query, position, previous (B, cells, dims); values of the whole frames; reference (B, 2, cells, 2)."""
        batch, cells = query.shape[:2]
        context = torch.cat([previous, query + position], -1)
        offsets = self.sampling_offsets(context).view(batch, cells, self.heads, FRAMES, self.points, 2)
        weights = softmax_of_few(self.attention_weights(context).view(batch, cells, self.heads, FRAMES, self.points))
        size = query.new_tensor([shape[1], shape[0]])
        offsets = offsets.permute(0, 3, 1, 2, 4, 5).flatten(0, 1) / size  # (2 B, cells, heads, points, 2)
        locations = reference.flatten(0, 1)[:, :, None, None] + offsets
        weights = weights.permute(0, 3, 1, 2, 4).flatten(0, 1)
        out = deformable_attention(values, [shape], locations[:, :, :, None], weights[:, :, :, None])
        return query + self.output_proj(out.view(batch, FRAMES, cells, -1).mean(1))
