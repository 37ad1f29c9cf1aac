"""One-to-one assignment of predictions to ground truth by the smallest total cost (DETR, arXiv 2005.12872)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """K matched pairs over L layers and B samples, as four index vectors (K,)."""

    layer: Tensor
    sample: Tensor
    query: Tensor
    target: Tensor
    per_layer: int  # pairs in each layer, the same for all layers

    def of_layer(self, layer: int) -> Matches:
        """The pairs of one layer."""
        keep = self.layer == layer
        return Matches(self.layer[keep], self.sample[keep], self.query[keep], self.target[keep], self.per_layer)

    @property
    def normaliser(self) -> float:
        """What a layer's sum is divided by: its pairs, at least 1."""
        return float(max(self.per_layer, 1))


@torch.no_grad()
def match(cost: Tensor, counts: list[int]) -> Matches:
    """Assign queries to targets; cost (L, B, Q, G_max), counts = valid targets of each sample.

    Non-finite costs count as a very large cost, so a diverged prediction cannot stop the training.
    """
    table = np.nan_to_num(cost.detach().float().cpu().numpy(), nan=1e8, posinf=1e8, neginf=-1e8)
    pairs = []
    for layer in range(table.shape[0]):
        for sample, count in enumerate(counts):
            if count:
                queries, targets = linear_sum_assignment(table[layer, sample, :, :count])
                place = np.broadcast_to([[layer], [sample]], (2, len(queries)))
                pairs.append(np.concatenate([place, queries[None], targets[None]]))
    merged = np.concatenate(pairs, axis=1) if pairs else np.zeros((4, 0), dtype=np.int64)
    index = torch.as_tensor(np.ascontiguousarray(merged), dtype=torch.long, device=cost.device)
    return Matches(index[0], index[1], index[2], index[3], sum(min(count, cost.shape[2]) for count in counts))
