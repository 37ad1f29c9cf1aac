"""Run by test_ops_triton.py in a process of its own, TRITON_INTERPRET=1: prints what it measured as JSON."""

import json

import torch

from rsd_model.ops.deformable_attention import deformable_attention
from rsd_model.ops.deformable_attention_triton import _forward

CASES = {  # shapes of the levels, B, Q, heads, dim, points
    "pyramid": ([(5, 7), (3, 2), (1, 1)], 2, 9, 3, 5, 4),
    "one level": ([(6, 4)], 1, 11, 2, 8, 2),
    "five levels": ([(4, 4)] * 5, 1, 3, 1, 16, 1),
    "more rows than a program": ([(3, 3)], 2, 70, 4, 4, 1),
    "taps of a deformable convolution": ([(4, 5)], 1, 18, 1, 512, 1),
    "queries of named maps": ([(5, 7), (3, 2)], 4, 37, 3, 5, 4),
}
NAMED = torch.arange(37) // 13  # the last map is not sampled


def inputs(shapes, batch, queries, heads, dim, points, dtype):
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, dim, generator=generator, dtype=torch.float64)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator).to(torch.float64)
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=generator).to(torch.float64)
    sampling = dtype if dtype == torch.float64 else torch.float32
    tensors = value.to(dtype), (locations * 1.8 - 0.4).to(sampling), weights.to(sampling)
    return [tensor.requires_grad_() for tensor in tensors]


def outcome(tensors, shapes, path, maps=None):
    out = deformable_attention(tensors[0], shapes, *tensors[1:], path=path, maps=maps)
    cotangent = torch.linspace(-1.0, 1.0, out.numel(), dtype=torch.float64).view_as(out)
    return out, *torch.autograd.grad(out, tensors, cotangent.to(out.dtype))


def errors(name, dtype):
    """Largest error of output and three gradients, each relative to the largest entry of the float64 torch path."""
    shapes, *sizes = CASES[name]
    given, maps = inputs(shapes, *sizes, dtype), None
    if "named" in name:
        maps, given = NAMED, [given[0], *(tensor[:1].detach().requires_grad_() for tensor in given[1:])]
    exact = outcome([tensor.detach().double().requires_grad_() for tensor in given], shapes, "grid_sample", maps)
    ours = outcome(given, shapes, "triton", maps)
    return [((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, exact, strict=True)]


def spread_of_not_a_number():
    value, locations, weights = (tensor.detach() for tensor in inputs(*CASES["pyramid"], torch.float32))
    locations[0, 1, 2] = float("nan")
    return (
        deformable_attention(value, CASES["pyramid"][0], locations, weights, path="triton").isnan().nonzero().tolist()
    )


def largest_beyond_the_map():
    """Largest entry of output and gradients where every point is outside, some as far as numbers go."""
    tensors = inputs(*CASES["pyramid"], torch.float32)
    far = torch.tensor([-float("inf"), float("inf"), -1e38, 1e38, -3.0, 4.0])
    locations = far[torch.arange(tensors[1].numel()) % len(far)].view_as(tensors[1]).requires_grad_()
    found = outcome([tensors[0], locations, tensors[2]], CASES["pyramid"][0], "triton")
    return max(tensor.abs().max().item() for tensor in found)


class Attend(torch.nn.Module):
    def forward(self, value, locations, weights):
        return deformable_attention(value, CASES["one level"][0], locations, weights, path="triton")


def as_one_node():
    """Export, compile with backward, and torch's own checks of a custom operator."""
    tensors = inputs(*CASES["one level"], torch.float32)
    expected = outcome(tensors, CASES["one level"][0], "triton")
    program = torch.export.export(Attend(), tuple(tensors))
    nodes = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    compiled = torch.compile(Attend(), fullgraph=True, backend="aot_eager")(*tensors)
    gradients = torch.autograd.grad(compiled, tensors, torch.linspace(-1.0, 1.0, compiled.numel()).view_as(compiled))
    flat = [size for shape in CASES["one level"][0] for size in shape]
    checks = torch.library.opcheck(_forward, (tensors[0], flat, *tensors[1:], None))
    return {
        "nodes": nodes,
        "exported equal": torch.equal(program.module()(*tensors), expected[0]),
        "compiled equal": all(torch.allclose(a, b) for a, b in zip((compiled, *gradients), expected, strict=True)),
        "operator checks": checks,
    }


if __name__ == "__main__":
    dtypes = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    report = {"errors": {f"{case}/{name}": errors(case, dtype) for case in CASES for name, dtype in dtypes.items()}}
    report |= {"nan": spread_of_not_a_number(), "beyond": largest_beyond_the_map(), "one node": as_one_node()}
    print(json.dumps(report))
