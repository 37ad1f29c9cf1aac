"""How the ego moved since the previous BEV, from VAD's can bus, and the turn of that BEV into the current heading."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsd_model.config import BevConfig

CAN_BUS_SIZE = 18
DELTA_X, DELTA_Y, DELTA_Z = 0, 1, 2  # m, world axes, since the previous frame
YAW = 16  # rad, in the world
DELTA_YAW_DEGREES = 17  # since the previous frame


def ego_shift(can_bus: Tensor, bev: BevConfig) -> Tensor:
    """(B, 2) displacement x, y of the ego in its own heading, as shares of the BEV's extent; can_bus (B, 18)."""
    motion = can_bus.double()
    length = torch.hypot(motion[:, DELTA_X], motion[:, DELTA_Y])
    angle = motion[:, YAW] - torch.atan2(motion[:, DELTA_Y], motion[:, DELTA_X])
    width, height = bev.size
    return torch.stack([length * angle.sin() / width, length * angle.cos() / height], -1)


def turn_bev(bev: Tensor, degrees: Tensor, centre: tuple[float, ...], cell: tuple[float, ...]) -> Tensor:
    """Turn maps to a heading `degrees` (B,) further left, nearest neighbour, zero where nothing was seen.

    bev (B, rows, columns, C), rows along y; `centre` is the fixed point x, y in cells from the corner, `cell` the size
    x, y of a cell.
    """
    rows, columns = bev.shape[1:3]
    half = torch.tensor([columns / 2.0, rows / 2.0], dtype=torch.float64, device=bev.device)
    size, fixed = half.new_tensor(cell), half.new_tensor(centre) - half
    angle = torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (B, 2, 2) new to old
    turn = turn * size / size[:, None]
    affine = torch.cat([turn, (fixed - turn @ fixed)[..., None]], -1)  # (B, 2, 3) in cells from the middle
    # Rounded to single precision here and not earlier or later: which cell is nearest can hang on the last bit.
    affine = affine.float().transpose(1, 2) / half.float()
    ys, xs = torch.meshgrid(
        torch.arange(rows, device=bev.device) + 0.5 - rows / 2.0,
        torch.arange(columns, device=bev.device) + 0.5 - columns / 2.0,
        indexing="ij",
    )
    cells = torch.stack([xs, ys, torch.ones_like(xs)], -1).view(1, -1, 3).expand(len(bev), -1, -1)
    grid = cells.bmm(affine).view(-1, rows, columns, 2)
    image = bev.permute(0, 3, 1, 2).float()
    return F.grid_sample(image, grid, mode="nearest", align_corners=False).permute(0, 2, 3, 1).to(bev.dtype)


def carry_bev(bev: Tensor, can_bus: Tensor, config: BevConfig) -> Tensor:
    """The previous BEV (B, HW, C) in the present vehicle frame, bilinear, zero where nothing was seen.

    can_bus (B, 18) relative to the previous frame. Cells are metric and the fixed point of a turn is the ego.
    """
    rows, columns, size = config.rows, config.columns, config.size
    ys = (torch.arange(rows, device=bev.device) + 0.5) / rows * size[1] + config.range[1]
    xs = (torch.arange(columns, device=bev.device) + 0.5) / columns * size[0] + config.range[0]
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
    moved = ego_shift(can_bus, config).float() * ys.new_tensor(size)  # (B, 2) m
    x, y = grid_x + moved[:, 0, None, None], grid_y + moved[:, 1, None, None]
    angle = torch.deg2rad(can_bus[:, DELTA_YAW_DEGREES].float())[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    then = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)  # m, previous vehicle frame
    places = 2.0 * (then - ys.new_tensor(config.range[:2])) / ys.new_tensor(size) - 1.0
    image = bev.transpose(1, 2).unflatten(2, (rows, columns)).float()
    return F.grid_sample(image, places, align_corners=False).flatten(2).transpose(1, 2).to(bev.dtype)


def relative_can_bus(can_bus: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """Can bus (18,) with position and yaw in degrees relative to the previous frame's, zero for a first frame.

    `can_bus` and `previous` hold them in world axes, as VAD's detector receives them.
    """
    relative = np.array(can_bus, dtype=np.float64)
    moving = [DELTA_X, DELTA_Y, DELTA_Z, DELTA_YAW_DEGREES]
    relative[moving] = 0.0 if previous is None else relative[moving] - np.asarray(previous)[moving]
    return relative
