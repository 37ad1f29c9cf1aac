"""Time and memory of every path of deformable attention at base's shapes, and the floor that moving the bytes sets.

    python benchmarks/deformable_attention.py --device cpu
    python benchmarks/deformable_attention.py --device cuda --repeats 50

The baseline is the grid_sample path, measured in the same run. Memory floor: value, locations and weights read once,
output written once (backward: also the gradients), at the bandwidth of a large copy on the same device. Gather floor:
the four corners of every sample read from the cache, at the bandwidth of a small copy; where it is above the memory
floor, no kernel reaches that one. Writes JSON to benchmarks/results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from rsd_model.bev.spatial_attention import pillar_points, project_pillars
from rsd_model.config import load_model_config
from rsd_model.geometry import bench2drive_rig, lidar_to_image
from rsd_model.ops.deformable_attention import deformable_attention
from rsd_offline.bench.measure import (
    Stopwatch,
    copy_bandwidth,
    hardware,
    hardware_name,
    peak_memory,
    percentiles,
    write_result,
)

RESULTS = Path(__file__).parent / "results"
GPU_SPEEDUP_TARGET, GPU_FLOOR_TARGET = 5.0, 0.5  # of the Triton path at spatial cross-attention


@dataclass(frozen=True)
class Case:
    """One use of the operator in a model."""

    name: str
    queries: tuple[int, ...]  # of each map
    shapes: tuple[tuple[int, int], ...]
    heads: int
    dim: int
    points: int

    @property
    def maps(self) -> torch.Tensor | None:
        """The map of each query, None where all maps have as many: those are a batch."""
        if len(set(self.queries)) == 1:
            return None
        return torch.arange(len(self.queries)).repeat_interleave(torch.tensor(self.queries))

    def inputs(self, device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Value, locations (a tenth of them outside) and weights."""
        generator = torch.Generator(device).manual_seed(0)
        cells = sum(h * w for h, w in self.shapes)
        batch = (len(self.queries), self.queries[0]) if self.maps is None else (1, sum(self.queries))
        sizes = (*batch, self.heads, len(self.shapes), self.points)
        value = torch.randn(len(self.queries), cells, self.heads, self.dim, device=device, generator=generator)
        locations = torch.rand(*sizes, 2, device=device, generator=generator) * 1.1 - 0.05
        weights = torch.rand(*sizes, device=device, generator=generator)
        return value.to(dtype), locations, weights.to(dtype)


def model_cases(name: str) -> list[Case]:
    """Spatial cross-attention, temporal self-attention and object decoder of a named model on the Bench2Drive rig."""
    config = load_model_config(name)
    height, width = config.image.padded_size
    rig = bench2drive_rig(config.image.width, config.image.height)
    projection = torch.as_tensor(lidar_to_image(rig), dtype=torch.float32)[None, : config.cameras]
    views = project_pillars(pillar_points(config.bev, torch.device("cpu")), projection, (height, width))
    levels = [2 ** (stage + 2) for stage in config.backbone.out_stages]
    levels = (levels + [2 * levels[-1]])[: config.bev.feature_levels]
    pyramid = tuple((-(-height // stride), -(-width // stride)) for stride in levels)
    bev = ((config.bev.rows, config.bev.columns),)
    cells, dim = config.bev.rows * config.bev.columns, config.dims // config.heads
    sights = tuple(views.images.bincount(minlength=config.cameras).tolist())
    return [
        Case(f"{name} spatial", sights, pyramid, config.heads, dim, config.bev.spatial_points),
        Case(f"{name} temporal", (cells, cells), bev, config.heads, dim, config.bev.temporal_points),
        Case(f"{name} decoder", (config.objects.queries,), bev, config.heads, dim, config.objects.points),
    ]


def paths(device: str, compiled: bool) -> dict[str, Callable[..., torch.Tensor]]:
    """Name to operator, baseline first."""

    def on(path: str) -> Callable[..., torch.Tensor]:
        return lambda *inputs: deformable_attention(*inputs[:4], path, inputs[4])

    found = {"grid_sample": on("grid_sample"), "embedding_bag": on("embedding_bag")}
    if compiled:
        found["embedding_bag compiled"] = torch.compile(on("embedding_bag"), dynamic=False)
    return found | ({"triton": on("triton")} if device == "cuda" else {})


def moved_bytes(case: Case, dtype: torch.dtype, backward: bool) -> int:
    """Bytes that have to cross the memory bus at least once."""
    value, locations, weights = _sizes(case, dtype)
    output = sum(case.queries) * case.heads * case.dim * dtype.itemsize
    forward = value + locations + weights + output
    # The backward reads the inputs and the output's gradient, and writes (value: adds to) three gradients.
    return forward + (forward + value + locations + weights if backward else 0)


def gathered_bytes(case: Case, dtype: torch.dtype) -> int:
    """Bytes that the corners of all samples read, most of them from a cache."""
    return 4 * sum(case.queries) * case.heads * len(case.shapes) * case.points * case.dim * dtype.itemsize


def _sizes(case: Case, dtype: torch.dtype) -> tuple[int, int, int]:
    samples = sum(case.queries) * case.heads * len(case.shapes) * case.points
    value = len(case.queries) * sum(h * w for h, w in case.shapes) * case.heads * case.dim * dtype.itemsize
    return value, samples * 2 * 4, samples * dtype.itemsize


def measure(
    case: Case, operator: Callable[..., torch.Tensor], watch: Stopwatch, dtype: torch.dtype, backward: bool
) -> dict[str, float | None]:
    """Milliseconds and peak memory of one path."""
    inputs = case.inputs(watch.device, dtype)
    maps = None if case.maps is None else case.maps.to(watch.device)

    def forward() -> torch.Tensor:
        return operator(inputs[0], case.shapes, *inputs[1:], maps)

    def step() -> None:
        out = forward()
        torch.autograd.grad(out, inputs, torch.ones_like(out))

    for tensor in inputs:
        tensor.requires_grad_(backward)
    call = step if backward else forward
    with torch.inference_mode(not backward):
        return {**percentiles(watch.milliseconds(call)), "peak MB": peak_memory(call, watch.device)}


def rows_of(
    case: Case, watch: Stopwatch, bandwidths: tuple[float, float], compiled: bool, backward: bool, dtype: torch.dtype
) -> list[dict]:
    """One row a path, each against the baseline and the floor."""
    rows: list[dict] = []
    floor = moved_bytes(case, dtype, backward) / bandwidths[0] / 1e6
    gather = gathered_bytes(case, dtype) / bandwidths[1] / 1e6
    for name, operator in paths(watch.device, compiled and not backward).items():
        row = {"case": case.name, "pass": "forward+backward" if backward else "forward", "dtype": str(dtype)[6:]}
        row |= {"path": name} | measure(case, operator, watch, dtype, backward)
        baseline = rows[0]["p50"] if rows else row["p50"]
        row |= {"speedup": baseline / row["p50"], "floor ms": floor, "share of floor": floor / row["p50"]}
        rows.append(row | {"gather floor ms": gather})
    return rows


def print_table(rows: list[dict], title: str) -> None:
    """The rows as a table."""
    table = Table(title=title)
    numbers = ("best", "p50", "p99", "peak MB", "speedup", "floor ms", "share of floor", "gather floor ms")
    columns = ("case", "pass", "dtype", "path", *numbers)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        cells = (row[column] for column in columns)
        table.add_row(*(f"{c:.3g}" if isinstance(c, float) else "-" if c is None else str(c) for c in cells))
    Console(width=170).print(table)


def print_targets(rows: list[dict]) -> None:
    """Whether the Triton path reaches what is asked of it at spatial cross-attention."""
    asked = [row for row in rows if row["path"] == "triton" and "spatial" in row["case"] and row["pass"] == "forward"]
    for row in asked:
        fast, near = row["speedup"] >= GPU_SPEEDUP_TARGET, row["share of floor"] > GPU_FLOOR_TARGET
        print(f"{row['case']} {row['dtype']}: {row['speedup']:.1f}x the torch path ({'ok' if fast else 'below 5x'}), "
              f"{row['share of floor']:.0%} of the bandwidth floor ({'ok' if near else 'below half'})")  # fmt: skip
    if not asked:
        print("No GPU: the Triton path was not timed, its targets (5x the torch path, half the floor) are unmeasured.")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--models", nargs="+", default=["base"], help="base, tiny, nano")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="measure the torch path under torch.compile as well")
    parser.add_argument("--backward", action="store_true", help="measure forward and backward together as well")
    parser.add_argument("--clock", default="wall", help="wall, or process: CPU time alone, where others use it")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/deformable_attention_<hardware>.json")
    arguments = parser.parse_args()
    watch = Stopwatch(arguments.device, arguments.repeats, arguments.clock)
    cached = 16.0 if watch.device == "cuda" else 0.25  # MB: fits the L2 of a server GPU, of a processor core
    bandwidths = copy_bandwidth(watch), copy_bandwidth(watch, cached, copies=200)
    dtypes = [torch.float32, torch.bfloat16] + ([torch.float16] if watch.device == "cuda" else [])
    runs = [(False, dtype) for dtype in dtypes] + [(True, torch.float32)] * arguments.backward
    cases = [case for model in arguments.models for case in model_cases(model)]
    rows = [row for case in cases for run in runs for row in rows_of(case, watch, bandwidths, arguments.compiled, *run)]
    machine = hardware(watch.device)
    print_table(rows, f"deformable attention on {machine.get('gpu', machine['cpu'])}, {bandwidths[0]:.0f} GB/s copy")
    print_targets(rows)
    out = arguments.out or RESULTS / f"deformable_attention_{hardware_name(watch.device)}.json"
    head = {"hardware": machine, "repeats": watch.repeats, "clock": watch.clock}
    head |= {"copy GB/s": bandwidths[0], "cached copy GB/s": bandwidths[1]}
    write_result(out, head | {"rows": rows})
    print(f"written: {out}")


if __name__ == "__main__":
    main()
