"""A traced planner gives the module's outputs bit by bit, and goes through the module where the graph does not hold."""

from dataclasses import replace

import pytest
import torch

import rsd_model.traced
from rsd_model.config import load_model_config
from rsd_model.network import Planner, PlannerInputs, example_inputs
from rsd_model.traced import TracedPlanner

NANO = load_model_config("nano")


def varied(inputs: PlannerInputs, seed: int) -> PlannerInputs:
    """Other images, motion, route and history, same rig."""
    generator = torch.Generator().manual_seed(seed)

    def like(values: torch.Tensor) -> torch.Tensor:
        return torch.randn(values.shape, generator=generator)

    history = torch.randn(1, NANO.bev.rows * NANO.bev.columns, NANO.dims, generator=generator)
    return replace(
        inputs, images=like(inputs.images), can_bus=3.0 * like(inputs.can_bus), route=5.0 * like(inputs.route),
        ego_status=like(inputs.ego_status), prev_bev=history,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planner() -> Planner:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Planner(NANO).eval().requires_grad_(False)


@pytest.fixture
def calls(planner):
    """One entry for each pass through the module."""
    made = []
    hook = planner.register_forward_pre_hook(lambda *_: made.append(1))
    yield made
    hook.remove()


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_outputs_are_the_modules_bit_by_bit_whatever_is_seen_and_however_the_vehicle_moves(planner, calls):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    assert not traced.knows(inputs)
    assert traced.trace(inputs) and traced.knows(inputs)
    with torch.inference_mode():
        for seed in range(4):
            frame = varied(inputs, seed)
            expected = planner(frame)
            calls.clear()
            assert same(traced(frame), expected)
            assert not calls


def test_another_rig_a_missing_camera_and_a_first_frame_go_through_the_module(planner, calls):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    traced.trace(inputs)
    frame = varied(inputs, 0)
    camera_valid = torch.tensor([[True, True, False, True, True, True]])
    with torch.inference_mode():
        for other in (
            replace(frame, lidar2img=1.01 * frame.lidar2img),
            replace(frame, camera_valid=camera_valid),
            replace(frame, prev_bev=None),
        ):
            expected = planner(other)
            calls.clear()
            assert same(traced(other), expected)
            assert calls


def test_a_planner_too_slow_to_gain_by_it_is_not_traced(planner, monkeypatch):
    monkeypatch.setattr(rsd_model.traced, "WORTH", 0.0)
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    assert not traced.trace(inputs) and not traced.knows(inputs)
