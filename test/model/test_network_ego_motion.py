"""The previous BEV lands where the world has moved to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rsd_model.bev.ego_motion import carry_bev, ego_shift, relative_can_bus, turn_bev
from rsd_model.bev.encoder import BevEncoder
from rsd_model.config import BevConfig, ModelConfig, load_model_config


def can_bus(dx: float, dy: float, yaw: float, delta_yaw: float) -> torch.Tensor:
    values = torch.zeros(1, 18)
    values[0, 0], values[0, 1], values[0, 16], values[0, 17] = dx, dy, yaw, math.degrees(delta_yaw)
    return values


def test_shift_forward_is_along_y_and_to_the_left_is_against_x():
    bev = BevConfig()
    forward = ego_shift(can_bus(3.0 * math.cos(0.7), 3.0 * math.sin(0.7), 0.7, 0.0), bev)
    left = ego_shift(can_bus(3.0 * math.cos(0.7 + math.pi / 2), 3.0 * math.sin(0.7 + math.pi / 2), 0.7, 0.0), bev)
    torch.testing.assert_close(forward, torch.tensor([[0.0, 3.0 / 60.0]], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(left, torch.tensor([[-3.0 / 30.0, 0.0]], dtype=torch.float64), atol=1e-6, rtol=0)


def landmark_before_a_move(bev: BevConfig, delta_yaw: float) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Previous BEV (1, HW, 1) that fades with the distance to a landmark, can bus (1, 18), where it is now (2,) m."""
    width, height = bev.size
    landmark = np.array([4.0, 9.0])  # previous LiDAR frame
    move = np.array([1.0, 3.0])  # of the ego, previous LiDAR frame (x right, y forward)
    turn = np.array([[math.cos(delta_yaw), math.sin(delta_yaw)], [-math.sin(delta_yaw), math.cos(delta_yaw)]])
    previous_yaw = 0.3
    s, c = math.sin(previous_yaw), math.cos(previous_yaw)
    world = np.array([[s, c], [-c, s]])
    xs = (torch.arange(bev.columns) + 0.5) / bev.columns * width - width / 2
    ys = (torch.arange(bev.rows) + 0.5) / bev.rows * height - height / 2
    distance = torch.hypot(xs[None] - float(landmark[0]), ys[:, None] - float(landmark[1]))
    bus = can_bus(*(world @ move), previous_yaw + delta_yaw, delta_yaw)
    return torch.exp(-distance).view(1, -1, 1), bus, turn @ (landmark - move)


def value_at(bev: torch.Tensor, place: torch.Tensor) -> float:
    """Bilinear value of a map (rows, columns) at x, y in [0, 1]."""
    found = torch.nn.functional.grid_sample(bev[None, None], (2 * place - 1).view(1, 1, 1, 2), align_corners=False)
    return found.item()


@pytest.mark.parametrize(("rows", "columns"), [(60, 30), (120, 30)])
@pytest.mark.parametrize("delta_yaw", [0.0, 0.4, -0.9])
def test_landmark_is_found_where_it_stands_after_ego_drove_and_turned(rows, columns, delta_yaw):
    config = replace(load_model_config("nano"), bev=BevConfig(rows=rows, columns=columns, feature_levels=1))
    encoder = BevEncoder(config)
    prev_bev, bus, seen_now = landmark_before_a_move(config.bev, delta_yaw)
    history = encoder._history(prev_bev.expand(-1, -1, config.dims), bus, torch.zeros(1, rows * columns, config.dims))
    place = torch.tensor(seen_now / config.bev.size + 0.5).float() + ego_shift(bus, config.bev)[0].float()
    assert value_at(history[0, 0, :, 0].view(rows, columns), place) > math.exp(-1.0)


@pytest.mark.parametrize(("rows", "columns"), [(60, 30), (120, 30)])
@pytest.mark.parametrize("delta_yaw", [0.0, 0.4, -0.9])
def test_carried_bev_shows_the_landmark_where_it_stands_now(rows, columns, delta_yaw):
    bev = BevConfig(rows=rows, columns=columns)
    prev_bev, bus, seen_now = landmark_before_a_move(bev, delta_yaw)
    carried = carry_bev(prev_bev, bus, bev)
    assert value_at(carried.view(rows, columns), torch.tensor(seen_now / bev.size + 0.5).float()) > math.exp(-1.0)
    best = int(carried.argmax())
    place = (best % columns + 0.5, best // columns + 0.5) / np.array([columns, rows]) * bev.size - np.array(
        bev.size
    ) / 2
    assert np.abs(place - seen_now).max() < 0.75  # m; the nearest cell is at most half a metre away


def test_bev_is_carried_unchanged_by_a_vehicle_that_stands():
    bev, before = BevConfig(rows=6, columns=4), torch.randn(2, 24, 3)
    torch.testing.assert_close(carry_bev(before, torch.zeros(2, 18), bev), before)


def test_what_was_outside_the_previous_bev_is_carried_as_zero():
    bev = BevConfig(rows=6, columns=4)
    carried = carry_bev(torch.ones(1, 24, 1), can_bus(0.0, 10.0, math.pi / 2, 0.0), bev).view(6, 4)
    assert carried[:5].min() > 0.99  # rows of 10 m: all but the farthest were seen before
    assert carried[5].abs().max() < 1e-3


def test_turn_by_zero_keeps_the_map():
    bev = torch.randn(2, 6, 4, 3)
    assert torch.equal(turn_bev(bev, torch.zeros(2), (2.0, 3.0), (1.0, 1.0)), bev)


def test_quarter_turn_to_the_left_brings_what_was_left_to_the_front():
    bev = torch.zeros(1, 5, 5, 1)
    bev[0, 2, 0] = 1.0  # left of the middle
    turned = turn_bev(bev, torch.tensor([90.0]), (2.5, 2.5), (1.0, 1.0))
    assert turned[0, 4, 2] == 1.0
    assert turned.sum() == 1.0


def test_relative_can_bus_takes_position_and_degrees_only():
    previous, current = np.arange(18.0), np.arange(18.0) * 3.0
    relative = relative_can_bus(current, previous)
    assert np.allclose(relative[[0, 1, 2, 17]], [0.0, 2.0, 4.0, 34.0])
    assert np.allclose(relative[3:17], current[3:17])
    assert not relative_can_bus(current, None)[[0, 1, 2, 17]].any()


def test_current_frame_keeps_its_reference_points_unless_the_quirk_is_on():
    quirky = load_model_config("nano")
    quirky = replace(quirky, quirks=replace(quirky.quirks, shift_current_frame=True))
    bus = can_bus(0.0, 3.0, math.pi / 2, 0.0)
    plain: ModelConfig = load_model_config("nano")
    previous, current = BevEncoder(plain)._temporal_reference(bus)[0]
    assert torch.allclose(previous - current, torch.tensor([0.0, 0.05]), atol=1e-6)
    previous, current = BevEncoder(quirky)._temporal_reference(bus)[0]
    assert torch.equal(previous, current)
