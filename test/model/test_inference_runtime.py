import numpy as np
import pytest
import torch

from rsd_model.checkpoints.weights import WeightsError, save_weights
from rsd_model.config import load_model_config
from rsd_model.contracts import Command, EgoState, FrameSet
from rsd_model.geometry import bench2drive_rig, pose_matrix
from rsd_model.inference import BevMemory, InferenceError, PlannerRuntime
from rsd_model.network import Planner

RIG = bench2drive_rig(256, 144)


def ego_at(stamp: float, x: float = 0.0, yaw: float = 0.0) -> EgoState:
    return EgoState(stamp, pose_matrix(np.array([x, 0.0, 0.0]), yaw), np.array([5.0, 0.0, 0.0]), np.zeros(3), 0.0)


def frame_at(stamp: float, seed: int = 0, valid: np.ndarray | None = None) -> FrameSet:
    rng = np.random.default_rng(seed)
    valid = np.ones(6, bool) if valid is None else valid
    images = tuple(rng.integers(0, 255, (144, 256, 3), np.uint8) * np.uint8(v) for v in valid)
    route = np.stack([np.arange(50.0), np.zeros(50)], axis=1)
    return FrameSet(stamp, images, np.full(6, stamp), valid, RIG, ego_at(stamp, 5.0 * stamp), Command.LANEFOLLOW, route)


@pytest.fixture(scope="module")
def runtime() -> PlannerRuntime:
    torch.set_num_threads(1)
    return PlannerRuntime(None, "nano", device="cpu")


def test_a_plan_has_every_output_finite_and_in_range(runtime):
    runtime.reset()
    output = runtime.plan(frame_at(1.0))
    assert output.trajectory.shape == (6, 2) and output.trajectories.shape == (6, 6, 2)
    assert np.isfinite(output.trajectories).all() and output.valid_share == 1.0
    np.testing.assert_array_equal(output.trajectory, output.trajectories[Command.LANEFOLLOW])
    assert ((output.risk_grid.values >= 0) & (output.risk_grid.values <= 1)).all()
    assert {"preprocess", "network", "decode"} <= output.timings.keys()


def test_the_plan_depends_on_the_frame_half_a_second_before(runtime):
    runtime.reset()
    first = runtime.plan(frame_at(1.5, seed=2)).trajectories
    runtime.reset()
    runtime.plan(frame_at(1.0, seed=1))
    second = runtime.plan(frame_at(1.5, seed=2)).trajectories
    assert np.abs(first - second).max() > 1e-6


def test_memory_gives_the_bev_of_half_a_second_ago_and_forgets_when_time_jumps_back():
    memory = BevMemory()
    for tick in range(20):
        memory.add(ego_at(0.1 * tick), torch.full((1,), float(tick)))
    found = memory.before(2.0)
    assert found is not None and found.ego.stamp == pytest.approx(1.5)
    assert memory.before(2.9) is None
    assert memory.before(0.3) is None and memory.before(2.0) is None


def test_an_invalid_camera_is_not_looked_at(runtime):
    valid = np.array([True, True, True, False, True, True])
    runtime.reset()
    black = runtime.plan(frame_at(1.0, valid=valid))
    frame = frame_at(1.0, valid=valid)
    noise = np.random.default_rng(9).integers(0, 255, (144, 256, 3), np.uint8)
    images = tuple(noise if i == 3 else image for i, image in enumerate(frame.images))
    runtime.reset()
    noisy = runtime.plan(FrameSet(1.0, images, frame.stamps, valid, RIG, frame.ego, frame.command, frame.route))
    np.testing.assert_allclose(black.trajectories, noisy.trajectories, atol=1e-6)
    assert black.valid_share == pytest.approx(5 / 6)


def test_weights_round_trip_and_a_truncated_file_is_named(runtime, tmp_path):
    path = tmp_path / "w.safetensors"
    torch.manual_seed(0)  # as the runtime's own random weights
    save_weights(Planner(load_model_config("nano")), path)
    runtime.reset()
    wanted = runtime.plan(frame_at(1.0)).trajectories
    np.testing.assert_allclose(PlannerRuntime(path, device="cpu").plan(frame_at(1.0)).trajectories, wanted, atol=1e-5)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="truncated"):
        PlannerRuntime(path, device="cpu")


def test_an_unknown_device_or_precision_says_what_is_allowed():
    with pytest.raises(InferenceError, match="choose auto"):
        PlannerRuntime(None, device="abacus")
    with pytest.raises(InferenceError, match="fp32"):
        PlannerRuntime(None, device="cpu", precision="int1")
