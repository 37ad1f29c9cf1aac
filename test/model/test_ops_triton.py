"""The Triton path: equal to the torch path in the interpreter, compilable without a GPU, equal on a real one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rsd_model.ops.deformable_attention import deformable_attention

TOLERANCE = {"float64": 1e-12, "float32": 3e-6, "bfloat16": 1e-2, "float16": 2e-3}
CASES = (
    "pyramid",
    "one level",
    "five levels",
    "more rows than a program",
    "taps of a deformable convolution",
    "queries of named maps",
)

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="package triton (extra `triton`) is not installed"),
    pytest.mark.timeout(300),  # the interpreter takes 13 s, and many times that on a machine that is busy
]


@pytest.fixture(scope="module")
def interpreted():
    """The report of ops_triton_on_cpu.py; importing triton fixes the interpreter, hence a process of its own."""
    script = Path(__file__).with_name("ops_triton_on_cpu.py")
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=290, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_equal_the_torch_path(interpreted, case, precision):
    assert max(interpreted["errors"][f"{case}/{precision}"]) < TOLERANCE[precision]


def test_a_location_that_is_not_a_number_spoils_its_own_head_alone(interpreted):
    assert interpreted["nan"] == [[0, 1, channel] for channel in range(10, 15)]


def test_points_beyond_the_map_give_zero_even_at_infinity(interpreted):
    assert interpreted["beyond"] == 0.0


def test_compile_and_export_take_it_as_one_node(interpreted):
    report = interpreted["one node"]
    assert report["nodes"] == ["rsd.deformable_attention.default"]
    assert report["exported equal"]
    assert report["compiled equal"]


def test_torch_finds_no_fault_with_the_custom_operator(interpreted):
    assert set(interpreted["one node"]["operator checks"].values()) == {"SUCCESS"}


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
@pytest.mark.parametrize("kernel", ["_forward_kernel", "_backward_kernel"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_compiles_for_a_gpu_with_vector_loads(kernel, precision, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    ptx = compile_for_gpu(kernel, precision, capability=80)
    assert ".v4.b32" in ptx  # one 16-byte load where the head's channels are contiguous


def compile_for_gpu(name, precision, capability):
    """PTX of a kernel at base's sizes with 16-byte aligned tensors, as the launcher specialises it."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rsd_model.ops import deformable_attention_triton

    kernel = getattr(deformable_attention_triton, name)
    constants = {"HEADS": 8, "DIM": 32, "DIM_BLOCK": 32, "LEVELS": 4, "POINTS": 8, "BLOCK": 32, "ACC": tl.float32}
    types = dict.fromkeys(("value", "out", "grad_out"), f"*{precision}") | {"levels": "*i32", "maps": "*i64"}
    types |= dict.fromkeys(("rows", "cells"), "i32") | dict.fromkeys(constants, "constexpr")
    signature = {argument: types.get(argument, "*fp32") for argument in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(signature.values()) if t != "constexpr"}
    values = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    source = ASTSource(kernel, signature, values, aligned)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the compiled Triton kernels were not run")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)], ids=str
)
@pytest.mark.parametrize("named", [False, True], ids=["batch", "named maps"])
def test_output_and_gradients_equal_the_torch_path_on_the_gpu(named, dtype, tolerance):
    shapes = [(92, 160), (46, 80), (23, 40), (12, 20)]
    maps = torch.arange(500, device="cuda") // 300 if named else None
    generator = torch.Generator("cuda").manual_seed(0)
    value = torch.randn(2, sum(h * w for h, w in shapes), 8, 32, device="cuda", generator=generator).to(dtype)
    batch = 1 if named else 2
    locations = torch.rand(batch, 500, 8, 4, 8, 2, device="cuda", generator=generator) * 1.4 - 0.2
    weights = torch.rand(batch, 500, 8, 4, 8, device="cuda", generator=generator)
    results = []
    for path, precision in (("grid_sample", torch.float64), ("triton", dtype)):
        sampling = torch.float64 if path == "grid_sample" else torch.float32
        inputs = [value.to(precision), locations.to(sampling), weights.to(sampling)]
        inputs = [tensor.detach().requires_grad_() for tensor in inputs]
        out = deformable_attention(inputs[0], shapes, *inputs[1:], path=path, maps=maps)
        results.append([out, *torch.autograd.grad(out.sum(), inputs)])
    for exact, ours in zip(*results, strict=True):
        assert (ours.double() - exact).abs().max() < tolerance * exact.abs().max()
