"""Loss terms against values that can be worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from rsd_model.config import load_model_config
from rsd_model.losses.elementary import direction_loss, sigmoid_focal_loss
from rsd_model.losses.map_lines import ABSENT, equivalent_orders, resample_polyline
from rsd_model.losses.matching import match
from rsd_model.losses.object_loss import encode_boxes, match_objects, object_terms
from rsd_model.losses.plan_loss import (
    bound_constraint,
    collision_constraint,
    direction_constraint,
    imitation_term,
    mode_term,
)
from rsd_model.losses.planner_loss import PlannerLoss
from rsd_model.losses.targets import PlannerTargets
from rsd_model.network import risk_head_config

NANO = replace(load_model_config("nano"), risk_head={"map_resolution": 1.0})
POINTS = NANO.map.points
RISK_MAP = risk_head_config(NANO).map_shape
STRAIGHT = torch.tensor([[[0.0, 2.0 * step] for step in range(1, 7)]])  # positions, 4 m/s ahead


def targets(**changes):
    values = {
        "object_boxes": [torch.tensor([[3.0, 8.0, -1.0, 2.0, 4.5, 1.6, 0.3, 0.0, 5.0]])],
        "object_labels": [torch.tensor([7])],
        "object_futures": [torch.ones(1, 6, 2)],
        "object_future_masks": [torch.ones(1, 6)],
        "map_points": [torch.stack([torch.full((POINTS,), -5.0), torch.linspace(-20, 20, POINTS)], -1)[None]],
        "map_labels": [torch.tensor([1])],
        "ego_future": torch.full((1, 6, 2), 1.0),
        "ego_future_mask": torch.ones(1, 6),
        "command": torch.tensor([2]),
        "object_risks": [torch.tensor([0.8])],
        "risk_map": torch.full((1, *RISK_MAP), 0.25),
    }
    return PlannerTargets(**{**values, **changes})


def outputs(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_()

    layers, queries, instances = 2, NANO.objects.queries, NANO.map.instances
    return {
        "all_cls_scores": random(layers, 1, queries, 9),
        "all_bbox_preds": random(layers, 1, queries, 10),
        "all_traj_preds": random(1, 1, queries, 6, 12).expand(layers, -1, -1, -1, -1),
        "all_traj_cls_scores": random(1, 1, queries, 6).expand(layers, -1, -1, -1),
        "map_all_cls_scores": random(layers, 1, instances, 6),
        "map_all_pts_preds": random(layers, 1, instances, NANO.map.points, 2).sigmoid(),
        "map_all_bbox_preds": random(layers, 1, instances, 4),
        "ego_fut_preds": random(1, 6, 6, 2),
        "object_risk": random(1, queries).sigmoid(),
        "risk_map": random(1, *RISK_MAP).sigmoid(),
    }


def test_focal_loss_of_an_even_chance():
    loss = sigmoid_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor([0.25, 0.75]) * 0.25 * math.log(2.0))


def test_direction_loss_is_zero_along_and_two_against():
    ahead = torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(direction_loss(ahead, 3.0 * ahead), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(direction_loss(ahead, -ahead), torch.full((1,), 2.0))


def test_matching_takes_the_cheapest_total_not_the_cheapest_first():
    cost = torch.tensor([[1.0, 2.0], [1.5, 9.0], [8.0, 8.0]])[None, None]
    matches = match(cost, [2])
    assert sorted(zip(matches.query.tolist(), matches.target.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_matching_ignores_padding_and_survives_nan():
    cost = torch.full((2, 2, 3, 2), float("nan"))
    matches = match(cost, [1, 0])
    assert matches.sample.tolist() == [0, 0]
    assert matches.layer.tolist() == [0, 1]
    assert matches.target.tolist() == [0, 0]
    assert matches.per_layer == 1
    assert match(cost, [0, 0]).normaliser == 1.0


def test_open_line_has_two_orders_and_closed_line_every_start():
    points = torch.tensor(
        [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]]
    )
    orders = equivalent_orders(points)
    assert orders.shape == (2, 3, 4, 2)
    assert torch.equal(orders[1, :2], torch.stack([points[1], points[1].flip(0)]))
    assert (orders[1, 2] == ABSENT).all()
    assert {tuple(order[0].tolist()) for order in orders[0]} == {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)}
    assert torch.equal(orders[0, :, 0], orders[0, :, -1])


def test_resampled_line_is_evenly_spaced_and_keeps_its_ends():
    line = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 1.0]]).numpy()
    points = torch.from_numpy(resample_polyline(line, 5))
    torch.testing.assert_close(points.diff(dim=0).abs().sum(1), torch.ones(4, dtype=points.dtype))
    torch.testing.assert_close(points[[0, -1]].float(), torch.tensor([[0.0, 0.0], [3.0, 1.0]]))


def test_map_loss_does_not_care_which_way_a_line_is_drawn():
    loss = PlannerLoss(NANO)
    forwards = loss(outputs(), targets())
    backwards = loss(outputs(), targets(map_points=[targets().map_points[0].flip(1)]))
    for name in ("loss_map_pts", "loss_map_dir", "loss_map_cls"):
        torch.testing.assert_close(forwards[name], backwards[name])


def test_plan_is_trained_in_the_commanded_row_and_known_steps_only():
    offsets = torch.zeros(1, 6, 6, 2, requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    loss = imitation_term(offsets, torch.ones(1, 6, 2), mask, torch.tensor([4]))
    assert loss.item() == pytest.approx(2 * 2 / (6 * 6 * 2))
    loss.backward()
    assert offsets.grad.abs().sum((0, 3)).nonzero().tolist() == [[4, 0], [4, 1]]


def test_of_a_plan_to_drive_and_one_to_halt_only_the_true_kind_is_trained():
    halting = targets(ego_future=torch.tensor([1.0, 0.5, 0.2, 0.1, 0.05, 0.0]).expand(2, 6).T[None])
    for wanted, mode in ((targets(), 0), (halting, 1)):
        raw = outputs() | {
            "ego_mode_preds": torch.zeros(1, 2, 6, 6, 2, requires_grad=True),
            "ego_mode_scores": torch.zeros(1, 2, requires_grad=True),
        }
        terms = PlannerLoss(NANO)(raw, wanted)
        assert terms["loss_plan_mode"].item() == pytest.approx(math.log(2.0))
        (terms["loss_plan_reg"] + terms["loss_plan_mode"]).backward()
        assert raw["ego_mode_preds"].grad[0, mode].abs().sum() > 0.0
        assert not raw["ego_mode_preds"].grad[0, 1 - mode].any()
        assert raw["ego_mode_scores"].grad.argmin() == mode


def test_a_future_whose_end_is_unknown_trains_no_mode():
    logits, mode = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([1, 1])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert mode_term(logits, mode, mask).item() == pytest.approx(math.log(2.0))


def test_bound_constraint_grows_towards_the_bound_and_ends_where_it_is_crossed():
    along = torch.tensor([[[0.4, float(y)] for y in range(-5, 20)]])[None]
    values = bound_constraint(STRAIGHT, along[0][None], 1.0)
    torch.testing.assert_close(values, torch.full((1, 6), 0.6))
    across = torch.tensor([[[x - 2.5, 5.1] for x in range(6)]])[None]
    crossed = bound_constraint(STRAIGHT, across[0][None], 1.0)
    assert (crossed[0, 2:] == 0).all()


def test_collision_constraint_sees_only_agents_within_reach():
    agent = STRAIGHT[:, None] + torch.tensor([1.0, 1.0])
    far = STRAIGHT[:, None] + torch.tensor([10.0, 10.0])
    values = collision_constraint(STRAIGHT, torch.cat([agent, far], 1), (1.5, 3.0))
    torch.testing.assert_close(values, torch.tensor([0.5, 2.0]).expand(1, 6, 2))
    assert (collision_constraint(STRAIGHT, far, (1.5, 3.0)) == 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_direction_constraint_is_the_angle_to_the_divider_either_way(reverse):
    angle = 0.2
    line = torch.stack(
        [torch.linspace(-15, 15, 20) * math.sin(angle), torch.linspace(-15, 15, 20) * math.cos(angle)], -1
    )
    line = line.flip(0) if reverse else line
    values = direction_constraint(STRAIGHT, line[None, None], reach=20.0)
    torch.testing.assert_close(values, torch.full((1, 6), angle), atol=1e-5, rtol=0)
    standing = direction_constraint(STRAIGHT * 0.01, line[None, None], reach=20.0)
    assert (standing == 0).all()


def test_unknown_risk_and_masked_cells_train_nothing():
    out = outputs()
    unknown = targets(
        object_risks=[torch.tensor([float("nan")])], risk_map_mask=torch.zeros(1, *RISK_MAP, dtype=torch.bool)
    )
    terms = PlannerLoss(NANO)(out, unknown)
    assert terms["loss_risk_object"] == 0
    assert terms["loss_risk_map"] == 0
    known = PlannerLoss(NANO)(out, targets())
    assert known["loss_risk_map"].item() == pytest.approx((out["risk_map"] - 0.25).abs().mean().item())


def test_risk_of_the_matched_query_is_trained_towards_its_objects_label():
    out = outputs()
    with torch.no_grad():
        out["all_cls_scores"][-1, 0, 11, 7] = 9.0
    terms = PlannerLoss(NANO)(out, targets())
    assert terms["loss_risk_object"].item() == pytest.approx(abs(out["object_risk"][0, 11].item() - 0.8))


def test_sample_without_objects_and_map_trains_the_background():
    empty = targets(
        object_boxes=[torch.zeros(0, 9)],
        object_labels=[torch.zeros(0, dtype=torch.long)],
        object_futures=[torch.zeros(0, 6, 2)],
        object_future_masks=[torch.zeros(0, 6)],
        object_risks=[torch.zeros(0)],
        map_points=[torch.zeros(0, POINTS, 2)],
        map_labels=[torch.zeros(0, dtype=torch.long)],
    )
    terms = PlannerLoss(NANO)(outputs(), empty)
    assert all(torch.isfinite(value) for value in terms.values())
    assert terms["loss_cls"] > 0
    assert terms["loss_map_cls"] > 0
    assert terms["loss_bbox"] == 0
    sum(terms.values()).backward()


@pytest.mark.parametrize(("beta", "wanted"), [(0.0, 2.0), (5.0, 0.4), (1.0, 1.5)])
def test_error_of_a_velocity_counts_squared_up_to_beta_and_absolute_beyond(beta, wanted):
    truth = targets()
    code = encode_boxes(truth.object_boxes[0])
    code[0, 9] -= 2.0  # m/s
    out = {"all_cls_scores": torch.zeros(1, 1, 1, 9), "all_bbox_preds": code[None, None]}
    config = replace(NANO, loss=replace(NANO.loss, velocity_beta=beta, box_code=(1.0,) * 10, object_box=1.0))
    terms = object_terms(out, truth, match_objects(out, truth, config), config)
    assert terms["loss_bbox"].item() == pytest.approx(wanted)


def test_object_of_no_size_is_not_regressed():
    box = targets().object_boxes[0].clone()
    box[0, 4] = 0.0
    terms = PlannerLoss(NANO)(outputs(), targets(object_boxes=[box]))
    assert terms["loss_bbox"] == 0
    assert terms["loss_cls"] > 0


def test_more_objects_than_queries_are_matched_as_far_as_queries_go():
    count = NANO.objects.queries + 20
    many = targets(
        object_boxes=[torch.rand(count, 9) + 0.5],
        object_labels=[torch.zeros(count, dtype=torch.long)],
        object_futures=[torch.zeros(count, 6, 2)],
        object_future_masks=[torch.ones(count, 6)],
        object_risks=[torch.rand(count)],
    )
    assert torch.isfinite(sum(PlannerLoss(NANO)(outputs(), many).values()))


def test_targets_of_unequal_counts_are_refused():
    with pytest.raises(ValueError, match="object_labels has"):
        targets(object_labels=[torch.tensor([1, 2])])
    with pytest.raises(ValueError, match="ego_future holds 1"):
        targets(command=torch.tensor([1, 2]))


def test_map_line_of_another_number_of_points_is_refused():
    with pytest.raises(ValueError, match="7 points"):
        PlannerLoss(NANO)(outputs(), targets(map_points=[torch.zeros(1, 7, 2)]))


def test_terms_are_scaled_by_their_weights():
    doubled = replace(NANO, loss=replace(NANO.loss, plan=2.0 * NANO.loss.plan, future=2.0 * NANO.loss.future))
    plain, scaled = PlannerLoss(NANO)(outputs(), targets()), PlannerLoss(doubled)(outputs(), targets())
    for name in ("loss_plan_reg", "loss_traj"):
        torch.testing.assert_close(scaled[name], 2.0 * plain[name])
