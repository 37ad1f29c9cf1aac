"""The velocity of what stands in a BEV cell, against hand-computed cases."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rsd_model.config import BevConfig, load_model_config
from rsd_model.losses.bev_flow import bev_flow_term

CONFIG = replace(load_model_config("nano"), bev=BevConfig(rows=6, columns=3, feature_levels=1))  # cells of 10 x 10 m
BETA = CONFIG.loss.velocity_beta
CELL = 4 * 3 + 2  # of x 5 .. 15 m (right), y 10 .. 20 m (ahead)


def box(x: float, y: float, vx: float, vy: float) -> list[float]:
    return [x, y, 0.0, 2.0, 4.0, 1.5, 0.0, vx, vy]


def loss(flow: torch.Tensor, *boxes: list[list[float]]) -> float:
    targets = SimpleNamespace(object_boxes=[torch.tensor(b).reshape(-1, 9) for b in boxes])
    return bev_flow_term(flow, targets, CONFIG)["loss_bev_flow"].item()


def test_flow_in_the_cell_of_the_object_is_compared_with_its_velocity():
    flow = torch.full((2, 18, 2), 99.0)
    flow[1, CELL] = torch.tensor([1.0, -7.0])
    assert loss(flow, [], [box(9.0, 14.0, 1.0, -7.0)]) == 0.0
    small, large = 2.0**2 / (2.0 * BETA), 8.0 - BETA / 2.0  # squared below BETA, absolute above
    assert loss(flow, [], [box(9.0, 14.0, 3.0, 1.0)]) == pytest.approx(CONFIG.loss.bev_flow * (small + large))


def test_mean_is_over_the_objects_inside_the_bev():
    flow = torch.zeros(1, 18, 2)
    one = loss(flow, [box(9.0, 14.0, 3.0, 0.0)])
    assert one > 0.0
    assert loss(flow, [box(9.0, 14.0, 3.0, 0.0), box(0.0, 0.0, 0.0, 0.0)]) == pytest.approx(one / 2.0)
    assert loss(flow, [box(9.0, 14.0, 3.0, 0.0), box(15.1, 0.0, 9.0, 9.0)]) == pytest.approx(one)


def test_no_object_is_no_loss():
    assert loss(torch.randn(2, 18, 2), [], []) == 0.0
