"""Cost of the planner: parameters, GFLOP, memory, latency by part, traced, compiled, reduced, without RiskHead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rsd_model.backbone.folding import fold_batch_norm
from rsd_model.config import load_model_config
from rsd_model.decode import decode
from rsd_model.network import Planner, PlannerInputs, example_inputs, parameter_count
from rsd_model.ops.allocator import keep_freed_memory
from rsd_model.traced import TracedPlanner, worth_tracing
from rsd_offline.bench.apart import ApartError, run_apart
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
WITH, WITHOUT = "with RiskHead, not decoded", "without RiskHead, not decoded"
SLOW = 2.0  # s; where a pass takes longer, warm-up passes are left out and compiling waits to be asked for
COMPILE_LIMIT = 900.0  # s
BACKEND = "inductor"  # of torch.compile
Tell = Callable[[str], None]
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
    images = inputs.images.flatten(0, 1).contiguous(memory_format=torch.channels_last)[None]
    inputs = replace(inputs, images=images, prev_bev=torch.randn(1, cells, config.dims))
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
    if hasattr(torch.ops.rsd, "deformable_attention"):  # registered where the Triton path has run
        mapping[torch.ops.rsd.deformable_attention] = _attention_flops
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        planner(inputs)
    counts = counter.get_flop_counts()
    by_part = {part: sum(counts.get(f"Planner.{name}", {}).values()) / 1e9 for name, part in PARTS.items()}
    return by_part | {"total": counter.get_total_flops() / 1e9}


def _bag_flops(table: Any, rows: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * int(torch.Size(rows).numel()) * table[-1]


def _grid_flops(maps: Any, grid: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 4 * int(torch.Size(grid[:-1]).numel()) * maps[1]


def _attention_flops(
    value: Any, shapes: Any, locations: Any, weights: Any, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * 4 * int(torch.Size(weights).numel()) * value[-1]


def latencies(planner: Planner, inputs: PlannerInputs, watch: Stopwatch, tell: Tell) -> dict[str, list[float]]:
    """Milliseconds of every part, of decoding to base_link, of all together, and of the network with and without
    RiskHead.

    With and without take turns, so that a drift of the machine hits both alike. A GPU is waited for at the ends of the
    parts, which a pass of its own is spared.
    """
    parts = PartClock(planner, watch)
    decoding, totals, whole, plain = [], [], [], []
    for number in range(watch.repeats):
        tell(f"eager fp32, pass {number + 1} of {watch.repeats}, with and without RiskHead")
        with parts.running():
            start = watch.now()
            outputs = planner(inputs)
            middle = watch.now()
            decode(outputs, planner.config)
            end = watch.now()
        decoding.append(1e3 * (end - middle))
        totals.append(1e3 * (end - start))
        if watch.device == "cuda":
            whole += watch.milliseconds(partial(planner, inputs), 1, 0)
        else:
            whole.append(1e3 * (middle - start))
        with without_risk_head(planner):
            plain += watch.milliseconds(partial(planner, inputs), 1, 0)
    times = {part: parts.times[part] for part in PARTS.values() if part in parts.times}
    return times | {"decode": decoding, "total": totals, WITH: whole, WITHOUT: plain}


def risk_head_share(times: dict[str, list[float]]) -> dict[str, float]:
    """Frames per second of the network with and without RiskHead."""
    with_head, without = float(np.median(times[WITH])), float(np.median(times[WITHOUT]))
    return {
        "FPS with RiskHead": 1e3 / with_head,
        "FPS without RiskHead": 1e3 / without,
        "added ms": with_head - without,
        "added share": with_head / without - 1.0,
        "own share": float(np.median(times["RiskHead"])) / without,
    }


def eager_rows(
    planner: Planner,
    inputs: PlannerInputs,
    watch: Stopwatch,
    precisions: list[str],
    known: dict[str, list[float]],
    warm_up: bool,
    tell: Tell,
) -> list[dict[str, Any]]:
    """Latency of the whole forward pass in each precision.

    What is `known` (ms) is not measured again. Without `warm_up` a precision's first call counts too.
    """
    rows = []
    for name in precisions:
        times, first = known.get(name, []), None
        if not times:
            with precision(name, watch.device):
                tell(f"eager {name}, first call")
                first = watch.milliseconds(partial(planner, inputs), 1, 0)[0]
                counts = not warm_up
                tell(f"eager {name}, {watch.repeats - counts} passes more")
                times = [first] * counts + watch.milliseconds(partial(planner, inputs), watch.repeats - counts, 0)
        rows.append({"mode": "eager", "precision": name} | percentiles(times) | _first_call(first))
    return rows


def traced_rows(planner: Planner, inputs: PlannerInputs, watch: Stopwatch, tell: Tell) -> list[dict[str, Any]]:
    """Latency as PlannerRuntime runs a short pass on a CPU; nothing where the graph is refused."""
    tell("traced fp32")
    traced, started = TracedPlanner(planner), watch.now()
    if not traced.trace(inputs):
        return []
    first = 1e3 * (watch.now() - started)
    with torch.inference_mode():
        times = watch.milliseconds(partial(traced, inputs))
    return [{"mode": "traced", "precision": "fp32"} | percentiles(times) | _first_call(first)]


def compiled_rows(
    name: str, watch: Stopwatch, precisions: list[str], limit: float, tell: Tell
) -> Iterator[dict[str, Any]]:
    """Latency of the whole forward pass under torch.compile in each precision; `failed` says why there is none.

    Each is compiled in a process of its own, which ends after `limit` seconds: compilers can take many minutes, be
    missing, or fail.
    """
    for wanted in precisions:
        tell(f"compiled {wanted}, in a process of its own: minutes, at most {limit:.0f} s")
        row = {"mode": "compiled", "precision": wanted}
        try:
            times = run_apart(compiled_times, name, watch, wanted, torch.get_num_threads(), BACKEND, limit=limit)
        except ApartError as error:
            yield row | {"failed": str(error)}
        else:
            yield row | percentiles(times[1:]) | _first_call(times[0])


def compiled_times(name: str, watch: Stopwatch, wanted: str, threads: int, backend: str) -> list[float]:
    """Milliseconds of the first call, which compiles, and of `watch.repeats` calls after one more for warming up."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    planner, inputs = build(name, watch.device)
    fold_batch_norm(planner.backbone)
    model = torch.compile(planner, backend=backend)
    with torch.inference_mode(), precision(wanted, watch.device):
        first = watch.milliseconds(partial(model, inputs), 1, 0)
        return first + watch.milliseconds(partial(model, inputs))


def _first_call(milliseconds: float | None) -> dict[str, float]:
    return {} if milliseconds is None else {"first call s": milliseconds / 1e3}


def parameters_by_part(planner: Planner) -> dict[str, int]:
    """Number of parameters of every part and of all."""
    counts = {PARTS.get(name, name): parameter_count(module) for name, module in planner.named_children()}
    return counts | {"total": parameter_count(planner)}


def bench_model(
    name: str,
    watch: Stopwatch,
    compiled: bool | None,
    precisions: list[str],
    tell: Tell = lambda text: None,
    compile_limit: float = COMPILE_LIMIT,
) -> dict[str, Any]:
    """Everything `rsd bench model` prints, as plain data; `tell` hears what is under way.

    compiled None: where a pass takes less than SLOW; compile_limit in s, for each precision. Raises ValueError for an
    unknown precision.
    """
    for unknown in set(precisions) - set(PRECISIONS):
        raise ValueError(f"precision {unknown!r}: allowed are {', '.join(PRECISIONS)}")
    keep_freed_memory()
    tell(f"building {name}")
    planner, inputs = build(name, watch.device)
    config, parameters, flops = planner.config, parameters_by_part(planner), {}
    fold_batch_norm(planner.backbone)  # as PlannerRuntime does
    with torch.inference_mode():
        if watch.device == "cuda":
            planner(inputs)  # compiles the kernels and registers their operator, so that the next pass can count it
        # The pass that counts operations and memory is also the warm-up of those that are timed.
        tell("counting operations and memory")
        memory = peak_memory(lambda: flops.update(count_flops(planner, inputs)), watch.device)
        times = latencies(planner, inputs, watch, tell)
        seconds = min(times[WITH]) / 1e3
        compiled = seconds < SLOW if compiled is None else compiled
        rows = eager_rows(planner, inputs, watch, precisions, {"fp32": times[WITH]}, seconds < SLOW, tell)
    if watch.device == "cpu" and worth_tracing(planner):
        rows += traced_rows(planner, inputs, watch, tell)
    if compiled:
        rows += compiled_rows(name, watch, precisions, compile_limit, tell)
    return {
        "model": config.name,
        "hardware": hardware(watch.device),
        "clock": watch.clock,
        "repeats": watch.repeats,
        "notes": _notes(seconds, compiled),
        "images": [config.cameras, *config.image.padded_size],
        "bev": [config.bev.rows, config.bev.columns],
        "parameters": parameters,
        "GFLOP": flops,
        "latency ms": {part: percentiles(values) for part, values in times.items()},
        "peak memory MB": memory,
        "RiskHead": risk_head_share(times),
        "variants": rows,
    }


def _notes(seconds: float, compiled: bool) -> list[str]:
    """What was left out because a pass takes so long."""
    notes = [] if compiled else ["not compiled: --compiled measures that too, and takes minutes"]
    if seconds >= SLOW:
        notes.append(f"a pass takes {seconds:.0f} s: eager modes had no warm-up but the pass that counted operations")
    return notes
