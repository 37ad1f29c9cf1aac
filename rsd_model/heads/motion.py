"""Motion head: each object query in several modes attends the others and the map near it, and tells its future."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.heads.map import MapQueries
from rsd_model.heads.objects import ObjectQueries
from rsd_model.layers import InteractionLayer, classification_branch, regression_branch


@dataclass(frozen=True)
class MotionQueries:
    """Raw output of the motion head."""

    features: Tensor  # (B, Q, modes, 2 dims)
    futures: Tensor  # (B, Q, modes, steps * 2) offsets in m, LiDAR frame
    mode_logits: Tensor  # (B, Q, modes)


class MotionMapLayer(InteractionLayer):
    """Queries attend map instances placed relative to each of them, and one zero key at (1, 1).

    The position encoding is linear, so the part of a query's own place is the same for all its keys: it is added to
    the logit of the zero key instead of being computed for each pair (the softmax does not change).
    """

    def forward(  # type: ignore[override]
        self, query: Tensor, place: Tensor, lanes: Tensor, anchors: Tensor, near: Tensor, encode: nn.Linear, pad: bool
    ) -> Tensor:
        """query (B, M, dims) at place (B, M, 2); lanes (B, V, dims) at anchors (B, V, 2); near (B, M, V) bool."""
        attention = self.attention
        keys = torch.cat([lanes + encode(anchors), encode(torch.ones_like(anchors[:, :1]))], 1)
        q = attention.project(query + encode.bias, 0)
        k = attention.project(keys, 1)
        v = attention.project(torch.cat([lanes, torch.zeros_like(lanes[:, :1])], 1), 2)
        key_weight = attention.in_proj_weight.chunk(3)[1]
        offset = (place @ (key_weight @ encode.weight).T).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        own = (q * offset).sum(-1, keepdim=True) / math.sqrt(q.shape[-1])  # (B, heads, M, 1)
        far = torch.zeros_like(near, dtype=q.dtype).masked_fill(~near, -math.inf)[:, None]
        if not pad:
            own = own.masked_fill(near.any(-1)[:, None, :, None], -math.inf)
        mask = torch.cat([far.expand(-1, attention.heads, -1, -1), own], -1)
        return self.finish(query, attention.attend(q, k, v, mask))


class MotionHead(nn.Module):
    """ObjectQueries and MapQueries to MotionQueries."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, motion = config.dims, config.motion
        sizes = (dims, config.heads, config.ffn_dims)
        self.mode_embedding = nn.Embedding(motion.modes, dims)
        self.object_position = nn.Linear(2, dims)
        self.object_layers = nn.ModuleList([InteractionLayer(*sizes) for _ in range(motion.layers)])
        self.map_position = nn.Linear(2, dims)
        self.map_layers = nn.ModuleList([MotionMapLayer(*sizes) for _ in range(motion.layers)])
        self.future_branch = regression_branch(2 * dims, motion.steps * 2)
        self.mode_branch = classification_branch(2 * dims, 1)
        nn.init.orthogonal_(self.mode_embedding.weight)
        for layer in (self.object_position, self.map_position):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, objects: ObjectQueries, lanes: MapQueries) -> MotionQueries:
        """Futures of every object query."""
        modes = self.config.motion.modes
        query = (objects.hidden[-1][:, :, None] + self.mode_embedding.weight).flatten(1, 2)  # (B, Q * modes, dims)
        place = objects.centres.repeat_interleave(modes, dim=1)
        encoded = self.object_position(place)
        others = query
        for layer in self.object_layers:
            query = layer(query, encoded, others, encoded)
        near, pad = self._near(place, lanes), self.config.quirks.always_pad_map
        informed = query
        for layer in self.map_layers:
            informed = layer(informed, place, lanes.features, lanes.anchors, near, self.map_position, pad)
        features = torch.cat([query, informed], -1).unflatten(1, (-1, modes))
        return MotionQueries(features, self.future_branch(features).float(), self.mode_branch(features).squeeze(-1))

    def _near(self, place: Tensor, lanes: MapQueries) -> Tensor:
        """(B, M, V) whether a map instance is believed in and near enough to be attended."""
        believed = lanes.class_logits[-1].sigmoid().amax(-1) > self.config.motion.map_threshold
        distance = torch.linalg.vector_norm(lanes.anchors[:, None] - place[:, :, None], dim=-1)
        return (distance <= self.config.motion.map_distance) & believed[:, None]
