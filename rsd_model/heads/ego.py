"""Ego head: one query gathers objects, map and, where configured, the route and the BEV along it, and plans.

With `ego.halts_apart` (not in VAD) it makes two plans, to drive on and to halt, and decides between them. A single plan
trained by L1 is the median of what drivers do: where they halt or go with like odds, it is a crawl that nobody drives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.geometry import BASE_TO_LIDAR
from rsd_model.heads.map import MapQueries
from rsd_model.heads.motion import MotionQueries
from rsd_model.heads.objects import ObjectQueries
from rsd_model.heads.route_frame import offsets_along_route
from rsd_model.layers import DeformableAttention, InteractionLayer, regression_branch

EGO_MODES = ("drive", "halt")


@dataclass(frozen=True)
class EgoPlan:
    """Raw output of the ego head."""

    features: Tensor  # (B, 1, 2 dims) what the plan is read from
    offsets: Tensor  # (B, commands, steps, 2) offsets in m, LiDAR frame; of the likelier mode
    mode_offsets: Tensor | None = None  # (B, EGO_MODES, commands, steps, 2) with halts_apart
    mode_logits: Tensor | None = None  # (B, EGO_MODES)


class RouteContext(nn.Module):
    """The route ahead, the ego status and the BEV around the route, as a summand of the ego query. Not in VAD."""

    low: Tensor
    extent: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, ego = config.dims, config.ego
        if ego.route_points:
            self.route_mlp = nn.Sequential(nn.Linear(2 * ego.route_points, dims), nn.ReLU(), nn.Linear(dims, dims))
        if ego.status:
            self.status_mlp = nn.Sequential(nn.Linear(len(ego.status), dims), nn.ReLU(), nn.Linear(dims, dims))
        if ego.bev_points:
            self.place_embedding = nn.Embedding(ego.route_points, dims)
            self.bev_attention = DeformableAttention(dims, config.heads, 1, ego.bev_points)
            self.bev_mlp = nn.Sequential(
                nn.Linear(ego.route_points * dims // 2, dims), nn.ReLU(), nn.Linear(dims, dims)
            )
            self.bev_squeeze = nn.Linear(dims, dims // 2)
        self.norm = nn.LayerNorm(dims)
        low = torch.tensor(config.bev.range[:2])
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("extent", torch.tensor(config.bev.size), persistent=False)

    def forward(self, query: Tensor, bev: Tensor, route: Tensor | None, status: Tensor | None) -> Tensor:
        """query (B, 1, dims) to the same; route (B, R, 2) m LiDAR frame, None = straight ahead; status (B, S)."""
        ego = self.config.ego
        if ego.status:
            status = query.new_zeros(len(bev), len(ego.status)) if status is None else status
            query = query + self.status_mlp(status.to(query.dtype))[:, None]
        if ego.route_points:
            route = self.sampled(route, query)
            query = query + self.route_mlp((route / self.extent).flatten(1))[:, None]
            if ego.bev_points:
                query = query + self._look_along(query, bev, route)
        return self.norm(query)

    def sampled(self, route: Tensor | None, query: Tensor) -> Tensor:
        """(B, route_points, 2): the given points brought to the configured number."""
        count = self.config.ego.route_points
        if route is None or route.shape[1] == 0:
            ahead = torch.arange(1, count + 1, device=query.device, dtype=query.dtype) * self.config.ego.route_spacing
            return torch.stack([torch.zeros_like(ahead), ahead], -1).expand(len(query), -1, -1)
        if route.shape[1] < count:
            route = torch.cat([route, route[:, -1:].expand(-1, count - route.shape[1], -1)], 1)
        return route[:, :count].to(query.dtype)

    def _look_along(self, query: Tensor, bev: Tensor, route: Tensor) -> Tensor:
        shape = (self.config.bev.rows, self.config.bev.columns)
        asked = query + self.place_embedding.weight
        reference = ((route - self.low) / self.extent)[:, :, None]
        seen = self.bev_attention(asked, bev, [shape], reference)
        return self.bev_mlp(self.bev_squeeze(seen + asked).relu().flatten(1))[:, None]


class EgoHead(nn.Module):
    """Objects, map, motion and BEV to the plan of every command."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, ego = config.dims, config.ego
        sizes = (dims, config.heads, config.ffn_dims)
        self.query_embedding = nn.Embedding(1, dims)
        self.agent_fusion = nn.Sequential(
            nn.Linear(config.motion.modes * 2 * dims, dims), nn.LayerNorm(dims), nn.ReLU(), nn.Linear(dims, dims)
        )
        self.agent_position = nn.Linear(2, dims)
        self.agent_layers = nn.ModuleList([InteractionLayer(*sizes) for _ in range(ego.layers)])
        self.map_position = nn.Linear(2, dims)
        self.map_layers = nn.ModuleList([InteractionLayer(*sizes) for _ in range(ego.layers)])
        modes = len(EGO_MODES) if ego.halts_apart else 1
        self.plan_branch = regression_branch(2 * dims, modes * ego.commands * ego.steps * 2)
        self.mode_branch = regression_branch(2 * dims, modes) if ego.halts_apart else None
        self.context = RouteContext(config) if ego.route_points or ego.status else None
        # Quirk: the public code places the ego at the BEV's corner.
        place = torch.zeros(2) if config.quirks.ego_at_corner else torch.tensor(config.bev.ego_place)
        self.register_buffer("place", place.view(1, 1, 2), persistent=False)
        vehicle = torch.tensor(BASE_TO_LIDAR[:2, 3], dtype=torch.float32)
        self.register_buffer("vehicle_place", vehicle, persistent=False)

    def forward(
        self,
        bev: Tensor,
        objects: ObjectQueries,
        lanes: MapQueries,
        motion: MotionQueries,
        route: Tensor | None = None,
        status: Tensor | None = None,
    ) -> EgoPlan:
        """Every object and map query is attended: the public score threshold of 0 lets all of them through."""
        query = self.query_embedding.weight.expand(len(bev), 1, -1)
        if self.context is not None:
            query = self.context(query, bev, route, status)
        agents = self.agent_fusion(motion.features.flatten(2))
        position, agent_position = self.agent_position(self.place), self.agent_position(objects.centres)
        for layer in self.agent_layers:
            query = layer(query, position, agents, agent_position)
        with_map = query
        position, lane_position = self.map_position(self.place), self.map_position(lanes.anchors)
        for layer in self.map_layers:
            with_map = layer(with_map, position, lanes.features, lane_position)
        features = torch.cat([query, with_map], -1)
        offsets = self._offsets(features, route)
        if self.mode_branch is None:
            return EgoPlan(features, offsets[:, 0])
        logits = self.mode_branch(features[:, 0]).float()
        chosen = logits.argmax(-1)[:, None, None, None, None].expand(-1, 1, *offsets.shape[2:])
        return EgoPlan(features, offsets.gather(1, chosen)[:, 0], offsets, logits)

    def _offsets(self, features: Tensor, route: Tensor | None) -> Tensor:
        """(B, modes, commands, steps, 2)."""
        ego = self.config.ego
        offsets = self.plan_branch(features).float().view(len(features), -1, ego.steps, 2)
        if ego.along_route and self.context is not None:
            ahead = self.context.sampled(route, features).float()
            offsets = offsets_along_route(offsets, ahead, self.vehicle_place, ego.route_spacing)
        return offsets.unflatten(1, (-1, ego.commands))
