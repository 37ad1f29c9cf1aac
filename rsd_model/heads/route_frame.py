"""Plans told along the route: how far to drive on it and how far beside it, instead of free offsets. Not in VAD."""

from __future__ import annotations

import torch
from torch import Tensor

REJOIN = 6.0  # m of route over which a distance from it fades out


def offsets_along_route(progress: Tensor, route: Tensor, start: Tensor, spacing: float) -> Tensor:
    """Plan offsets (..., T, 2) m of a vehicle that starts at `start` and follows the route.

    progress (B, C, T, 2): per step, metres further to the right of the route (x) and further along it (y); never
    backwards. route (B, R, 2) m, points every `spacing` m from one spacing ahead of the vehicle on; start (2,) m, the
    vehicle's own place; one frame with x right, y forward. A vehicle beside the route comes back within about REJOIN.
    """
    path = _path(route - start, spacing)  # (B, R + 1, 2), the vehicle at the origin
    forward = progress[..., 1]
    forward = forward + (forward.clamp(min=0.0) - forward).detach()  # a step clamped to 0 must still learn to move
    along = forward.cumsum(-1) / spacing  # in points
    index = along.detach().floor().clamp(0, path.shape[1] - 2).long()
    flat = index.flatten(1)[..., None].expand(-1, -1, 2)
    first = path.gather(1, flat).view(*index.shape, 2)
    step = path.gather(1, flat + 1).view(*index.shape, 2) - first
    right = torch.stack([step[..., 1], -step[..., 0]], -1) / step.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    places = first + step * (along - index)[..., None] + right * progress[..., :1].cumsum(-2)
    return torch.diff(places, dim=-2, prepend=torch.zeros_like(places[..., :1, :]))


def _path(route: Tensor, spacing: float) -> Tensor:
    """The route shifted so that it begins at the origin and fades into the route proper."""
    behind = 2.0 * route[:, :1] - route[:, 1:2]  # where the route passes the vehicle
    points = torch.arange(1, route.shape[1] + 1, device=route.device, dtype=route.dtype)
    fade = torch.exp(-spacing * points / REJOIN)[None, :, None]
    return torch.cat([torch.zeros_like(behind), route - behind * fade], 1)
