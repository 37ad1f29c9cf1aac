"""BEV encoder: learned cell queries gather the cameras and the previous BEV over a few layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rsd_model.beside import Beside, at_once
from rsd_model.bev.ego_motion import CAN_BUS_SIZE, DELTA_YAW_DEGREES, ego_shift, turn_bev
from rsd_model.bev.spatial_attention import PillarViews, SpatialCrossAttention, pillar_points, project_pillars
from rsd_model.bev.temporal_attention import TemporalSelfAttention
from rsd_model.bev.temporal_fusion import TemporalFusion
from rsd_model.config import ModelConfig
from rsd_model.layers import FeedForward


class EncoderLayer(nn.Module):
    """Temporal self-attention, spatial cross-attention, feed-forward, a norm after each."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dims, heads, bev = config.dims, config.heads, config.bev
        self.temporal = TemporalSelfAttention(dims, heads, bev.temporal_points, config.quirks.mix_batch)
        self.norm_temporal = nn.LayerNorm(dims)
        self.spatial = SpatialCrossAttention(dims, heads, bev.feature_levels, bev.spatial_points)
        self.norm_spatial = nn.LayerNorm(dims)
        self.feed_forward = FeedForward(dims, config.ffn_dims)
        self.norm_feed_forward = nn.LayerNorm(dims)

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        history: Tensor | None,
        shape: tuple[int, int],
        reference: Tensor,
        features: Tensor,
        feature_shapes: list[tuple[int, int]],
        views: Sequence[PillarViews],
        beside: Beside = at_once,
    ) -> Tensor:
        """query (B, HW, dims) to the same; history (B, 1 or 2, HW, dims): previous [, current] BEV.

        Several `views`, each of a run of cells: the runs are started by `beside`.
        """
        frames = torch.stack([query, query], 1) if history is None else history
        if frames.shape[1] == 1:
            frames = torch.cat([frames, query[:, None]], 1)
        values = self.temporal.values(frames), self.spatial.values(features)
        run = partial(self._cells, shape, feature_shapes)
        sizes = [view.share.shape[1] for view in views]
        own = (query.split(sizes, 1), position.split(sizes, -2), self.temporal.previous(frames).split(sizes, 1))
        parts = zip(*own, reference.split(sizes, 2), views, strict=True)
        started = [beside(run, *tensors, *values, *vars(view).values()) for *tensors, view in parts]
        return torch.cat([part() for part in started], 1) if len(started) > 1 else started[0]()

    def _cells(
        self,
        shape: tuple[int, int],
        feature_shapes: list[tuple[int, int]],
        query: Tensor,
        position: Tensor,
        previous: Tensor,
        reference: Tensor,
        temporal_values: Tensor,
        spatial_values: Tensor,
        *views: Tensor,
    ) -> Tensor:
        query = self.norm_temporal(self.temporal(query, position, previous, temporal_values, shape, reference))
        query = self.norm_spatial(self.spatial(query, spatial_values, feature_shapes, PillarViews(*views)))
        return self.norm_feed_forward(self.feed_forward(query))


class BevEncoder(nn.Module):
    """Camera features of one instant, and the previous BEV, to a BEV of (rows, columns) cells."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, bev = config.dims, config.bev
        self.query_embedding = nn.Embedding(bev.rows * bev.columns, dims)
        self.row_embedding = nn.Embedding(bev.rows, dims // 2)
        self.column_embedding = nn.Embedding(bev.columns, dims // 2)
        self.level_embedding = nn.Parameter(torch.randn(bev.feature_levels, dims))
        self.camera_embedding = nn.Parameter(torch.randn(config.cameras, dims))
        self.can_bus_mlp = _can_bus_mlp(dims) if bev.can_bus_query else None
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(bev.layers)])
        self.fusion = TemporalFusion(dims, bev) if bev.temporal_fusion else None
        self._last_views: tuple[tuple[object, ...], PillarViews] | None = None
        self._given_views: Sequence[PillarViews] = ()
        nn.init.uniform_(self.row_embedding.weight)
        nn.init.uniform_(self.column_embedding.weight)

    def forward(
        self,
        features: list[Tensor],
        lidar2img: Tensor,
        can_bus: Tensor,
        image_size: tuple[int, int],
        prev_bev: Tensor | None = None,
        camera_valid: Tensor | None = None,
        beside: Beside = at_once,
    ) -> Tensor:
        """BEV (B, rows * columns, dims), row-major, row 0 at the rear edge.

        features: levels (B, N, dims, h, w); lidar2img (B, N, 4, 4) at image_size (height, width) px; can_bus (B, 18)
        with position and yaw in degrees relative to the previous frame; prev_bev (B, HW, dims); camera_valid (B, N).
        """
        bev = self.config.bev
        batch, shape = len(can_bus), (bev.rows, bev.columns)
        query = self.query_embedding.weight.expand(batch, -1, -1)
        if self.can_bus_mlp is not None:
            query = query + self.can_bus_mlp(can_bus.to(query.dtype))[:, None]
        position = self._position()
        tokens, shapes = self._tokens(features)
        views = self._given_views or [self.views(lidar2img, image_size, camera_valid)]
        reference = self._temporal_reference(can_bus).expand(batch, -1, -1, -1)
        history = None if prev_bev is None else self._history(prev_bev, can_bus, query)
        for layer in self.layers:
            query = layer(query, position, history, shape, reference, tokens, shapes, views, beside)
        return query if self.fusion is None else self.fusion(query, prev_bev, can_bus)

    def views(self, lidar2img: Tensor, image_size: tuple[int, int], camera_valid: Tensor | None) -> PillarViews:
        """Which camera sees which pillar where; arguments as in `forward`."""
        if torch.compiler.is_exporting():
            return self._project(lidar2img.float(), image_size, camera_valid)
        return self._remembered_views(lidar2img.float(), image_size, camera_valid)

    @contextlib.contextmanager
    def seeing(self, views: Sequence[PillarViews]) -> Iterator[None]:
        """Inside the block `forward` projects no rig; it takes these views, one of all cells or those of runs."""
        self._given_views = views
        try:
            yield
        finally:
            self._given_views = ()

    # How many pillars a camera sees is only known once projected: a compiled graph takes it as an input.
    @torch.compiler.disable
    def _remembered_views(
        self, lidar2img: Tensor, image_size: tuple[int, int], camera_valid: Tensor | None
    ) -> PillarViews:
        """Projected pillars; a rig that did not change since the last call is not projected again."""
        valid = None if camera_valid is None else camera_valid.clone()
        key = (lidar2img.clone(), image_size, valid, torch.is_inference_mode_enabled())
        if self._last_views is None or not _same(self._last_views[0], key):
            self._last_views = (key, self._project(lidar2img, image_size, camera_valid))
        return self._last_views[1]

    def _project(self, lidar2img: Tensor, image_size: tuple[int, int], camera_valid: Tensor | None) -> PillarViews:
        points, mixed = pillar_points(self.config.bev, lidar2img.device), self.config.quirks.mix_batch
        return project_pillars(points, lidar2img, image_size, camera_valid, mixed)

    def _position(self) -> Tensor:
        rows, columns = self.config.bev.rows, self.config.bev.columns
        xs = self.column_embedding.weight[None].expand(rows, -1, -1)
        ys = self.row_embedding.weight[:, None].expand(-1, columns, -1)
        return torch.cat([xs, ys], -1).flatten(0, 1)

    def _tokens(self, features: list[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
        embedding = self.camera_embedding[:, None] + self.level_embedding  # (N, levels, dims)
        tokens = [level.flatten(3).transpose(2, 3) + embedding[None, :, i : i + 1] for i, level in enumerate(features)]
        shapes = [(level.shape[3], level.shape[4]) for level in features]
        return torch.cat(tokens, 2).flatten(0, 1), shapes

    def _temporal_reference(self, can_bus: Tensor) -> Tensor:
        rows, columns = self.config.bev.rows, self.config.bev.columns
        ys = (torch.arange(rows, device=can_bus.device, dtype=torch.float32) + 0.5) / rows
        xs = (torch.arange(columns, device=can_bus.device, dtype=torch.float32) + 0.5) / columns
        cells = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1).view(1, 1, -1, 2)
        shift = ego_shift(can_bus, self.config.bev).to(cells.dtype)[:, None, None]
        previous = cells + shift
        # Quirk: the public code shifts one array that serves both frames, so the current frame is shifted as well.
        current = previous if self.config.quirks.shift_current_frame else cells.expand_as(previous)
        return torch.cat([previous, current], 1)

    def _history(self, prev_bev: Tensor, can_bus: Tensor, query: Tensor) -> Tensor:
        bev, quirks = self.config.bev, self.config.quirks
        if quirks.rotate_about is None:
            centre: tuple[float, ...] = (bev.ego_place[0] * bev.columns, bev.ego_place[1] * bev.rows)
            cell = (bev.size[0] / bev.columns, bev.size[1] / bev.rows)
        else:
            # Quirk: the public code turns about cell (100, 100) whatever the BEV's size, and as if cells were square.
            centre, cell = quirks.rotate_about, (1.0, 1.0)
        cells = prev_bev.unflatten(1, (bev.rows, bev.columns))
        turned = turn_bev(cells, can_bus[:, DELTA_YAW_DEGREES], centre, cell).flatten(1, 2)
        # Quirk: with history, every layer attends the query of before layer 1 as the current frame.
        return torch.stack([turned, query], 1) if quirks.keep_initial_query else turned[:, None]


def _can_bus_mlp(dims: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(CAN_BUS_SIZE, dims // 2), nn.ReLU(), nn.Linear(dims // 2, dims), nn.ReLU(), nn.LayerNorm(dims)
    )


def _same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    for a, b in zip(first, second, strict=True):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.device != b.device or not torch.equal(a, b):
                return False
        elif a is not b and a != b:
            return False
    return True
