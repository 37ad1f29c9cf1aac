"""RiskHead: how dangerous each object and each place is, read from the BEV features of any model.

Follows what is public of Risk Semantic Distillation (arXiv 2511.14499): deformable attention into the BEV at the
objects' reference points, L1 to the teacher's scores. The paper's own sizes, weights and ranges are not public: all
values here are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from rsd_model.contracts import RiskGrid
from rsd_model.geometry import lidar_to_base_points
from rsd_model.layers import DeformableAttention, FeedForward

BEV_LAYOUTS = ("b_c_h_w", "b_hw_c", "hw_b_c")


@dataclass(frozen=True)
class RiskHeadConfig:
    """Size, reach and loss weights of the RiskHead. Every default is ours, not the paper's."""

    range: tuple[float, ...] = (-15.0, -30.0, 15.0, 30.0)  # m, x y minima, then maxima, of the BEV in its own frame
    map_resolution: float = 0.5  # m, side of a (square) cell of the risk map
    dims: int = 64  # width inside the head
    layers: int = 2  # deformable layers of the object branch
    heads: int = 4
    points: int = 8  # sampling points a head
    object_weight: float = 1.0  # of the L1 on object risk
    map_weight: float = 1.0  # of the L1 on the risk map
    ranking_weight: float = 0.0  # of the ranking consistency; 0: off
    ranking: str = "hinge"  # "hinge" | "logistic"
    ranking_margin: float = 0.1  # teacher gap below which a pair has no order; predicted gap that the hinge asks for
    match_radius: float = 2.0  # m, a projected label farther than this from every object is dropped
    risky_share: float = 0.0  # share of each L1 that comes from targets above `risky_above`; 0: plain mean
    risky_above: float = 0.1  # risk from which on a target counts as risky
    falloff: float = 2.0  # m beyond an object's footprint over which its risk falls to 0 in the map targets

    def __post_init__(self) -> None:
        for name in ("map_resolution", "dims", "layers", "heads", "points", "match_radius", "falloff"):
            self._check(getattr(self, name) > 0, name, "> 0")
        for name in ("object_weight", "map_weight", "ranking_weight", "ranking_margin"):
            self._check(getattr(self, name) >= 0, name, ">= 0")
        self._check(self.dims % self.heads == 0, "dims", f"a multiple of heads = {self.heads}")
        for name in ("risky_share", "risky_above"):
            self._check(0 <= getattr(self, name) < 1, name, "0 <= value < 1")
        self._check(self.ranking in ("hinge", "logistic"), "ranking", "hinge, logistic")
        ordered = len(self.range) == 4 and self.range[0] < self.range[2] and self.range[1] < self.range[3]
        self._check(ordered, "range", "x_min, y_min, x_max, y_max with minima below maxima")
        cells = [(self.range[i + 2] - self.range[i]) / self.map_resolution for i in (0, 1)]
        whole = all(abs(count - round(count)) < 1e-6 for count in cells)
        self._check(whole, "map_resolution", f"a divisor of both sides of range = {self.range}")

    def _check(self, condition: bool, name: str, allowed: str) -> None:
        if not condition:
            raise ValueError(f"risk_head.{name} = {getattr(self, name)!r}: allowed is {allowed}")

    @classmethod
    def from_dict(cls, settings: dict[str, Any], **defaults: Any) -> RiskHeadConfig:
        """From a mapping as YAML gives it; `defaults` fill what it lacks. Raises ValueError for an unknown key."""
        known = {field.name for field in fields(cls)}
        for key, value in settings.items():
            if key not in known:
                raise ValueError(f"unknown key risk_head.{key} = {value!r}: allowed are {', '.join(sorted(known))}")
        values = {**defaults, **settings}
        if "range" in values:
            values["range"] = tuple(float(bound) for bound in values["range"])
        return cls(**values)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(rows, columns) of the risk map: rows along the BEV's y, columns along its x."""
        x_min, y_min, x_max, y_max = self.range
        return round((y_max - y_min) / self.map_resolution), round((x_max - x_min) / self.map_resolution)

    def cell_centres(self) -> np.ndarray:
        """(rows, columns, 2) x, y in m of the map's cell centres in the BEV's frame."""
        rows, columns = self.map_shape
        x = self.range[0] + (np.arange(columns) + 0.5) * self.map_resolution
        y = self.range[1] + (np.arange(rows) + 0.5) * self.map_resolution
        return np.stack(np.meshgrid(x, y), -1)

    def normalise(self, points: Tensor) -> Tensor:
        """Positions (..., 2 or more) m in the BEV's frame to reference points (..., 2) in [0, 1]."""
        lower = points.new_tensor(self.range[:2])
        return (points[..., :2] - lower) / (points.new_tensor(self.range[2:]) - lower)

    def reference_points(self, positions: list[Tensor]) -> Tensor:
        """(B, Q, 2) reference points of B x (K, 2+) positions m, padded to the longest K with the BEV's middle."""
        points = [self.normalise(position) for position in positions]
        return nn.utils.rnn.pad_sequence(points, batch_first=True, padding_value=0.5)


class RiskOutput(NamedTuple):
    """What the RiskHead says."""

    object_risk: Tensor  # (B, Q) in [0, 1]
    risk_map: Tensor  # (B, rows, columns) in [0, 1], rows along the BEV's y, columns along its x


class RiskHead(nn.Module):
    """Object risk by deformable attention at reference points, and a dense risk map, from BEV features.

    bev_channels: C of the host's features; bev_shape: (H, W), rows along y; query_channels: width of the object
    queries' features where the host has them (they join the position of the object as what the head knows of it).
    """

    def __init__(
        self,
        config: RiskHeadConfig,
        bev_channels: int,
        bev_shape: tuple[int, int],
        query_channels: int | None = None,
        layout: str | None = None,
    ) -> None:
        super().__init__()
        if layout is not None and layout not in BEV_LAYOUTS:
            raise ValueError(f"layout {layout!r} is none of {', '.join(BEV_LAYOUTS)}")
        self.config = config
        self.bev_channels, self.layout = bev_channels, layout
        self.bev_shape = (int(bev_shape[0]), int(bev_shape[1]))
        self.project_bev = nn.Linear(bev_channels, config.dims)
        self.project_position = nn.Sequential(nn.Linear(2, config.dims), nn.ReLU(), nn.Linear(config.dims, config.dims))
        self.project_query = nn.Linear(query_channels, config.dims) if query_channels else None
        self.layers = nn.ModuleList(RiskLayer(config) for _ in range(config.layers))
        self.object_branch = nn.Linear(config.dims, 1)
        map_logit = nn.Conv2d(config.dims // 2, 1, 1)
        self.map_branch = nn.Sequential(
            nn.Conv2d(config.dims, config.dims, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.dims, config.dims // 2, 3, padding=1),
            nn.ReLU(),
            map_logit,
        )
        for branch in (self.object_branch, map_logit):
            # Most places and objects are harmless: start at 0.1.
            nn.init.constant_(branch.get_parameter("bias"), -math.log(9.0))

    def forward(self, bev: Tensor, reference_points: Tensor, query_features: Tensor | None = None) -> RiskOutput:
        """Risk of objects and places.

        bev: (B, C, H, W), (B, H*W, C) or (H*W, B, C); reference_points (B, Q, 2) x, y in [0, 1] of the BEV's range (0
        at its minima); query_features (B, Q, query_channels), required exactly where the head was built with
        query_channels.
        """
        cells = self.project_bev(bev_cells(bev, self.bev_shape, self.bev_channels, self.layout))  # (B, H*W, dims)
        query = self._queries(reference_points, query_features)
        for layer in self.layers:
            query = layer(query, cells, self.bev_shape, reference_points)
        object_risk = self.object_branch(query).squeeze(-1).sigmoid()
        return RiskOutput(object_risk, self._risk_map(cells))

    def _queries(self, reference_points: Tensor, features: Tensor | None) -> Tensor:
        query = self.project_position(2.0 * reference_points - 1.0)
        if (features is None) != (self.project_query is None):
            needed = "needs query_features" if features is None else "was built without query_channels"
            raise ValueError(f"this RiskHead {needed}")
        return query if self.project_query is None else query + self.project_query(features)

    def _risk_map(self, cells: Tensor) -> Tensor:
        size = self.config.map_shape
        image = cells.transpose(1, 2).unflatten(-1, self.bev_shape)  # (B, dims, H, W)
        if size[0] <= self.bev_shape[0] and size[1] <= self.bev_shape[1]:
            image = F.adaptive_avg_pool2d(image, size)  # every BEV cell counts; bilinear would skip some
        else:
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        return self.map_branch(image).squeeze(1).sigmoid()


class RiskLayer(nn.Module):
    """Deformable attention into the BEV and a feed-forward, each with residual and norm."""

    def __init__(self, config: RiskHeadConfig) -> None:
        super().__init__()
        self.bev_attention = DeformableAttention(config.dims, config.heads, 1, config.points)
        self.norm_bev = nn.LayerNorm(config.dims)
        self.feed_forward = FeedForward(config.dims, 2 * config.dims)
        self.norm_feed_forward = nn.LayerNorm(config.dims)

    def forward(self, query: Tensor, cells: Tensor, shape: tuple[int, int], reference: Tensor) -> Tensor:
        """query (B, Q, dims); cells (B, H*W, dims); reference (B, Q, 2) in [0, 1]."""
        query = self.norm_bev(query + self.bev_attention(query, cells, [shape], reference[:, :, None]))
        return self.norm_feed_forward(self.feed_forward(query))


def bev_cells(bev: Tensor, shape: tuple[int, int], channels: int, layout: str | None = None) -> Tensor:
    """BEV features in any of BEV_LAYOUTS to (B, H*W, C); the layout is read off the shape where it is not given.

    Raises ValueError when no layout, or more than one, fits `shape` (H, W) and `channels`.
    """
    count = shape[0] * shape[1]
    fits = {
        "b_c_h_w": bev.dim() == 4 and tuple(bev.shape[1:]) == (channels, *shape),
        "b_hw_c": bev.dim() == 3 and tuple(bev.shape[1:]) == (count, channels),
        "hw_b_c": bev.dim() == 3 and bev.shape[0] == count and bev.shape[2] == channels,
    }
    possible = [name for name in BEV_LAYOUTS if fits[name] and layout in (None, name)]
    if len(possible) != 1:
        expected = f"layout {layout}" if layout else "one of " + ", ".join(BEV_LAYOUTS)
        raise ValueError(
            f"BEV features of shape {tuple(bev.shape)} fit {possible or 'no layout'}: expected {expected} "
            f"with C={channels}, H={shape[0]}, W={shape[1]}"
        )
    if possible[0] == "b_c_h_w":
        return bev.flatten(2).transpose(1, 2)
    return bev if possible[0] == "b_hw_c" else bev.transpose(0, 1)


def risk_map_to_grid(risk_map: np.ndarray, config: RiskHeadConfig) -> RiskGrid:
    """A risk map (rows, columns) of a BEV in the LiDAR frame (x right, y forward) as a RiskGrid in base_link."""
    x_min, y_min, x_max, y_max = config.range
    corners = lidar_to_base_points(np.array([[x_min, y_min], [x_max, y_max]]))
    values = np.ascontiguousarray(np.asarray(risk_map, np.float32).T[::-1])
    return RiskGrid(values, config.map_resolution, (float(corners[:, 0].min()), float(corners[:, 1].min())))
