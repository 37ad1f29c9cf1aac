import torch

from rsd_model.heads.route_frame import offsets_along_route

START = torch.tensor([0.0, 0.39])


def straight_route(lateral: float = 0.0) -> torch.Tensor:
    ahead = 2.5 * torch.arange(1, 13)
    return torch.stack([torch.full_like(ahead, lateral), ahead], -1)[None] + START


def steps(along: float, beside: float = 0.0) -> torch.Tensor:
    return torch.tensor([beside, along]).expand(1, 6, 6, 2)


def test_on_a_straight_route_progress_is_the_offset():
    offsets = offsets_along_route(steps(3.0, 0.1), straight_route(), START, 2.5)
    torch.testing.assert_close(offsets, steps(3.0, 0.1), atol=1e-5, rtol=0)


def test_a_vehicle_beside_the_route_comes_back_to_it():
    places = offsets_along_route(steps(4.0), straight_route(lateral=1.0), START, 2.5).cumsum(-2)[0, 0]
    assert 0.0 < places[0, 0] < 0.8
    torch.testing.assert_close(places[-1, 0], torch.tensor(1.0), atol=0.05, rtol=0)


def test_a_curve_is_followed_and_standing_still_is_standing_still():
    angle = 2.5 / 15.0 * torch.arange(1, 13)
    curve = torch.stack([15.0 * (1 - angle.cos()), 15.0 * angle.sin()], -1)[None] + START
    places = offsets_along_route(steps(3.0), curve, START, 2.5).cumsum(-2)[0, 0]
    distance = (places - torch.tensor([15.0, 0.0])).norm(dim=-1)
    assert (distance - 15.0).abs().max() < 0.7
    assert offsets_along_route(steps(-1.0), curve, START, 2.5).abs().max() == 0.0


def test_progress_past_the_end_goes_straight_on_and_gradients_reach_it():
    progress = steps(8.0).clone().requires_grad_()
    places = offsets_along_route(progress, straight_route(), START, 2.5).cumsum(-2)
    torch.testing.assert_close(places[0, 0, -1], torch.tensor([0.0, 48.0]))
    places.sum().backward()
    assert (progress.grad != 0).all()


def test_a_step_held_at_zero_learns_to_move():
    progress = steps(-1.0).clone().requires_grad_()
    offsets = offsets_along_route(progress, straight_route(), START, 2.5)
    assert (offsets == 0.0).all()
    (offsets[..., 1] - 1.0).abs().sum().backward()
    assert (progress.grad[..., 1] < 0.0).all()
