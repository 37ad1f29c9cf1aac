"""The RiskHead on models that are not ours: a BEVFormer-like encoder, a UniAD-shaped one, and our own planner."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from rsd_model.config import load_model_config
from rsd_model.heads.risk import RiskHeadConfig
from rsd_model.layers import DeformableAttention
from rsd_model.losses.risk import RiskTargets
from rsd_model.network import Planner, example_inputs
from rsd_model.plugin import attach_risk_head

SMALL = RiskHeadConfig(range=(-8.0, -8.0, 8.0, 8.0), map_resolution=1.0, dims=16, heads=2, layers=1)


class BevEncoder(nn.Module):
    """Learned cell queries that attend image tokens, layer by layer: (B, H*W, C), as BEVFormer's encoder."""

    def __init__(self, channels=32, shape=(16, 16), layers=2):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(shape[0] * shape[1], channels))
        self.layers = nn.ModuleList(DeformableAttention(channels, 4, 1, 4) for _ in range(layers))
        ys, xs = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in shape), indexing="ij")
        self.register_buffer("reference", torch.stack([xs, ys], -1).view(1, -1, 1, 2))

    def forward(self, image):
        query = self.queries.expand(len(image), -1, -1)
        for layer in self.layers:
            query = query + layer(query, image.flatten(2).transpose(1, 2), [tuple(image.shape[2:])], self.reference)
        return query


class HostModel(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.backbone = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.pts_bbox_head = nn.Module()
        self.pts_bbox_head.encoder = encoder
        self.decoder = nn.Linear(encoder.queries.shape[-1], 4)

    def forward(self, images):
        return self.decoder(self.pts_bbox_head.encoder(self.backbone(images)))


class UniadEncoder(nn.Module):
    """UniAD's shape: a BEV of 200 x 200 x 256 handed out as (HW, B, C) in a dictionary with more."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(200 * 200, 256) * 0.1)
        self.project = nn.Linear(32, 256)

    def forward(self, image):
        context = self.project(image.mean((2, 3)))
        return {"bev_embed": self.queries[:, None] + context, "bev_pos": None}


class UniadHost(HostModel):
    def forward(self, images):
        return self.decoder(self.pts_bbox_head.encoder(self.backbone(images))["bev_embed"])


def bevformer_host():
    torch.manual_seed(0)
    return HostModel(BevEncoder())


def attach(host, **settings):
    arguments = {"config": SMALL, "bev_channels": 32, "bev_shape": (16, 16)} | settings
    return attach_risk_head(host, "pts_bbox_head.encoder", **arguments)


def test_attaching_and_removing_leave_the_host_bit_identical():
    host, images = bevformer_host(), torch.randn(2, 3, 24, 24)
    before, state = host(images), copy.deepcopy(host.state_dict())
    risk = attach(host)
    assert torch.equal(host(images), before)
    risk.remove()
    assert torch.equal(host(images), before)
    assert list(host.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in host.state_dict().items())
    assert not host.pts_bbox_head.encoder._forward_hooks


def test_the_risk_loss_trains_the_hosts_bev_unless_told_not_to():
    reference, targets = torch.rand(2, 5, 2), RiskTargets(torch.rand(2, 5), torch.rand(2, 16, 16))
    for train_host in (True, False):
        host = bevformer_host()
        risk = attach(host, train_host=train_host)
        host(torch.randn(2, 3, 24, 24))
        risk.loss(risk(reference), targets).backward()
        assert (host.backbone.weight.grad is not None) == train_host
        assert risk.head.project_bev.weight.grad.abs().sum() > 0


def test_the_head_is_saved_and_moved_with_the_host():
    host = bevformer_host()
    plain = len(list(host.parameters()))
    risk = attach(host)
    assert len(list(host.parameters())) == plain + len(list(risk.head.parameters()))
    assert any(name.startswith("rsd_risk_head.") for name in host.state_dict())
    host.double()
    assert risk.head.project_bev.weight.dtype == torch.float64


def test_a_uniad_shaped_encoder_works_by_selecting_its_tensor():
    torch.manual_seed(0)
    host = UniadHost(UniadEncoder())
    config = RiskHeadConfig(range=(-51.2, -51.2, 51.2, 51.2), map_resolution=0.8)
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        before = host(images)
        risk = attach(host, config=config, bev_channels=256, bev_shape=(200, 200), select=lambda out: out["bev_embed"])
        assert torch.equal(host(images), before)
        said = risk(config.reference_points([torch.tensor([[0.0, 10.0], [-20.0, 3.0]])]))
        assert said.object_risk.shape == (1, 2)
        assert said.risk_map.shape == (1, 128, 128)
        risk.remove()
        assert torch.equal(host(images), before)


def test_our_planner_can_be_a_host_like_any_other():
    config = load_model_config("nano")
    planner, inputs = Planner(config).eval(), example_inputs(config)
    shape = (config.bev.rows, config.bev.columns)
    with torch.no_grad():
        before = planner(inputs)
        settings = RiskHeadConfig(range=(-15.0, -30.0, 15.0, 30.0), map_resolution=1.0)
        risk = attach_risk_head(
            planner, "bev_encoder", config=settings, bev_channels=config.dims, bev_shape=shape, layout="b_hw_c"
        )
        planner(inputs)
        assert risk(torch.rand(1, 3, 2)).risk_map.shape == (1, 60, 30)
        risk.remove()
        after = planner(inputs)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_mistakes_are_named_with_their_remedy():
    host = bevformer_host()
    with pytest.raises(ValueError, match=r"no module 'pts_bbox_head.encodr'; near names: \['pts_bbox_head.encoder'"):
        attach_risk_head(host, "pts_bbox_head.encodr", config=SMALL, bev_channels=32, bev_shape=(16, 16))
    risk = attach(host)
    with pytest.raises(RuntimeError, match="run the host model"):
        risk(torch.rand(1, 1, 2))
    with pytest.raises(ValueError, match=r"already; remove\(\) it first"):
        attach(host)
    uniad = UniadHost(UniadEncoder())
    attach(uniad, bev_channels=256, bev_shape=(200, 200))
    with pytest.raises(TypeError, match="returned dict, not a tensor: pass select="):
        uniad(torch.randn(1, 3, 16, 16))


def test_the_twenty_lines_of_the_page_run_as_they_stand():
    page = (Path(__file__).parents[2] / "docs" / "risk_head.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    torch.manual_seed(0)
    my_model = HostModel(BevEncoder(channels=256, shape=(200, 200), layers=0))
    before = my_model.state_dict().keys()
    scores = torch.tensor([[0.9, float("nan")]])
    batch = (
        torch.randn(1, 3, 8, 8),
        [torch.tensor([[1.0, 20.0], [-3.0, 5.0]])],
        scores,
        lambda out: out.square().mean(),
    )
    names = {"my_model": my_model, "loader": [batch, batch]}
    exec(compile(code, "docs/risk_head.md", "exec"), names)
    assert names["loss"].isfinite()
    assert names["said"].risk_map.shape == (1, 128, 128)
    assert my_model.state_dict().keys() == before
