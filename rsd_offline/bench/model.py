"""Cost of the planner: parameters, GFLOP, memory, latency by part, compiled, in lower precision, without RiskHead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rsd_model.config import ModelConfig, load_model_config
from rsd_model.decode import decode
from rsd_model.network import Planner, PlannerInputs, example_inputs, parameter_count
from rsd_offline.bench.measure import Stopwatch, hardware, peak_memory, percentiles

PARTS = {
    "backbone": "backbone",
    "neck": "neck",
    "bev_encoder": "encoder",
    "object_head": "object decoder",
    "map_head": "map decoder",
    "motion_head": "motion head",
    "ego_head": "ego head",
    "risk_head": "RiskHead",
}
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class PartClock:
    """Milliseconds that each part of a planner took, one entry a forward pass."""

    planner: Planner
    watch: Stopwatch
    times: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self) -> Iterator[PartClock]:
        """Hooks are on inside the block only."""
        handles = []
        for name, module in self.planner.named_children():
            started: list[float] = []
            handles.append(module.register_forward_pre_hook(self._starter(started)))
            handles.append(module.register_forward_hook(self._stopper(PARTS.get(name, name), started)))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _starter(self, started: list[float]) -> Callable[..., None]:
        def start(module: nn.Module, inputs: Any) -> None:
            started.append(self.watch.now())

        return start

    def _stopper(self, part: str, started: list[float]) -> Callable[..., None]:
        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            self.times.setdefault(part, []).append(1e3 * (self.watch.now() - started.pop()))

        return stop


def build(name: str, device: str) -> tuple[Planner, PlannerInputs]:
    """A planner of random weights with its RiskHead on, and inputs with a previous BEV: the steady state."""
    config = load_model_config(name)
    if config.risk_head is None:
        config = replace(config, risk_head={})
    torch.manual_seed(0)
    planner = Planner(config).eval().requires_grad_(False).to(device)
    inputs = example_inputs(config)
    cells = config.bev.rows * config.bev.columns
    inputs = replace(inputs, prev_bev=torch.randn(1, cells, config.dims))
    moved = {name: value.to(device) for name, value in vars(inputs).items() if isinstance(value, Tensor)}
    return planner, replace(inputs, **moved)


@contextlib.contextmanager
def without_risk_head(planner: Planner) -> Iterator[None]:
    """Inside the block the planner has no RiskHead."""
    head, planner.risk_head = planner.risk_head, None
    try:
        yield
    finally:
        planner.risk_head = head


@contextlib.contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """Autocast of the named precision; none for fp32."""
    dtype = PRECISIONS[name]
    with torch.autocast(device, dtype, enabled=dtype is not None):
        yield


def count_flops(planner: Planner, inputs: PlannerInputs) -> dict[str, float]:
    """GFLOP of one forward pass by part (a multiply-add is two), bilinear sampling as multiply-adds of its corners."""
    mapping: dict[Any, Any] = {
        torch.ops.aten._embedding_bag_forward_only: _bag_flops,
        torch.ops.aten.grid_sampler_2d: _grid_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        planner(inputs)
    counts = counter.get_flop_counts()
    by_part = {part: sum(counts.get(f"Planner.{name}", {}).values()) / 1e9 for name, part in PARTS.items()}
    return by_part | {"total": counter.get_total_flops() / 1e9}


def _bag_flops(table: Any, rows: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * int(torch.Size(rows).numel()) * table[-1]


def _grid_flops(maps: Any, grid: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 4 * int(torch.Size(grid[:-1]).numel()) * maps[1]


def latency_by_part(planner: Planner, inputs: PlannerInputs, watch: Stopwatch) -> dict[str, dict[str, float]]:
    """Best, p50 and p99 in ms of every part, of decoding to base_link, and of all together, RiskHead on."""
    parts = PartClock(planner, watch)
    decoding, totals = [], []
    planner(inputs)
    with parts.running():
        for _ in range(watch.repeats):
            start = watch.now()
            outputs = planner(inputs)
            middle = watch.now()
            decode(outputs, planner.config)
            end = watch.now()
            decoding.append(1e3 * (end - middle))
            totals.append(1e3 * (end - start))
    times = {part: parts.times[part] for part in PARTS.values() if part in parts.times}
    return {part: percentiles(values) for part, values in (times | {"decode": decoding, "total": totals}).items()}


def risk_head_share(planner: Planner, inputs: PlannerInputs, watch: Stopwatch) -> dict[str, float]:
    """Frames per second with and without RiskHead, taken in turns so that a drift of the machine hits both alike."""
    on: list[float] = []
    off: list[float] = []
    for _ in range(watch.repeats):
        on += watch.milliseconds(partial(planner, inputs), 1, 0)
        with without_risk_head(planner):
            off += watch.milliseconds(partial(planner, inputs), 1, 0)
    with_head, without = percentiles(on)["p50"], percentiles(off)["p50"]
    return {
        "FPS with RiskHead": 1e3 / with_head,
        "FPS without RiskHead": 1e3 / without,
        "added ms": with_head - without,
        "added share": with_head / without - 1.0,
    }


def variants(planner: Planner, inputs: PlannerInputs, watch: Stopwatch, compiled: bool) -> list[dict[str, Any]]:
    """Latency of the whole forward pass, eager and compiled, in every precision the device is asked for."""
    rows = []
    modes: dict[str, Callable[[PlannerInputs], Any]] = {"eager": planner}
    if compiled:
        modes["compiled"] = torch.compile(planner)
    names = list(PRECISIONS) if watch.device == "cuda" else ["fp32", "bf16"]
    for mode, model in modes.items():
        for name in names:
            with precision(name, watch.device):
                first = watch.milliseconds(partial(model, inputs), 1, 0)[0]
                times = percentiles(watch.milliseconds(partial(model, inputs), warm_up=0))
            rows.append({"mode": mode, "precision": name} | times | {"first call s": first / 1e3})
    return rows


def parameters_by_part(planner: Planner) -> dict[str, int]:
    """Number of parameters of every part and of all."""
    counts = {PARTS.get(name, name): parameter_count(module) for name, module in planner.named_children()}
    return counts | {"total": parameter_count(planner)}


def bench_model(name: str, watch: Stopwatch, compiled: bool) -> dict[str, Any]:
    """Everything `rsd bench model` prints, as plain data."""
    planner, inputs = build(name, watch.device)
    config: ModelConfig = planner.config
    with torch.inference_mode():
        return {
            "model": config.name,
            "hardware": hardware(watch.device),
            "clock": watch.clock,
            "repeats": watch.repeats,
            "images": [config.cameras, *config.image.padded_size],
            "bev": [config.bev.rows, config.bev.columns],
            "parameters": parameters_by_part(planner),
            "GFLOP": count_flops(planner, inputs),
            "latency ms": latency_by_part(planner, inputs, watch),
            "peak memory MB": peak_memory(partial(planner, inputs), watch.device),
            "RiskHead": risk_head_share(planner, inputs, watch),
            "variants": variants(planner, inputs, watch, compiled),
        }
