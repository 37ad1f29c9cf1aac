import math
from dataclasses import replace

import pytest
import torch

from rsd_model.checkpoints.weights import load_planner, save_weights
from rsd_model.config import ConfigError, load_model_config
from rsd_model.heads.language import (
    ACTION_SETS,
    ANSWERS,
    LanguageHead,
    LanguageHeadConfig,
    LanguageOutput,
    build_language_head,
)
from rsd_model.losses.language import UNKNOWN, LanguageLoss, LanguageTargets, action_loss, alignment_loss
from rsd_model.losses.planner_loss import PlannerLoss
from rsd_model.losses.targets import PlannerTargets
from rsd_model.network import Planner, PlannerInputs, example_inputs

NANO = load_model_config("nano")
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


# One layer of everything: the graph is short, and every module is in it.
TINY = replace(
    NANO,
    dims=16,
    heads=2,
    ffn_dims=16,
    image=replace(NANO.image, width=64, height=36),
    backbone=replace(NANO.backbone, depths=(1, 1), widths=(8, 16), stem_width=8, out_stages=(1,)),
    bev=replace(NANO.bev, rows=10, columns=5, layers=1),
    objects=replace(NANO.objects, queries=6, layers=1),
    map=replace(NANO.map, instances=4, layers=1),
    risk_head={"map_resolution": 5.0, "dims": 8, "layers": 1},
)
HEADS = {"dims": 16, "layers": 1, "heads": 2, "text_dims": 6}


class OnTensors(torch.nn.Module):
    """The planner as export takes it: tensors in, dictionary out."""

    def __init__(self, planner):
        super().__init__()
        self.planner = planner

    def forward(self, images, lidar2img, can_bus, route, ego_status, prev_bev):
        return self.planner(PlannerInputs(images, lidar2img, can_bus, None, route, ego_status, None, prev_bev))


def exported(planner):
    inputs = example_inputs(planner.config)
    tensors = [getattr(inputs, name) for name in ("images", "lidar2img", "can_bus", "route", "ego_status")]
    history = torch.zeros(1, planner.config.bev.rows * planner.config.bev.columns, planner.config.dims)
    return torch.export.export(OnTensors(planner.eval()), (*tensors, history)), (*tensors, history)


@pytest.fixture(scope="module")
def trained_with_heads():
    """A planner after one step on the language terms alone, its heads and the terms."""
    torch.manual_seed(0)
    config = replace(TINY, language_head=HEADS)
    planner, head, loss = Planner(config), build_language_head(config), PlannerLoss(config)
    outputs = planner(example_inputs(config, batch=2))
    outputs |= head.named_outputs(outputs["ego_features"])
    targets = small_targets(config, torch.randn(2, 3, 6), torch.tensor([[0, 3, UNKNOWN], [2, UNKNOWN, 4]]))
    terms = loss.language_terms(outputs, targets)
    sum(terms.values()).backward()
    torch.optim.SGD([*planner.parameters(), *head.parameters()], lr=0.1).step()
    return planner, head, outputs, targets


def small_targets(config, text, actions):
    batch, empty = len(actions), torch.zeros(0, dtype=torch.int64)
    return PlannerTargets(
        object_boxes=[torch.zeros(0, 9)] * batch, object_labels=[empty] * batch,
        object_futures=[torch.zeros(0, 6, 2)] * batch, object_future_masks=[torch.zeros(0, 6)] * batch,
        map_points=[torch.zeros(0, config.map.points, 2)] * batch, map_labels=[empty] * batch,
        ego_future=torch.zeros(batch, 6, 2), ego_future_mask=torch.ones(batch, 6),
        command=torch.zeros(batch, dtype=torch.int64), language_text=text, language_actions=actions,
    )  # fmt: skip


def test_the_language_terms_are_part_of_the_planner_loss_and_reach_the_images(trained_with_heads):
    planner, head, outputs, targets = trained_with_heads
    said = head(outputs["ego_features"])._asdict()
    assert {f"language_{name}" for name in said} <= outputs.keys()
    terms = PlannerLoss(planner.config)(outputs, targets)
    known = [outputs["language_control"][[0, 1]], outputs["language_turn"][:1], outputs["language_lane"][1:]]
    expected = sum(
        torch.nn.functional.cross_entropy(logits.detach(), classes)
        for logits, classes in zip(known, [torch.tensor([0, 2]), torch.tensor([3]), torch.tensor([4])], strict=True)
    )
    assert terms["loss_action"].item() == pytest.approx(0.1 * expected.item(), rel=1e-5)
    alignment = alignment_loss(outputs["language_text"], targets.language_text, "cross_entropy", 0.04, 0.1)
    assert terms["loss_text_alignment"].item() == pytest.approx(alignment.item(), rel=1e-6)
    reached = [name for name, parameter in planner.named_parameters() if parameter.grad is not None]
    for part in ("backbone", "bev_encoder", "ego_head"):
        assert any(name.startswith(part) for name in reached)


def test_without_heads_or_without_targets_the_loss_has_no_language_terms(trained_with_heads):
    planner, _, outputs, targets = trained_with_heads
    without_targets = replace(targets, language_text=None, language_actions=None)
    assert PlannerLoss(planner.config).language_terms(outputs, without_targets) == {}
    assert PlannerLoss(TINY).language_terms(outputs, targets) == {}
    assert build_language_head(TINY) is None


def test_a_planner_trained_with_heads_is_saved_without_them(trained_with_heads, tmp_path):
    planner = trained_with_heads[0]
    save_weights(planner, tmp_path / "with.safetensors")
    loaded = load_planner(tmp_path / "with.safetensors", expected=TINY)
    assert loaded.state_dict().keys() == Planner(TINY).state_dict().keys()


def test_export_of_a_planner_trained_with_heads_is_the_graph_of_one_that_never_had_them(trained_with_heads):
    with_heads, inputs = exported(trained_with_heads[0])
    without, _ = exported(Planner(TINY))
    assert with_heads.graph_module.code == without.graph_module.code
    assert with_heads.state_dict.keys() == without.state_dict.keys()
    shapes = [
        [(node.name, node.meta["val"].shape) for node in program.graph.nodes if hasattr(node.meta.get("val"), "shape")]
        for program in (with_heads, without)
    ]
    assert shapes[0] == shapes[1]
    with torch.no_grad():
        said, expected = with_heads.module()(*inputs), OnTensors(trained_with_heads[0])(*inputs)
    for name, value in expected.items():
        torch.testing.assert_close(said[name], value, atol=1e-4, rtol=1e-4)


def test_an_unknown_setting_of_the_heads_is_told():
    with pytest.raises(ConfigError, match="language_head: unknown key layer = 2"):
        build_language_head(replace(TINY, language_head={"layer": 2}))
