from dataclasses import replace

import torch

from rsd_model.config import load_model_config
from rsd_model.losses.targets import PlannerTargets
from rsd_offline.training.perspective import SIGNALS, PerspectiveHead, drawn_things, heat_maps, perspective_loss, things

SIZE = (32, 64)  # height, width, px; cells of 8 px
CELLS = torch.tensor([1 / 8, 1 / 8])
AHEAD = torch.tensor([[20.0, 32.0, 0.0, 0.0], [0.0, 16.0, -20.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
BEHIND = AHEAD * torch.tensor([-1.0, -1.0, 1.0, 1.0])


def targets(boxes, labels):
    count = len(boxes)
    boxes = torch.tensor([[*box, 0.6, 0.6, 1.6, 0.0, 0.0, 0.0] for box in boxes]).reshape(count, 9)
    empty = torch.zeros(count, 6, 2), torch.zeros(count, 6)
    return PlannerTargets(
        [boxes], [torch.tensor(labels, dtype=torch.long)], [empty[0]], [empty[1]], [torch.zeros(0, 5, 2)],
        [torch.zeros(0, dtype=torch.long)], torch.zeros(1, 6, 2), torch.ones(1, 6), torch.zeros(1, dtype=torch.long),
    )  # fmt: skip


def drawn(wanted):
    return drawn_things(*things(wanted, torch.device("cpu"), FIRST_SIGNAL), RIG, SIZE, CELLS)


FIRST_SIGNAL = 9
RIG = torch.stack([AHEAD, BEHIND])[None]


def test_an_object_is_drawn_in_the_camera_that_sees_it_where_it_projects_to():
    image, label, centre, sigma, depth = drawn(targets([(1.0, 10.0, 0.0)], [8]))
    assert (image.tolist(), label.tolist(), depth.tolist()) == ([0], [8], [10.0])
    torch.testing.assert_close(centre, torch.tensor([[34.0, 16.0]]) / 8.0)
    heat = heat_maps(image, label, centre, sigma, torch.Size((2, 9, 4, 8)))
    assert heat.argmax() == 8 * 32 + 2 * 8 + 4
    assert heat.max() == 1.0
    assert heat[1].sum() == 0.0


def test_what_no_camera_sees_is_not_drawn():
    beside, above = (30.0, 3.0, 0.0), (0.0, 10.0, 12.0)
    assert len(drawn(targets([beside, above], [0, 0]))[0]) == 0


def test_a_traffic_light_is_drawn_behind_the_objects_classes_by_what_it_says():
    wanted = replace(
        targets([(1.0, 10.0, 0.0)], [8]),
        signal_places=[torch.tensor([[-1.0, 10.0, 0.0], [0.0, -5.0, 0.0]])], signal_labels=[torch.tensor([1, 0])],
    )  # fmt: skip
    image, label, centre, _, _ = drawn(wanted)
    found = sorted(zip(image.tolist(), label.tolist(), centre.mul(8.0).tolist(), strict=True))
    assert found == [(0, 8, [34.0, 16.0]), (0, FIRST_SIGNAL + 1, [30.0, 16.0]), (1, FIRST_SIGNAL, [32.0, 16.0])]


def test_the_loss_falls_to_nothing_for_what_is_right_and_is_finite_without_objects():
    wanted = targets([(1.0, 10.0, 0.0), (-2.0, -6.0, 0.0)], [8, 0])
    outputs = {
        "perspective_centres": torch.full((1, 2, FIRST_SIGNAL + len(SIGNALS), 4, 8), -12.0),
        "perspective_depths": torch.ones(1, 2, 4, 8),
    }
    ignorant = perspective_loss(outputs, wanted, RIG, SIZE)
    image, label, centre, _, depth = drawn(wanted)
    assert sorted(image.tolist()) == [0, 1]
    column, row = centre.floor().long().unbind(1)
    outputs["perspective_centres"][0, image, label, row, column] = 12.0
    outputs["perspective_depths"][0, image, row, column] = depth
    assert perspective_loss(outputs, wanted, RIG, SIZE) < 0.01 * ignorant
    assert torch.isfinite(perspective_loss(outputs, targets([], []), RIG, SIZE))


def test_the_head_learns_to_tell_two_places_apart():
    torch.manual_seed(0)
    head, features = PerspectiveHead(load_model_config("nano")), torch.randn(1, 2, 64, 4, 8)
    wanted = targets([(1.0, 10.0, 0.0), (-2.0, -6.0, 0.0)], [8, 0])
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = perspective_loss(head(features), wanted, RIG, SIZE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
