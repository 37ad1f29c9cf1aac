"""The whole network learns from the whole loss."""

from dataclasses import replace

import pytest
import torch

from rsd_model.config import BackboneConfig, load_model_config
from rsd_model.losses.planner_loss import PlannerLoss
from rsd_model.losses.targets import PlannerTargets
from rsd_model.network import Planner, example_inputs, risk_head_config

NANO = load_model_config("nano")
SMALL = replace(
    NANO,
    dims=48,
    heads=3,
    ffn_dims=64,
    image=replace(NANO.image, width=64, height=64),
    backbone=BackboneConfig("basic", (1, 1), (16, 32), 16, 3, (0, 1), -1, True),
    bev=replace(NANO.bev, rows=15, columns=8),
    objects=replace(NANO.objects, queries=12),
    map=replace(NANO.map, instances=8),
)


def small_targets(config):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 3, 9, generator=generator) + torch.tensor([2.0, 8.0, -1.0, 1.0, 3.0, 1.0, 0.0, 0.0, 3.0])
    lines = torch.stack([torch.zeros(config.map.points) - 4.0, torch.linspace(-20, 25, config.map.points)], -1)
    ahead = torch.tensor([0.1, 2.0]).expand(2, 6, 2)
    rows, columns = risk_head_config(config).map_shape
    return PlannerTargets(
        object_boxes=list(boxes),
        object_labels=[torch.tensor([0, 7, 3]), torch.tensor([1, 1, 8])],
        object_futures=[torch.ones(3, 6, 2) * 0.5] * 2,
        object_future_masks=[torch.ones(3, 6)] * 2,
        map_points=[lines[None]] * 2,
        map_labels=[torch.tensor([2])] * 2,
        ego_future=ahead,
        ego_future_mask=torch.ones(2, 6),
        command=torch.tensor([3, 0]),
        object_risks=[torch.tensor([0.1, 0.9, float("nan")])] * 2,
        risk_map=torch.zeros(2, rows, columns),
    )


def all_outputs(model, inputs):
    outputs = model(inputs)
    return outputs | model.training_outputs(outputs)


def with_motion(inputs):
    inputs.can_bus.normal_(generator=torch.Generator().manual_seed(0))
    return inputs


@pytest.fixture(scope="module")
def trained():
    """Terms before and after a few steps on one batch, and the model."""
    torch.manual_seed(0)
    model, loss, batch = Planner(SMALL).train(), PlannerLoss(SMALL), small_targets(SMALL)
    inputs = with_motion(example_inputs(SMALL, batch=2))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(25):
        terms = loss(all_outputs(model, inputs), batch)
        history.append({name: value.item() for name, value in terms.items()})
        optimiser.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 35.0)
        optimiser.step()
    return history


def test_one_batch_is_learned(trained):
    first, last = trained[0], trained[-1]
    assert sum(last.values()) < 0.6 * sum(first.values())
    for name in ("loss_plan_reg", "loss_cls", "loss_map_pts", "loss_risk_map", "loss_bbox"):
        assert last[name] < first[name], name


def test_gradient_reaches_every_trainable_parameter():
    torch.manual_seed(0)
    config = replace(SMALL, motion=replace(SMALL.motion, map_threshold=0.0, map_distance=2.0))
    model = Planner(config).train()
    with torch.no_grad():
        for parameter in model.parameters():  # sampling offsets start at zero weight, which hides what feeds them
            parameter += 0.02 * torch.randn_like(parameter)
    inputs = with_motion(example_inputs(config, batch=2))
    prev_bev = model.encode(inputs).detach()
    outputs = all_outputs(model, replace(inputs, prev_bev=prev_bev))
    sum(PlannerLoss(config)(outputs, small_targets(config)).values()).backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trainable.items() if p.grad is None] == []
    assert [name for name, p in trainable.items() if not p.grad.abs().sum() > 0] == []


def test_training_step_is_deterministic():
    def gradient():
        torch.manual_seed(0)
        model = Planner(SMALL).train()
        outputs = all_outputs(model, with_motion(example_inputs(SMALL, batch=2)))
        sum(PlannerLoss(SMALL)(outputs, small_targets(SMALL)).values()).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    assert torch.equal(gradient(), gradient())
