"""Modulated deformable convolution: values, gradients, precision, and torchvision's and mmcv's where installed."""

import math
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F

from rsd_model.ops.deformable_conv import deformable_conv2d

PATHS = ("grid_sample", "embedding_bag")


def random_case(size=(5, 7), kernel=(3, 3), stride=1, padding=1, batch=2, channels=3, out=4, spread=1.5, seed=0):
    """Inputs in float64 whose taps also leave the map; none lies on a cell's middle, where the gradient jumps."""
    generator = torch.Generator().manual_seed(seed)
    h, w = ((n + 2 * padding - k) // stride + 1 for n, k in zip(size, kernel, strict=True))
    taps = math.prod(kernel)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    offsets = spread * normal(batch, 2 * taps, h, w)
    offsets = offsets + 0.05 * (offsets.round() - offsets).abs().lt(0.02)
    mask = torch.rand(batch, taps, h, w, generator=generator, dtype=torch.float64)
    return normal(batch, channels, *size), offsets, mask, normal(out, channels, *kernel), normal(out)


def by_definition(x, offsets, mask, weight, bias, stride, padding):
    """The sum written out, one tap at a time."""
    batch, _, height, width = x.shape
    rows, columns = weight.shape[2:]
    out = bias[None, :, None, None].expand(batch, -1, *offsets.shape[2:]).clone()
    ranges = (batch, *offsets.shape[2:], rows, columns)
    for b, i, j, row, column in torch.cartesian_prod(*map(torch.arange, ranges)).tolist():
        tap = row * columns + column
        y = i * stride - padding + row + offsets[b, 2 * tap, i, j].item()
        x_ = j * stride - padding + column + offsets[b, 2 * tap + 1, i, j].item()
        for line, cell in ((math.floor(y) + m, math.floor(x_) + n) for m in (0, 1) for n in (0, 1)):
            if 0 <= line < height and 0 <= cell < width:
                share = (1 - abs(y - line)) * (1 - abs(x_ - cell)) * mask[b, tap, i, j]
                out[b, :, i, j] += share * (weight[:, :, row, column] @ x[b, :, line, cell])
    return out


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2},
        {"size": (6, 4), "stride": 2},
        {"padding": 0},
        {"kernel": (1, 1), "padding": 0},
        {"kernel": (2, 3)},
        {"size": (1, 1)},
        {"spread": 30.0},
    ],
    ids=str,
)
def test_equals_the_definition(path, settings):
    case, stride, padding = random_case(**settings), settings.get("stride", 1), settings.get("padding", 1)
    ours = deformable_conv2d(*case, stride=stride, padding=padding, path=path)
    torch.testing.assert_close(ours, by_definition(*case, stride, padding))


@pytest.mark.parametrize("stride", [1, 2])
def test_unmoved_taps_of_weight_one_are_a_plain_convolution(stride):
    x, offsets, mask, weight, bias = random_case(stride=stride)
    ours = deformable_conv2d(x, 0.0 * offsets, torch.ones_like(mask), weight, bias, stride, 1)
    torch.testing.assert_close(ours, F.conv2d(x, weight, bias, stride, 1))


@pytest.mark.parametrize("path", PATHS)
def test_gradients_are_the_derivatives(path):
    case = [t.requires_grad_() for t in random_case((3, 4), batch=1, channels=2, out=2, stride=2)]
    assert torch.autograd.gradcheck(lambda *args: deformable_conv2d(*args, stride=2, padding=1, path=path), case)


def test_half_precision_keeps_the_places_of_the_taps():
    """On a map 500 cells wide half precision rounds a place to a quarter of a cell."""
    x, offsets, mask, weight, bias = (t.half() for t in random_case((3, 500), batch=1, spread=0.5))
    exact = deformable_conv2d(*(t.double() for t in (x, offsets, mask, weight, bias)), 1, 1)
    ours = deformable_conv2d(x, offsets, mask, weight, bias, 1, 1)
    assert (ours.double() - exact).abs().max() < 2e-3 * exact.abs().max()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [("offsets", slice(0, 9), r"offsets have shape \(2, 9, 5, 7\)"), ("mask", slice(0, 3), r"mask have shape")],
)
def test_wrong_shapes_are_told(name, change, told):
    case = dict(zip(("x", "offsets", "mask", "weight", "bias"), random_case(), strict=True))
    case[name] = case[name][:, change]
    with pytest.raises(ValueError, match=told):
        deformable_conv2d(**case, padding=1)


def torchvision_convolution():
    """torchvision.ops.deform_conv2d under mmcv's argument order."""
    torchvision_ops = import_module("torchvision.ops")

    def convolve(x, offsets, mask, weight, bias, stride, padding):
        return torchvision_ops.deform_conv2d(x, offsets, weight, bias, stride, padding, mask=mask)

    return convolve


def mmcv_convolution():
    return import_module("mmcv.ops").modulated_deform_conv2d


@pytest.mark.parametrize("theirs", [torchvision_convolution, mmcv_convolution])
def test_equals_other_implementations_with_their_gradients(theirs):
    try:
        convolve = theirs()
    except ImportError as error:
        pytest.skip(f"not installed: {error}")
    case = [t.requires_grad_() for t in random_case(stride=2)]
    ours, others = deformable_conv2d(*case, stride=2, padding=1), convolve(*case, 2, 1)
    torch.testing.assert_close(ours, others)
    cotangent = torch.linspace(-1.0, 1.0, ours.numel(), dtype=torch.float64).view_as(ours)
    gradients = (torch.autograd.grad(out, case, cotangent) for out in (ours, others))
    for mine, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, wanted)
