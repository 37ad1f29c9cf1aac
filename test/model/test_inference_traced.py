"""A traced planner gives the module's outputs bit by bit, and goes through the module where the graph does not hold."""

import threading
import time
import weakref
from dataclasses import replace

import pytest
import torch

import rsd_model.traced
from rsd_model.bev.spatial_attention import PillarViews
from rsd_model.config import load_model_config
from rsd_model.network import Planner, PlannerInputs, example_inputs
from rsd_model.traced import TracedPlanner, one_thread

NANO = load_model_config("nano")


def varied(inputs: PlannerInputs, seed: int) -> PlannerInputs:
    """Other images, motion, route and history, same rig."""
    generator = torch.Generator().manual_seed(seed)

    def like(values: torch.Tensor) -> torch.Tensor:
        return torch.randn(values.shape, generator=generator)

    history = torch.randn(1, NANO.bev.rows * NANO.bev.columns, NANO.dims, generator=generator)
    return replace(
        inputs, images=like(inputs.images), can_bus=3.0 * like(inputs.can_bus), route=5.0 * like(inputs.route),
        ego_status=like(inputs.ego_status), prev_bev=history,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planner() -> Planner:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Planner(NANO).eval().requires_grad_(False)


@pytest.fixture
def calls(planner):
    """One entry for each pass through the module."""
    made = []
    hook = planner.register_forward_pre_hook(lambda *_: made.append(1))
    yield made
    hook.remove()


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def passes(traced: TracedPlanner, frame: PlannerInputs, expected: dict[str, torch.Tensor], calls: list) -> int:
    """Passes through the module that the frame took; outputs must be the expected ones."""
    calls.clear()
    assert same(traced(frame), expected)
    return len(calls)


def test_outputs_are_the_modules_bit_by_bit_whatever_is_seen_and_however_the_vehicle_moves(planner, calls):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    assert traced.trace(varied(inputs, 9)) and traced.traced
    with torch.inference_mode():
        for seed in range(4):
            frame = varied(inputs, seed)
            assert passes(traced, frame, planner(frame), calls) == 0


def test_a_rig_is_compared_once_cameras_may_fail_and_a_first_frame_goes_through_the_module(planner, calls):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    traced.trace(varied(inputs, 9))
    frame = varied(inputs, 0)
    narrow = replace(frame, lidar2img=frame.lidar2img * torch.tensor([1.3, 1.3, 1.0, 1.0])[:, None])
    failed = replace(narrow, camera_valid=torch.tensor([[True, True, False, True, True, False]]))
    first = replace(narrow, prev_bev=None)
    with torch.inference_mode():
        counts = [passes(traced, each, planner(each), calls) for each in (narrow, narrow, failed, first)]
    assert counts == [1, 0, 0, 1]


@pytest.mark.parametrize("breaks", [False, True])
def test_a_graph_that_does_not_fit_a_rig_is_dropped_and_that_is_said(planner, calls, caplog, breaks):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    traced.trace(varied(inputs, 9))
    graph = traced._graph

    def spoiled(room, *given):
        if breaks:
            raise RuntimeError("shape '[6, 500]' is invalid for input of size 4000")
        graph(room, *given)
        room *= 1.1

    traced._graph = spoiled
    frame = varied(replace(inputs, lidar2img=inputs.lidar2img.clone()), 0)
    with torch.inference_mode():
        assert passes(traced, frame, planner(frame), calls) == 1
    assert not traced.traced and "does not fit" in caplog.text


def test_a_planner_too_large_to_gain_by_it_is_not_traced(planner, monkeypatch):
    monkeypatch.setattr(rsd_model.traced, "TRACED_UP_TO", 1_000)
    traced = TracedPlanner(planner)
    assert not traced.trace(varied(example_inputs(NANO), 0)) and not traced.traced


def test_where_recording_fails_the_module_goes_on(planner, calls, monkeypatch, caplog):
    def fails(*arguments, **options):
        raise RuntimeError("no tracer here")

    monkeypatch.setattr(torch.jit, "trace", fails)
    frame, traced = varied(example_inputs(NANO), 0), TracedPlanner(planner)
    assert not traced.trace(frame) and "no tracer here" in caplog.text
    assert passes(traced, frame, planner(frame), calls) == 1


def test_a_slow_start_does_not_cost_the_graph(planner, monkeypatch):
    inputs, forward = varied(example_inputs(NANO), 0), planner.forward

    def held_up(*arguments):
        time.sleep(1.0)  # other nodes start on the same cores
        return forward(*arguments)

    monkeypatch.setattr(planner, "forward", held_up)
    assert TracedPlanner(planner).trace(inputs)


def test_a_graph_that_disagrees_at_once_is_told(planner, monkeypatch, caplog):
    monkeypatch.setattr(rsd_model.traced, "_same", lambda found, expected: False)
    assert not TracedPlanner(planner).trace(varied(example_inputs(NANO), 0)) and "other numbers" in caplog.text


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_in_several_threads_groups_of_cameras_and_of_cells_and_heads_run_beside_each_other(planner):
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    assert traced.trace(varied(inputs, 9))
    forks = traced._graph.inlined_graph.findAllNodes("prim::fork")
    assert len(forks) == 8  # two groups of cameras, two of cells in each of two layers, the map, the risk
    with torch.inference_mode():
        for seed in range(4):
            frame = varied(inputs, seed)
            if seed == 3:  # nothing looks to the rear any more
                frame = replace(frame, camera_valid=torch.tensor([[True, True, True, False, False, False]]))
            found, expected = traced(frame), planner(frame)
            assert list(found) == list(expected)
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)
            assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_no_thread_of_the_pool_lets_go_of_what_belongs_to_python(planner):
    """It would need the interpreter's lock for that, and aborts the process where the interpreter ends meanwhile."""
    inputs, traced = example_inputs(NANO), TracedPlanner(planner)
    assert traced.trace(varied(inputs, 9))
    graph, freed_by = traced._graph, []

    def watched(*tensors):
        results = graph(*tensors)
        assert results == ()
        weakref.finalize(tensors[0], lambda: freed_by.append(threading.get_ident()))
        return results

    traced._graph = watched
    frame = varied(inputs, 0)
    with torch.inference_mode():
        for _ in range(60):
            assert "bev_embed" in traced(frame)  # and nobody keeps it
    assert len(freed_by) >= 60 and set(freed_by) == {threading.get_ident()}


def test_views_split_by_cells_hold_every_sight_once(planner):
    inputs = example_inputs(NANO)
    encoder, size = planner.bev_encoder, inputs.images.shape[-2:]
    whole = encoder.views(inputs.lidar2img, size, None)

    def sights(views: PillarViews, first: int) -> list[list[float]]:
        return torch.cat([torch.stack([views.cells + first, views.images], 1), views.reference.flatten(1)], 1).tolist()

    found, first = [], 0
    for part in whole.split(3):
        found += sights(part, first)
        assert torch.equal(part.share, whole.share[:, first : first + part.share.shape[1]])
        first += part.share.shape[1]
    assert first == whole.share.shape[1] and sorted(found) == sorted(sights(whole, 0))
    with pytest.raises(ValueError, match="views of 2 samples cannot be split"):
        encoder.views(inputs.lidar2img.expand(2, -1, -1, -1), size, None).split(2)


@pytest.mark.usefixtures("two_threads")
def test_heads_beside_each_other_need_no_risk_head():
    config = replace(NANO, risk_head=None)
    torch.manual_seed(1)
    small = Planner(config).eval().requires_grad_(False)
    traced = TracedPlanner(small)
    frame = varied(example_inputs(config), 0)
    assert traced.trace(frame)
    with torch.inference_mode():
        assert list(traced(frame)) == list(small(frame)) and "risk_map" not in traced(frame)


@pytest.mark.usefixtures("two_threads")
def test_a_failing_pass_leaves_the_number_of_threads_as_it_was():
    with pytest.raises(RuntimeError, match="device"), one_thread(True):
        assert torch.get_num_threads() == 1
        raise RuntimeError("device lost")
    assert torch.get_num_threads() == 2
    with one_thread(False):
        assert torch.get_num_threads() == 2
