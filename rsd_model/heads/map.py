"""Map head: instances of ordered points, each point a query, refined layer by layer (MapTR, arXiv 2208.14437)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.layers import DecoderLayer, classification_branch, inverse_sigmoid, regression_branch


@dataclass(frozen=True)
class MapQueries:
    """Raw output of the map head, L layers, V instances of P points."""

    hidden: Tensor  # (L, B, V * P, dims)
    references: Tensor  # (L, B, V * P, 2) refined points in [0, 1]
    class_logits: Tensor  # (L, B, V, classes)
    points: Tensor  # (L, B, V, P, 2) in [0, 1]
    boxes: Tensor  # (L, B, V, 4) bounding box of the points: centre x, y, width, height in [0, 1]
    features: Tensor  # (B, V, dims) one vector an instance, last layer
    anchors: Tensor  # (B, V, 2) the point of each instance that stands for its place, in [0, 1], detached


class PolylineEncoder(nn.Module):
    """Point features of a polyline to one vector: three times a linear layer joined with the maximum over the points.

    VectorNet's subgraph (arXiv 2005.04259). (B, V, P, dims) to (B, V, dims).
    """

    def __init__(self, dims: int, layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(dims, dims // 2), nn.LayerNorm(dims // 2), nn.ReLU()) for _ in range(layers)]
        )
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.get_parameter("0.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Encode every polyline."""
        for layer in self.layers:
            x = layer(x)
            x = torch.cat([x, x.amax(-2, keepdim=True).expand_as(x)], -1)
        return x.amax(-2)


def bounding_boxes(points: Tensor) -> Tensor:
    """(..., P, 2) to (..., 4) centre x, y, width, height."""
    low, high = points.amin(-2), points.amax(-2)
    return torch.cat([(low + high) / 2.0, high - low], -1)


class MapHead(nn.Module):
    """BEV (B, HW, dims) to MapQueries."""

    ego_place: Tensor
    extent: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, size = config.dims, config.map
        self.instance_embedding = nn.Embedding(size.instances, 2 * dims)  # position, content
        self.point_embedding = nn.Embedding(size.points, 2 * dims)
        self.reference_points = nn.Linear(dims, 2)
        self.layers = nn.ModuleList(
            [DecoderLayer(dims, config.heads, config.ffn_dims, size.sampling_points) for _ in range(size.layers)]
        )
        self.class_branches = nn.ModuleList([classification_branch(dims, size.classes) for _ in range(size.layers)])
        self.point_branches = nn.ModuleList([regression_branch(dims, 2) for _ in range(size.layers)])
        self.polyline_encoder = PolylineEncoder(dims)
        # Part of public checkpoints; unused, as the map's box losses have weight zero.
        self.register_buffer("code_weights", torch.ones(4))
        self.register_buffer("corner", torch.zeros(2), persistent=False)
        self.register_buffer("ego_place", torch.tensor(config.bev.ego_place), persistent=False)
        self.register_buffer("extent", torch.tensor(config.bev.size), persistent=False)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def forward(self, bev: Tensor) -> MapQueries:
        """Decode all layers."""
        shape = (self.config.bev.rows, self.config.bev.columns)
        instances, points = self.config.map.instances, self.config.map.points
        embedding = self.point_embedding.weight + self.instance_embedding.weight[:, None]
        position, query = embedding.flatten(0, 1).expand(len(bev), -1, -1).chunk(2, dim=-1)
        reference = self.reference_points(position).float().sigmoid()  # coordinates stay in single precision
        hidden, references, logits, places = [], [], [], []
        for layer, classify, regress in zip(self.layers, self.class_branches, self.point_branches, strict=True):
            query = layer(query, position, bev, shape, reference)
            place = (regress(query).float() + inverse_sigmoid(reference)).sigmoid()
            reference = place.detach()
            places.append(place.unflatten(1, (instances, points)))
            hidden.append(query)
            references.append(reference)
            logits.append(classify(query.unflatten(1, (instances, points)).mean(2)))
        polylines = torch.stack(places)
        return MapQueries(
            torch.stack(hidden),
            torch.stack(references),
            torch.stack(logits),
            polylines,
            bounding_boxes(polylines),
            self.polyline_encoder(query.unflatten(1, (instances, points))),
            self._anchors(places[-1].detach()).to(bev.dtype),
        )

    def _anchors(self, points: Tensor) -> Tensor:
        if self.config.quirks.map_anchor_at_corner:
            # Quirk: the public code takes the point nearest to the BEV's corner, in normalised units, not to the ego.
            distance = points.square().sum(-1)
        else:
            distance = ((points - self.ego_place) * self.extent).square().sum(-1)
        nearest = distance.argmin(-1)[..., None, None].expand(-1, -1, 1, 2)
        return points.gather(2, nearest).squeeze(2)
