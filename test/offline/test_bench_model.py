import os
import time

import pytest
import torch
import yaml
from torch import nn

from rsd_model.config import BackboneConfig, BevConfig, ImageConfig, MapConfig, ModelConfig, ObjectConfig
from rsd_model.ops.allocator import keep_freed_memory
from rsd_offline.bench import model
from rsd_offline.bench.apart import ApartError, run_apart
from rsd_offline.bench.measure import Stopwatch, peak_memory, percentiles
from rsd_offline.bench.model import bench_model, build, count_flops, without_risk_head
from rsd_offline.commands.bench import print_report

TINIEST = ModelConfig(
    name="tiniest", dims=16, heads=2, ffn_dims=16, cameras=2,
    image=ImageConfig(64, 32),
    backbone=BackboneConfig(block="basic", depths=(1, 1), widths=(8, 8), stem_width=8, stem_kernel=3, out_stages=(1,)),
    bev=BevConfig(rows=8, columns=4, layers=1, temporal_points=2, spatial_points=4, feature_levels=1),
    objects=ObjectConfig(queries=4, layers=1),
    map=MapConfig(instances=3, points=4, layers=1),
    risk_head={"map_resolution": 5.0, "dims": 8, "heads": 2, "layers": 1},
)  # fmt: skip


@pytest.fixture
def tiniest(tmp_path):
    path = tmp_path / "tiniest.yaml"
    path.write_text(yaml.safe_dump(_plain(TINIEST.to_dict())))
    return str(path)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_the_report_names_every_part_and_its_parts_add_up(tiniest):
    report = bench_model(tiniest, Stopwatch("cpu", repeats=2), compiled=False, precisions=["fp32", "bf16"])
    parts = set(report["latency ms"]) - {"total", "decode", model.WITH, model.WITHOUT}
    assert parts == set(report["parameters"]) - {"total"} == set(report["GFLOP"]) - {"total"}
    for table in ("parameters", "GFLOP"):
        assert sum(report[table][part] for part in parts) == pytest.approx(report[table]["total"])
    modes = [(row["mode"], row["precision"]) for row in report["variants"]]
    assert modes == [("eager", "fp32"), ("eager", "bf16"), ("traced", "fp32")]
    assert report["notes"] == ["not compiled: --compiled measures that too, and takes minutes"]
    assert report["hardware"]["cpu"]
    assert report["hardware"]["threads"] == torch.get_num_threads()


def test_a_slow_pass_is_not_run_for_warming_up_and_every_step_is_told(tiniest, monkeypatch):
    monkeypatch.setattr(model, "SLOW", 0.0)
    monkeypatch.setattr(model, "worth_tracing", lambda planner: False)
    told, passes = [], []
    monkeypatch.setattr(model.Planner, "forward", counted(model.Planner.forward, passes))
    report = bench_model(tiniest, Stopwatch("cpu", repeats=2), None, ["fp32", "bf16"], told.append)
    assert len(passes) == 1 + 2 * 2 + 2  # counting, with and without RiskHead in turn, bf16
    assert any("no warm-up" in note for note in report["notes"])
    assert any("not compiled" in note for note in report["notes"])
    assert "eager fp32, pass 2 of 2, with and without RiskHead" in told
    assert "eager bf16, first call" in told
    assert "first call s" not in report["variants"][0]  # eager fp32 is what the parts were timed in


def counted(function, calls):
    def count(*args):
        calls.append(1)
        return function(*args)

    return count


def test_what_cannot_be_compiled_leaves_a_row_that_says_why(tiniest, monkeypatch):
    monkeypatch.setattr(model, "BACKEND", "no such compiler")
    report = bench_model(tiniest, Stopwatch("cpu", repeats=1), compiled=True, precisions=["fp32"])
    row = report["variants"][-1]
    assert (row["mode"], row["precision"]) == ("compiled", "fp32")
    assert row["failed"].startswith("failed with InvalidBackend")
    print_report(report)


def test_compiled_passes_are_timed_apart_from_the_first_call(tiniest):
    times = model.compiled_times(tiniest, Stopwatch("cpu", repeats=2), "bf16", torch.get_num_threads(), "eager")
    assert len(times) == 1 + 2
    assert times[0] > max(times[1:])


def test_a_process_that_takes_too_long_or_dies_is_told():
    with pytest.raises(ApartError, match=r"took longer than 0 s and was stopped"):
        run_apart(time.sleep, 60, limit=0.2)
    with pytest.raises(ApartError, match="died with exit code 3"):
        run_apart(os._exit, 3, limit=60)
    with pytest.raises(ApartError, match="failed with ValueError: invalid literal"):
        run_apart(int, "x", limit=60)
    assert run_apart(int, "7", limit=60) == 7


def test_a_multiply_add_counts_as_two_and_sampling_counts_its_corners(tiniest):
    planner, inputs = build(tiniest, "cpu")
    with torch.inference_mode():
        flops = count_flops(planner, inputs)
    config = planner.config
    head = planner.risk_head.config
    rows, columns = head.map_shape
    project = config.bev.rows * config.bev.columns * config.dims * head.dims
    assert flops["RiskHead"] * 1e9 / 2 > project + rows * columns * head.dims * head.dims * 9
    planner.risk_head.layers = nn.ModuleList()
    with torch.inference_mode():
        without_layers = count_flops(planner, inputs)["RiskHead"]
    cells, queries, dims = config.bev.rows * config.bev.columns, config.objects.queries, head.dims
    samples = queries * head.heads * head.points
    linear = cells * dims * dims + queries * dims * (3 * head.heads * head.points + dims + 4 * dims)
    layer = linear + 4 * samples * dims // head.heads
    assert (flops["RiskHead"] - without_layers) * 1e9 == pytest.approx(2 * layer)


def test_the_risk_head_is_off_inside_the_block_only(tiniest):
    planner, inputs = build(tiniest, "cpu")
    with torch.inference_mode():
        with without_risk_head(planner):
            assert "risk_map" not in planner(inputs)
        assert "risk_map" in planner(inputs)


def test_what_cannot_be_measured_is_refused_with_the_remedy(tiniest):
    with pytest.raises(ValueError, match="device 'tpu': allowed are cpu, cuda"):
        Stopwatch("tpu", 1)
    with pytest.raises(ValueError, match="clock 'sundial' on cpu: allowed are wall"):
        Stopwatch("cpu", 1, "sundial")
    with pytest.raises(ValueError, match="precision 'int4': allowed are fp32, bf16, fp16"):
        bench_model(tiniest, Stopwatch("cpu", 1), False, ["int4"])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU that torch can use; --device cpu measures here"):
            Stopwatch("cuda", 1)


def test_peak_memory_sees_what_one_call_holds_at_once():
    peak = peak_memory(lambda: torch.ones(16_000_000) + 1.0, "cpu")
    if peak is None:
        pytest.skip("this system does not tell a process its peak memory")
    assert 100.0 < peak < 200.0  # two tensors of 64 MB


def test_percentiles_are_of_the_given_times():
    assert percentiles([3.0, 1.0, 2.0]) == {"best": 1.0, "p50": 2.0, "p99": pytest.approx(2.98)}


def test_the_allocator_is_left_alone_where_the_environment_sets_it(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert keep_freed_memory() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert isinstance(keep_freed_memory(), bool)
