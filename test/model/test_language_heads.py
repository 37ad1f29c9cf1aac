import math

import pytest
import torch

from rsd_model.config import load_model_config
from rsd_model.heads.language import (
    ACTION_SETS,
    ANSWERS,
    LanguageHead,
    LanguageHeadConfig,
    LanguageOutput,
    LanguageSupervised,
)
from rsd_model.losses.language import UNKNOWN, LanguageLoss, LanguageTargets, action_loss, alignment_loss
from rsd_model.network import Planner, example_inputs

CONFIG = LanguageHeadConfig(dims=16, layers=2, heads=4, text_dims=6)
NAN = float("nan")


def softmax(values):
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def cross_entropy(teacher, student):
    return -sum(t * math.log(s) for t, s in zip(softmax(teacher), softmax(student), strict=True))


def test_the_published_sizes_are_the_default():
    head = LanguageHead(LanguageHeadConfig(), ego_channels=512)
    output = head(torch.randn(2, 1, 512))
    assert output.text.shape == (2, len(ANSWERS), 512)
    assert [logits.shape[1] for logits in output[1:]] == [len(actions) for actions in ACTION_SETS] == [4, 4, 5]
    for queries in (head.text_queries, head.action_queries):
        assert queries.embedding.shape[0] == 3
        assert len(queries.layers) == 3
        assert all(layer.attention.num_heads == 8 for layer in queries.layers)


def test_the_prediction_depends_on_the_ego_feature_and_differs_between_the_answers():
    torch.manual_seed(0)
    head = LanguageHead(CONFIG, ego_channels=10)
    first, second = head(torch.randn(1, 1, 10)), head(torch.randn(1, 1, 10))
    assert (first.text - second.text).abs().max() > 1e-3
    assert (first.text[0, 0] - first.text[0, 1]).abs().max() > 1e-3


def test_alignment_is_the_cross_entropy_of_two_temperatures_by_hand():
    text, student = [[0.02, 0.06], [0.1, 0.0]], [[0.3, 0.1], [-0.2, 0.2]]
    expected = cross_entropy([0.5, 1.5], [3.0, 1.0]) + cross_entropy([2.5, 0.0], [-2.0, 2.0])
    loss = alignment_loss(torch.tensor([student]), torch.tensor([text]), "cross_entropy", 0.04, 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_kl_mse_and_contrastive_by_hand():
    student = torch.tensor([[[0.3, 0.1]], [[0.0, 0.4]]])  # two samples, one answer
    text = torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]])
    rows = list(zip(student[:, 0].tolist(), text[:, 0].tolist(), strict=True))
    tenfold = [([10 * v for v in s], [10 * v for v in t]) for s, t in rows]
    kl = sum(cross_entropy(t, s) - cross_entropy(t, t) for s, t in tenfold) / 2
    assert alignment_loss(student, text, "kl", 0.04, 0.1).item() == pytest.approx(kl, rel=1e-4)
    mse = (0.7**2 + 0.1**2) / 2 + (0.6**2 + 0.4**2) / 2
    assert alignment_loss(student, text, "mse", 0.04, 0.1).item() == pytest.approx(mse / 2, rel=1e-5)
    norm = math.sqrt(0.1)
    similar = [[0.3 / norm, (0.18 + 0.08) / norm], [0.0, 0.8]]
    contrastive = sum(-math.log(softmax([10 * v for v in similar[i]])[i]) for i in (0, 1)) / 2
    assert alignment_loss(student, text, "contrastive", 0.04, 0.1).item() == pytest.approx(contrastive, rel=1e-4)


def test_equal_texts_and_missing_texts_are_no_negatives():
    student = torch.randn(3, 1, 4, requires_grad=True)
    text = torch.randn(1, 1, 4).repeat(3, 1, 1)
    text[2] = NAN
    loss = alignment_loss(student, text, "contrastive", 0.04, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["cross_entropy", "kl", "mse", "contrastive"])
def test_every_alignment_pulls_the_prediction_towards_the_text(kind):
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(4, 3, 16), dim=-1)
    student = torch.randn(4, 3, 16, requires_grad=True)
    optimiser = torch.optim.Adam([student], lr=0.05)
    before = torch.cosine_similarity(student, text, dim=-1).mean()
    for _ in range(100):
        optimiser.zero_grad()
        alignment_loss(student, text, kind, 0.04, 0.1).backward()
        optimiser.step()
    assert torch.cosine_similarity(student, text, dim=-1).mean() > before + 0.4


@pytest.mark.parametrize("kind", ["cross_entropy", "kl", "mse", "contrastive"])
def test_answers_the_teacher_did_not_give_add_nothing(kind):
    torch.manual_seed(0)
    student = torch.randn(2, 3, 6, requires_grad=True)
    text = torch.randn(2, 3, 6)
    text[1, 2] = NAN
    alignment_loss(student, text, kind, 0.04, 0.1).backward()
    assert not student.grad[1, 2].any()
    assert student.grad.isfinite().all()
    silent = alignment_loss(student, torch.full_like(text, NAN), kind, 0.04, 0.1)
    silent.backward()
    assert silent.item() == 0.0


def test_action_loss_by_hand_with_an_unanswered_sample():
    logits = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0]])
    loss = action_loss(logits, torch.tensor([0, 3, UNKNOWN]))
    expected = (-math.log(softmax([1, 0, 0, 0])[0]) - math.log(softmax([0, 2, 0, 0])[3])) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert action_loss(logits, torch.full((3,), UNKNOWN)).item() == 0.0


def test_the_terms_carry_the_weights_one_and_a_tenth():
    text = torch.tensor([[[0.02, 0.06], [0.1, 0.0], [0.0, 0.0]]])
    output = LanguageOutput(text * 2.5, torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 5))
    targets = LanguageTargets(text, torch.tensor([0]), torch.tensor([1]), torch.tensor([UNKNOWN]))
    terms = LanguageLoss(LanguageHeadConfig())(output, targets)
    tempered = [[0.5, 1.5], [2.5, 0.0], [0.0, 0.0]]
    assert terms["text_alignment"].item() == pytest.approx(sum(cross_entropy(t, t) for t in tempered), rel=1e-5)
    assert terms["action"].item() == pytest.approx(0.1 * 2 * math.log(4.0), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": 20}, r"language_head.dims = 20: allowed is a multiple of heads = 8"),
        ({"alignment": "cosine"}, "cross_entropy, mse, kl, contrastive"),
        ({"student_temperature": 0.0}, "student_temperature = 0.0: allowed is > 0"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LanguageHeadConfig(**settings)


def test_the_heads_train_the_planner_and_are_absent_from_it():
    torch.manual_seed(0)
    config = load_model_config("nano")
    planner, inputs = Planner(config).eval(), example_inputs(config)
    names = list(planner.state_dict())
    with torch.no_grad():
        before = planner(inputs)
    supervised = LanguageSupervised(planner, LanguageHead(CONFIG, ego_channels=before["ego_features"].shape[-1]))
    _, language = supervised(inputs)
    language.text.sum().backward()
    assert planner.backbone.state_dict()  # the planner is the same object, trained from outside
    reached = [name for name, parameter in planner.named_parameters() if parameter.grad is not None]
    assert any(name.startswith("ego_head") for name in reached)
    assert any(name.startswith("bev_encoder") for name in reached)
    with torch.no_grad():
        after = planner(inputs)
    assert list(planner.state_dict()) == names
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
