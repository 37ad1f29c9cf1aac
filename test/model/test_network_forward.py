"""What goes in and out of the Planner, and what must not matter to it."""

from dataclasses import replace

import pytest
import torch

from rsd_model.backbone.folding import fold_batch_norm
from rsd_model.bev.temporal_fusion import TemporalFusion
from rsd_model.config import EgoConfig, load_model_config
from rsd_model.network import Planner, PlannerInputs, example_inputs

NANO = load_model_config("nano")


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    return Planner(NANO).eval()


def smaller_images(config):
    return replace(config, image=replace(config.image, width=160, height=96))


@pytest.mark.parametrize(("name", "batch"), [("nano", 2), ("tiny", 1)])
def test_outputs_have_the_documented_shapes(name, batch):
    config = smaller_images(load_model_config(name))
    with torch.inference_mode():
        out = Planner(config).eval()(example_inputs(config, batch))
    objects, lanes, cells = config.objects, config.map, config.bev.rows * config.bev.columns
    queries, instances = (objects.layers, batch, objects.queries), (lanes.layers, batch, lanes.instances)
    assert out["bev_embed"].shape == (cells, batch, config.dims)
    assert out["all_cls_scores"].shape == (*queries, 9)
    assert out["all_bbox_preds"].shape == (*queries, 10)
    assert out["all_traj_preds"].shape == (*queries, 6, 12)
    assert out["all_traj_cls_scores"].shape == (*queries, 6)
    assert out["map_all_cls_scores"].shape == (*instances, 6)
    assert out["map_all_pts_preds"].shape == (*instances, lanes.points, 2)
    assert out["ego_fut_preds"].shape == (batch, 6, 6, 2)
    assert out["object_risk"].shape == (batch, objects.queries)
    assert all(torch.isfinite(value).all() for value in out.values())


def test_samples_of_a_batch_do_not_see_each_other(nano):
    inputs = example_inputs(NANO, batch=2)
    with torch.inference_mode():
        history = nano(inputs)["bev_embed"].transpose(0, 1)
        both = nano(replace(inputs, prev_bev=history))
        one = {f: v[1:] for f, v in vars(inputs).items() if isinstance(v, torch.Tensor)}
        alone = nano(replace(inputs, **one, prev_bev=history[1:]))
    for key in ("bev_embed", "all_bbox_preds", "map_all_pts_preds"):
        torch.testing.assert_close(both[key][:, 1:], alone[key], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(both["ego_fut_preds"][1:], alone["ego_fut_preds"], atol=2e-4, rtol=1e-3)


def test_same_inputs_give_the_same_bits(nano):
    with torch.inference_mode():
        first, second = nano(example_inputs(NANO)), nano(example_inputs(NANO))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_previous_bev_changes_the_outcome(nano):
    inputs = example_inputs(NANO)
    with torch.inference_mode():
        first = nano(inputs)
        second = nano(replace(inputs, prev_bev=first["bev_embed"].transpose(0, 1)))
    assert not torch.allclose(first["bev_embed"], second["bev_embed"])


def test_untrained_fusion_leaves_the_bev_and_a_trained_one_sees_the_previous():
    fusion, (current, before) = TemporalFusion(NANO.dims, NANO.bev), torch.randn(2, 1, 800, NANO.dims)
    assert torch.equal(fusion(current, before, torch.zeros(1, 18)), current)
    torch.nn.init.normal_(fusion.convolutions[-1].weight)
    seen = fusion(current, before, torch.zeros(1, 18))
    assert not torch.equal(seen, fusion(current, None, torch.zeros(1, 18)))
    nothing = torch.zeros_like(before)
    torch.testing.assert_close(fusion(current, nothing, torch.zeros(1, 18)), fusion(current, None, torch.zeros(1, 18)))


def test_a_plan_does_not_compute_what_only_the_loss_reads(nano):
    with torch.inference_mode():
        outputs = nano(example_inputs(NANO))
        assert "bev_flow" not in outputs
        assert nano.training_outputs(outputs)["bev_flow"].shape == (1, 800, 2)
    base_like = replace(NANO, bev=replace(NANO.bev, temporal_fusion=False))
    assert Planner(base_like).training_outputs(outputs) == {}


def test_invalid_camera_is_never_attended(nano):
    inputs = example_inputs(NANO)
    valid = torch.ones(1, 6, dtype=torch.bool)
    valid[0, 2] = False
    garbage = inputs.images.clone()
    garbage[:, 2] = 1e3
    with torch.inference_mode():
        masked = nano(replace(inputs, camera_valid=valid))
        with_garbage = nano(replace(inputs, camera_valid=valid, images=garbage))
        unmasked = nano(inputs)
    assert all(torch.equal(masked[key], with_garbage[key]) for key in masked)
    assert not torch.allclose(masked["bev_embed"], unmasked["bev_embed"])


def test_no_valid_camera_still_gives_finite_outputs(nano):
    with torch.inference_mode():
        out = nano(replace(example_inputs(NANO), camera_valid=torch.zeros(1, 6, dtype=torch.bool)))
    assert all(torch.isfinite(value).all() for value in out.values())


def test_a_rig_that_changes_is_projected_anew(nano):
    inputs = example_inputs(NANO)
    with torch.inference_mode():
        before = nano(inputs)["bev_embed"]
        moved = inputs.lidar2img.clone()
        moved[..., 0, 3] += 2000.0
        during = nano(replace(inputs, lidar2img=moved))["bev_embed"]
        after = nano(inputs)["bev_embed"]
    assert not torch.allclose(before, during)
    assert torch.equal(before, after)


def test_a_camera_that_fails_is_noticed_in_a_mask_written_in_place(nano):
    inputs, valid = example_inputs(NANO), torch.ones(1, 6, dtype=torch.bool)
    with torch.inference_mode():
        before = nano(replace(inputs, camera_valid=valid))["bev_embed"]
        valid[0, 0] = False
        assert not torch.allclose(nano(replace(inputs, camera_valid=valid))["bev_embed"], before)


def test_route_and_status_reach_the_plan(nano):
    inputs = example_inputs(NANO)
    with torch.inference_mode():
        plan = nano(inputs)["ego_fut_preds"]
        other_route = nano(replace(inputs, route=inputs.route + 4.0))["ego_fut_preds"]
        other_status = nano(replace(inputs, ego_status=inputs.ego_status + 5.0))["ego_fut_preds"]
        without = nano(replace(inputs, route=None, ego_status=None))["ego_fut_preds"]
        short = nano(replace(inputs, route=inputs.route[:, :3]))["ego_fut_preds"]
    assert not torch.allclose(plan, other_route)
    assert not torch.allclose(plan, other_status)
    assert torch.isfinite(without).all()
    assert torch.isfinite(short).all()


def test_of_a_plan_to_drive_and_one_to_halt_the_likelier_is_given():
    config = smaller_images(replace(NANO, ego=replace(NANO.ego, halts_apart=True), risk_head=None))
    model, inputs = Planner(config).eval(), example_inputs(config, batch=2)
    for mode in range(2):
        with torch.inference_mode():
            model.ego_head.mode_branch[-1].bias.copy_(100.0 * torch.eye(2)[mode])
            out = model(inputs)
        assert out["ego_mode_preds"].shape == (2, 2, 6, 6, 2)
        assert torch.equal(out["ego_fut_preds"], out["ego_mode_preds"][:, mode])
        assert not torch.equal(out["ego_fut_preds"], out["ego_mode_preds"][:, 1 - mode])


def test_route_and_status_are_ignored_where_they_are_off():
    config = replace(smaller_images(NANO), ego=EgoConfig(), risk_head=None)
    model, inputs = Planner(config).eval(), example_inputs(config)
    with torch.inference_mode():
        plain = model(inputs)["ego_fut_preds"]
        routed = model(replace(inputs, route=torch.randn(1, 12, 2), ego_status=torch.randn(1, 2)))["ego_fut_preds"]
    assert torch.equal(plain, routed)


def test_can_bus_reaches_the_bev_only_through_the_shift_where_its_query_is_off():
    config = smaller_images(replace(NANO, bev=replace(NANO.bev, can_bus_query=False)))
    model, inputs = Planner(config).eval(), example_inputs(config)
    accelerating = inputs.can_bus.clone()
    accelerating[:, 7:16] = 3.0
    with torch.inference_mode():
        history = model.encode(inputs)
        plain = model.encode(replace(inputs, prev_bev=history))
        same = model.encode(replace(inputs, prev_bev=history, can_bus=accelerating))
        moved = model.encode(replace(inputs, prev_bev=history, can_bus=inputs.can_bus + 1.0))
    assert torch.equal(plain, same)
    assert not torch.equal(plain, moved)


def test_folded_batch_norm_computes_the_same():
    torch.manual_seed(0)
    model = Planner(NANO)
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    model.eval()
    with torch.inference_mode():
        plain = model(example_inputs(NANO))
        fold_batch_norm(model.backbone)
        folded = model(example_inputs(NANO))
    torch.testing.assert_close(plain["bev_embed"], folded["bev_embed"], atol=1e-4, rtol=1e-4)


def test_frozen_parts_of_base_stay_frozen_in_training_mode():
    with torch.device("meta"):
        model = Planner(load_model_config("base")).train()
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert not any(p.requires_grad for p in model.backbone.stages[0].parameters())
    assert any(p.requires_grad for p in model.backbone.stages[1].parameters())


def test_half_precision_model_runs():
    model = Planner(NANO).bfloat16().eval()
    inputs = example_inputs(NANO)
    with torch.inference_mode():
        out = model(replace(inputs, images=inputs.images.bfloat16()))
    assert torch.isfinite(out["ego_fut_preds"]).all()
    assert out["map_all_pts_preds"].dtype == torch.float32


class OnTensors(torch.nn.Module):
    def __init__(self, planner):
        super().__init__()
        self.planner = planner

    def forward(self, images, lidar2img, can_bus, route, ego_status, camera_valid, prev_bev):
        return self.planner(PlannerInputs(images, lidar2img, can_bus, None, route, ego_status, camera_valid, prev_bev))


def test_an_exported_planner_computes_the_same_on_a_rig_and_with_cameras_that_it_was_not_exported_with(nano):
    inputs = example_inputs(NANO)
    history = torch.randn(1, NANO.bev.rows * NANO.bev.columns, NANO.dims)
    given = (inputs.images, inputs.lidar2img, inputs.can_bus, inputs.route, inputs.ego_status)
    with torch.no_grad():
        program = torch.export.export(OnTensors(nano), (*given, torch.ones(1, 6, dtype=torch.bool), history)).module()
        narrow = inputs.lidar2img * torch.tensor([1.3, 1.3, 1.0, 1.0])[:, None]
        failed = torch.tensor([[True, True, False, True, True, False]])
        others = (given[0], narrow, *given[2:], failed, history)
        found, expected = program(*others), OnTensors(nano)(*others)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)
