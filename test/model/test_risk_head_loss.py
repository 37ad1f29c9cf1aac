import math

import pytest
import torch

from rsd_model.heads.risk import RiskHeadConfig, RiskOutput
from rsd_model.losses.risk import RiskLoss, RiskTargets, object_risk_loss, ranking_loss, risk_map_loss

NAN = float("nan")


def test_object_loss_is_the_mean_error_of_known_objects():
    predicted = torch.tensor([[0.2, 0.9, 0.5], [0.1, 0.1, 0.4]])
    target = torch.tensor([[0.5, NAN, 0.5], [NAN, 1.0, NAN]])
    assert object_risk_loss(predicted, target).item() == pytest.approx((0.3 + 0.0 + 0.9) / 3)


def test_an_unknown_object_gets_no_gradient_and_a_silent_teacher_gives_zero():
    predicted = torch.tensor([[0.2, 0.9]], requires_grad=True)
    object_risk_loss(predicted, torch.tensor([[0.5, NAN]])).backward()
    assert predicted.grad.tolist() == [[-1.0, 0.0]]
    silent = object_risk_loss(predicted, torch.full((1, 2), NAN))
    silent.backward()
    assert silent.item() == 0.0
    assert predicted.grad.tolist() == [[-1.0, 0.0]]


def test_map_loss_counts_known_cells_alone():
    predicted = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    target = torch.tensor([[[1.0, 0.0], [NAN, 0.4]]])
    assert risk_map_loss(predicted, target).item() == pytest.approx(1.1 / 3)
    mask = torch.tensor([[[True, False], [True, False]]])
    assert risk_map_loss(predicted, target, mask).item() == pytest.approx(0.5)


def test_hinge_ranking_by_hand():
    predicted = torch.tensor([[0.6, 0.5, 0.9, 0.0]])
    target = torch.tensor([[0.9, 0.5, 0.1, NAN]])
    # ordered pairs (0, 1), (0, 2), (1, 2): gaps 0.1, -0.3, -0.4 against a margin of 0.2
    assert ranking_loss(predicted, target, margin=0.2).item() == pytest.approx((0.1 + 0.5 + 0.6) / 3)


def test_logistic_ranking_by_hand():
    predicted = torch.tensor([[0.6, 0.5]])
    loss = ranking_loss(predicted, torch.tensor([[0.9, 0.5]]), margin=0.2, kind="logistic")
    assert loss.item() == pytest.approx(math.log(1.0 + math.exp(-0.1 / 0.2)))


def test_pairs_the_teacher_leaves_open_and_pairs_of_two_samples_have_no_order():
    predicted = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    target = torch.tensor([[0.5, 0.45], [0.95, NAN]])
    assert ranking_loss(predicted, target, margin=0.1).item() == 0.0


def test_ranking_pushes_the_riskier_object_up():
    predicted = torch.tensor([[0.4, 0.5]], requires_grad=True)
    for kind in ("hinge", "logistic"):
        predicted.grad = None
        ranking_loss(predicted, torch.tensor([[0.9, 0.1]]), 0.2, kind).backward()
        assert predicted.grad[0, 0] < 0 < predicted.grad[0, 1]


def test_terms_carry_their_configured_weights_and_ranking_is_off_by_default():
    output = RiskOutput(torch.tensor([[0.2, 0.6]]), torch.full((1, 2, 2), 0.5))
    targets = RiskTargets(torch.tensor([[0.7, 0.1]]), torch.ones(1, 2, 2))
    plain = RiskLoss(RiskHeadConfig())(output, targets)
    assert set(plain) == {"object_risk", "risk_map"}
    weighted = RiskLoss(RiskHeadConfig(object_weight=2.0, map_weight=3.0, ranking_weight=0.5))(output, targets)
    assert weighted["object_risk"].item() == pytest.approx(2.0 * 0.5)
    assert weighted["risk_map"].item() == pytest.approx(3.0 * 0.5)
    assert weighted["risk_ranking"].item() == pytest.approx(0.5 * 0.5)  # hinge: margin 0.1 against a gap of -0.4
    assert set(RiskLoss(RiskHeadConfig())(output, RiskTargets(targets.object_risk))) == {"object_risk"}


def test_with_a_risky_share_a_constant_zero_is_not_the_best_map():
    target = torch.zeros(1, 10, 10)
    target[0, 0, :5] = 0.8
    always_zero, found = torch.zeros_like(target), 0.5 * target
    mistaken = torch.where(target > 0, 0.8, 0.05)
    assert risk_map_loss(always_zero, target) < risk_map_loss(mistaken, target)
    assert risk_map_loss(always_zero, target, None, 0.5) > risk_map_loss(mistaken, target, None, 0.5)
    assert risk_map_loss(found, target, None, 0.5) < risk_map_loss(always_zero, target, None, 0.5)
