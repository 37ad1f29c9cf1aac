"""Deformable attention in plain torch: values, gradients, precision, and what compile and export make of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rsd_model.ops.deformable_attention import deformable_attention

TORCH_PATHS = ("grid_sample", "embedding_bag")


def random_case(shapes, batch=2, queries=5, heads=2, dim=3, points=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = sum(h * w for h, w in shapes)
    value = torch.randn(batch, cells, heads, dim, generator=generator, dtype=dtype)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator, dtype=dtype) * 1.8 - 0.4
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=generator, dtype=dtype)
    return value, shapes, locations, weights


def by_definition(value, shapes, locations, weights):
    """The sum written out, one sample at a time."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = torch.zeros(batch, queries, heads, value.shape[-1], dtype=value.dtype)
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    for b, q, head, level, point in torch.cartesian_prod(*map(torch.arange, (batch, queries, heads, levels, points))):
        height, width = shapes[level]
        x = locations[b, q, head, level, point, 0].item() * width - 0.5
        y = locations[b, q, head, level, point, 1].item() * height - 0.5
        for column, row in ((math.floor(x) + i, math.floor(y) + j) for i in (0, 1) for j in (0, 1)):
            if 0 <= column < width and 0 <= row < height:
                share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[b, q, head, level, point]
                out[b, q, head] += share * value[b, starts[level] + row * width + column, head]
    return out.flatten(2)


@pytest.mark.parametrize("path", TORCH_PATHS)
@pytest.mark.parametrize(
    "shapes",
    [[(4, 4)], [(1, 1)], [(1, 7)], [(5, 3), (3, 2), (1, 1)], [(3, 5), (2, 9)], [(2, 2)] * 6],
    ids=["square", "one-cell", "one-row", "pyramid", "later-level-wider", "six-levels"],
)
def test_equals_the_definition(path, shapes):
    case = random_case(shapes)
    torch.testing.assert_close(deformable_attention(*case, path=path), by_definition(*case))


@settings(max_examples=40)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    batch=st.integers(1, 3),
    queries=st.integers(1, 7),
    heads=st.integers(1, 4),
    dim=st.integers(1, 9),
    points=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_both_torch_paths_agree_for_any_shape(shapes, batch, queries, heads, dim, points, seed):
    case = random_case(shapes, batch, queries, heads, dim, points, seed=seed)
    first, second = (deformable_attention(*case, path=path) for path in TORCH_PATHS)
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_gradients_are_the_derivatives(path):
    value, shapes, locations, weights = random_case([(4, 5), (2, 3)], batch=1, queries=3, points=2)
    inputs = tuple(tensor.requires_grad_() for tensor in (value, locations, weights))
    assert torch.autograd.gradcheck(lambda v, x, w: deformable_attention(v, shapes, x, w, path=path), inputs)


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_points_outside_the_map_give_zero(path):
    value, shapes, locations, weights = random_case([(4, 5), (2, 3)])
    for outside in (-3.0, 4.0, -1e6, 1e6, -math.inf, math.inf):
        out = deformable_attention(value, shapes, torch.full_like(locations, outside), weights, path=path)
        assert not out.any()


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_a_constant_map_gives_the_sum_of_weights_inside(path):
    value, shapes, locations, weights = random_case([(8, 8)])
    inside = locations.clamp(0.2, 0.8)
    out = deformable_attention(torch.ones_like(value), shapes, inside, weights, path=path)
    torch.testing.assert_close(out.unflatten(-1, (2, 3))[..., 0], weights.sum((-1, -2)))


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_a_location_that_is_not_a_number_spoils_its_own_query_alone(path):
    value, shapes, locations, weights = random_case([(4, 5), (2, 3)])
    expected = deformable_attention(value, shapes, locations, weights, path=path)
    locations[1, 2, 1] = float("nan")
    out = deformable_attention(value, shapes, locations, weights, path=path)
    assert out[1, 2, 3:].isnan().all()
    out[1, 2, 3:] = expected[1, 2, 3:]
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("path", TORCH_PATHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_lower_precision_stays_near_float64_on_a_wide_map(path, dtype, tolerance):
    value, shapes, locations, weights = random_case([(90, 160)], queries=40, dim=8)
    locations = locations.float()  # what autocast leaves them in
    weights = weights.flatten(-2).softmax(-1).view_as(weights)
    exact = deformable_attention(value, shapes, locations.double(), weights)
    out = deformable_attention(value.to(dtype), shapes, locations, weights.to(dtype), path=path)
    assert out.dtype == dtype
    assert (out - exact).abs().max() < tolerance * exact.abs().max()


MAPS = torch.tensor([0, 0, 2, 2, 2])  # of five queries; the second of the three maps is not sampled


def with_maps(shapes, **options):
    """A case whose queries sample the maps of MAPS, and what it has to give: a batch of one query each."""
    value, _, locations, weights = random_case(shapes, batch=3, queries=len(MAPS), **options)
    locations, weights = locations[:1], weights[:1]
    apart = deformable_attention(value[MAPS], shapes, locations.transpose(0, 1), weights.transpose(0, 1))
    return (value, shapes, locations, weights), apart.transpose(0, 1)


@pytest.mark.parametrize("path", TORCH_PATHS)
@pytest.mark.parametrize("shapes", [[(4, 4)], [(1, 1)], [(5, 3), (3, 2), (1, 1)], [(3, 5), (2, 9)]])
def test_queries_sample_the_maps_they_name(path, shapes):
    case, expected = with_maps(shapes)
    torch.testing.assert_close(deformable_attention(*case, path=path, maps=MAPS), expected)


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_gradients_through_named_maps_are_the_derivatives(path):
    (value, shapes, locations, weights), _ = with_maps([(4, 5), (2, 3)], points=2, heads=1)
    inputs = tuple(tensor.requires_grad_() for tensor in (value, locations, weights))

    def attend(v, x, w):
        return deformable_attention(v, shapes, x, w, path=path, maps=MAPS)

    assert torch.autograd.gradcheck(attend, inputs)
    unused = torch.autograd.grad(attend(*inputs).sum(), inputs[0])[0][1]
    assert not unused.any()


@pytest.mark.parametrize("path", TORCH_PATHS)
def test_points_outside_a_named_map_do_not_reach_its_neighbours(path):
    (value, shapes, locations, weights), _ = with_maps([(4, 5), (2, 3)])
    for outside in (-3.0, -0.51, 1.51, 4.0, -1e6, 1e6, -math.inf, math.inf):
        beyond = locations.clone()
        beyond[..., 1] = outside  # above and below it lie the other maps
        assert not deformable_attention(value, shapes, beyond, weights, path=path, maps=MAPS).any()
    locations[0, 2, 1] = float("nan")
    spoilt = deformable_attention(value, shapes, locations, weights, path=path, maps=MAPS).isnan()
    assert spoilt.nonzero().tolist() == [[0, 2, channel] for channel in (3, 4, 5)]


@pytest.mark.parametrize("path", TORCH_PATHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_lower_precision_stays_near_float64_on_many_named_maps(path, dtype, tolerance):
    value, shapes, locations, weights = random_case([(90, 160)], batch=6, queries=40, dim=8)
    maps = torch.arange(40) // 7
    locations, weights = locations[:1].float(), weights[:1].flatten(-2).softmax(-1).view(1, 40, 2, 1, 4)
    exact = deformable_attention(value, shapes, locations.double(), weights, maps=maps)
    out = deformable_attention(value.to(dtype), shapes, locations, weights.to(dtype), path=path, maps=maps)
    assert out.dtype == dtype
    assert (out - exact).abs().max() < tolerance * exact.abs().max()


def test_half_precision_locations_are_accepted():
    value, shapes, locations, weights = random_case([(4, 4)], dtype=torch.float32)
    for path in TORCH_PATHS:
        out = deformable_attention(value.half(), shapes, locations.half(), weights.half(), path=path)
        assert out.dtype == torch.float16
        assert out.isfinite().all()


def test_no_queries_give_no_rows():
    value, shapes, locations, weights = random_case([(4, 4)])
    for path in TORCH_PATHS:
        assert deformable_attention(value, shapes, locations[:, :0], weights[:, :0], path=path).shape == (2, 0, 6)


def test_inference_and_training_paths_give_the_same_numbers():
    value, shapes, locations, weights = random_case([(6, 5), (3, 3)], dtype=torch.float32)
    trained = deformable_attention(value.clone().requires_grad_(), shapes, locations, weights)
    with torch.no_grad():
        torch.testing.assert_close(deformable_attention(value, shapes, locations, weights), trained.detach())


def test_shape_errors_name_the_tensor_and_what_was_expected():
    value, shapes, locations, weights = random_case([(4, 4)])
    with pytest.raises(ValueError, match=r"value has shape \(2, 15, 2, 3\), expected \(B, 16, heads, dim\)"):
        deformable_attention(value[:, :-1], shapes, locations, weights)
    with pytest.raises(ValueError, match="sampling_locations have shape"):
        deformable_attention(value, shapes, locations[..., :1], weights)
    with pytest.raises(ValueError, match="attention_weights have shape"):
        deformable_attention(value, shapes, locations, weights[:, :, :1])
    with pytest.raises(ValueError, match=r"maps have shape \(4,\), expected one map for each of 5 queries"):
        deformable_attention(value, shapes, locations[:1], weights[:1], maps=MAPS[:4])
    with pytest.raises(ValueError, match=r"expected \(B, Q, heads, levels, points\) \(1, 5"):
        deformable_attention(value, shapes, locations, weights, maps=MAPS)
    with pytest.raises(ValueError, match="not in ascending order"):
        deformable_attention(value, shapes, locations[:1], weights[:1], "grid_sample", MAPS.flip(0))
    with pytest.raises(ValueError, match="none of"):
        deformable_attention(value, shapes, locations, weights, path="cuda")


class Attend(nn.Module):
    def __init__(self, shapes, path):
        super().__init__()
        self.shapes, self.path = shapes, path

    def forward(self, value, locations, weights, maps=None):
        return deformable_attention(value, self.shapes, locations, weights, path=self.path, maps=maps)


@pytest.mark.parametrize("path", [None, *TORCH_PATHS])
def test_exports_as_one_graph_and_computes_the_same(path):
    value, shapes, locations, weights = random_case([(5, 6), (2, 3)], dtype=torch.float32)
    with torch.no_grad():
        program = torch.export.export(Attend(shapes, path), (value, locations, weights))
    expected = deformable_attention(value, shapes, locations, weights, path=path)
    torch.testing.assert_close(program.module()(value, locations, weights), expected)


def test_exports_with_named_maps():
    (value, shapes, locations, weights), expected = with_maps([(5, 6), (2, 3)], dtype=torch.float32)
    with torch.no_grad():
        program = torch.export.export(Attend(shapes, None), (value, locations, weights, MAPS))
    torch.testing.assert_close(program.module()(value, locations, weights, MAPS), expected)


def test_compiles_without_a_graph_break_and_computes_the_same():
    value, shapes, locations, weights = random_case([(5, 6), (2, 3)], dtype=torch.float32)
    expected = deformable_attention(value, shapes, locations, weights)
    with torch.no_grad():
        out = torch.compile(Attend(shapes, None), fullgraph=True)(value, locations, weights)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("maps", [None, MAPS], ids=["batch", "named maps"])
def test_compiles_with_its_backward(maps):
    (value, shapes, locations, weights), _ = with_maps([(5, 6), (2, 3)], dtype=torch.float32)
    value = value[:1] if maps is None else value
    gradients = []
    for attend in (Attend(shapes, None), torch.compile(Attend(shapes, None), fullgraph=True, backend="aot_eager")):
        inputs = [tensor.clone().requires_grad_() for tensor in (value, locations, weights)]
        attend(*inputs, maps).square().sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
    torch.testing.assert_close(gradients[1], gradients[0])
