"""Spatial cross-attention: each BEV pillar looks into the cameras that see it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from rsd_model.config import BevConfig
from rsd_model.layers import DeformableSampler

MIN_DEPTH = 1e-5  # m; nearer points, and those behind the camera, are not visible


def pillar_points(bev: BevConfig, device: torch.device) -> Tensor:
    """(HW, Z, 3) points of every pillar in the LiDAR frame, m; row-major cells, heights from bottom to top."""
    x0, y0, z0, x1, y1, z1 = bev.range
    # The lowest and the highest anchor are half a metre inside the range, as published.
    depth = z1 - z0
    zs = torch.linspace(0.5, depth - 0.5, bev.heights, device=device) / depth * depth + z0
    ys = (torch.arange(bev.rows, device=device) + 0.5) / bev.rows * (y1 - y0) + y0
    xs = (torch.arange(bev.columns, device=device) + 0.5) / bev.columns * (x1 - x0) + x0
    grid_y, grid_x, grid_z = torch.meshgrid(ys, xs, zs, indexing="ij")
    return torch.stack([grid_x, grid_y, grid_z], -1).flatten(0, 1)


@dataclass(frozen=True)
class PillarViews:
    """Which camera sees which pillar where, R sights, camera by camera; all encoder layers share them.

    The public code pads every camera's list to the longest. On a rig with one wide camera that is half of the samples.
    """

    cells: Tensor  # (R,) index of the pillar among the B * HW
    images: Tensor  # (R,) index of the camera among the B * N
    reference: Tensor  # (R, Z, 2) projected points in [0, 1] of the image
    share: Tensor  # (B, HW, 1) 1 / number of cameras that see the pillar

    def split(self, count: int) -> list[PillarViews]:
        """The views of one sample by cells, in `count` runs of neighbours."""
        batch, cells = self.share.shape[:2]
        if batch > 1:
            raise ValueError(f"views of {batch} samples cannot be split by cells, only those of one")
        parts = []
        for start, end in pairwise(cells * k // count for k in range(count + 1)):
            inside = (self.cells >= start) & (self.cells < end)
            sights = (self.cells[inside] - start, self.images[inside], self.reference[inside])
            parts.append(PillarViews(*sights, self.share[:, start:end]))
        return parts


def project_pillars(
    points: Tensor,
    lidar2img: Tensor,
    image_size: tuple[int, int],
    camera_valid: Tensor | None = None,
    mix_batch: bool = False,
) -> PillarViews:
    """Project pillars (HW, Z, 3) into cameras lidar2img (B, N, 4, 4) of images (height, width) px.

    A camera with camera_valid (B, N) false sees nothing.
    """
    cameras = lidar2img.shape[1]
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1).flatten(0, 1)  # (HW * Z, 4)
    pixels = homogeneous @ lidar2img[..., :3, :].transpose(-1, -2)  # (B, N, HW * Z, 3)
    depth = pixels[..., 2:]
    size = points.new_tensor([image_size[1], image_size[0]])
    places = (pixels[..., :2] / depth.clamp(min=MIN_DEPTH) / size).unflatten(2, points.shape[:2])  # (B, N, HW, Z, 2)
    inside = ((places > 0.0) & (places < 1.0)).all(-1) & (depth > MIN_DEPTH).view(*places.shape[:-1])
    visible = inside.any(-1)  # (B, N, HW)
    if camera_valid is not None:
        visible = visible & camera_valid[:, :, None]
    # Quirk: the public code lets the cameras of the first sample decide which pillars those of all samples attend.
    flat = (visible[:1].expand_as(visible) if mix_batch else visible).flatten(0, 1)
    share = 1.0 / visible.sum(1).clamp(min=1).to(points.dtype)[..., None]
    places = places.flatten(0, 1)
    if torch.compiler.is_exporting():
        # An exported graph has fixed sizes: every camera has a sight of every pillar, infinitely far off where it has
        # none, and samples beyond the image are zero.
        places = places.where(flat[..., None, None], torch.inf)
        every = torch.arange(flat.numel(), device=flat.device)
        images, cells = every // len(points), every % len(points)
        reference = places.flatten(0, 1)
    else:
        images, cells = flat.nonzero(as_tuple=True)
        reference = places[images, cells]
    return PillarViews(images // cameras * len(points) + cells, images, reference, share)


class SpatialCrossAttention(nn.Module):
    """Deformable attention into the camera features, averaged over the cameras that see a pillar, with a residual."""

    def __init__(self, dims: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.sampler = DeformableSampler(dims, heads, levels, points)
        self.output_proj = nn.Linear(dims, dims)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    def values(self, features: Tensor) -> Tensor:
        """features (B * N, sum of h w, dims) to what `forward` samples: (B * N, sum of h w, heads, dims / heads)."""
        return self.sampler.values(features)

    def forward(self, query: Tensor, values: Tensor, shapes: list[tuple[int, int]], views: PillarViews) -> Tensor:
        """query (B, cells, dims) of the cells in `views`; values: levels of `shapes` end to end."""
        flat = query.flatten(0, 1)
        asked = flat.index_select(0, views.cells)
        answers = self.sampler.sample(asked[None], values, shapes, views.reference[None], views.images)[0]
        slots = torch.zeros_like(flat).index_add(0, views.cells, answers.to(flat.dtype)).view_as(query)
        return query + self.output_proj(slots * views.share.to(query.dtype))
