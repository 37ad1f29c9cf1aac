"""The whole graph: world, planner and control as three processes, against the same drive in one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drive_watcher import WATCHED_ODOMETRY

from rsd_model.checkpoints.weights import save_weights
from rsd_model.config import load_model_config
from rsd_model.contracts import FrameSet
from rsd_model.control import TrajectoryFollower
from rsd_model.geometry import bench2drive_rig
from rsd_model.inference import PlannerRuntime
from rsd_model.network import Planner
from rsd_ros.compat.messages import PlannerStatus
from rsd_world.render.renderer import Renderer
from rsd_world.world import Episode, World

TICKS = 15
SIZE = (160, 90)
EPISODE = {"town": "birch", "route": 1, "seed": 7, "vehicles": 6, "pedestrians": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that drives off at 6 m/s, and steers by what it happens to see."""
    torch.manual_seed(3)
    model = Planner(load_model_config("nano"))
    last = [layer for layer in model.ego_head.plan_branch.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias[1::2] += 3.0  # LiDAR frame: y is forward
    path = tmp_path_factory.mktemp("weights") / "forward.safetensors"
    save_weights(model, path)
    return path


def drive_in_process(weights: Path) -> np.ndarray:
    """(TICKS, 3) x, y, speed of the ego at each tick."""
    world, runtime, follower = World(Episode(**EPISODE)), PlannerRuntime(weights, device="cpu"), TrajectoryFollower()
    rows = []
    with Renderer(world.town, bench2drive_rig(*SIZE)) as renderer:
        for _ in range(TICKS):
            ego = world.ego_state()
            rows.append([*ego.pose[:2, 3], ego.speed])
            images = tuple(renderer.render(world.snapshot).rgb)
            stamps, valid = np.full(6, ego.stamp), np.ones(6, bool)
            command, route = world.command(), world.route_ahead()
            frame = FrameSet(ego.stamp, images, stamps, valid, renderer.rig, ego, command, route)
            world.step(follower.control(runtime.plan(frame).trajectory, ego.speed))
    return np.array(rows)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("gl_process")
def test_three_processes_over_dds_drive_as_one_process_does(start_process, weights: Path, tmp_path: Path):
    expected = drive_in_process(weights)
    sim = ["-p", "use_sim_time:=true"]
    planner = start_process(
        "-m", "rsd_ros.planner_node", "--ros-args", *sim, "-p", f"weights:={weights}", "-p", "sync_deadline:=5.0",
        "-p", "device:=cpu", "-p", "autostart:=false",
    )  # fmt: skip
    control = start_process(
        "-m", "rsd_ros.control_node", "--ros-args", *sim, "-p", "trajectory_wait:=10.0", "-p",
        f"odometry_topic:={WATCHED_ODOMETRY}",
    )  # fmt: skip
    episode = [argument for name, value in EPISODE.items() for argument in ("-p", f"{name}:={value}")]
    # It waits for a planner that listens, and the planner for the watcher: nobody drives before all is heard.
    world = start_process(
        "-m", "rsd_ros.world_node", "--ros-args", *episode, "-p", f"image_width:={SIZE[0]}", "-p",
        f"image_height:={SIZE[1]}", "-p", f"max_seconds:={TICKS / 10.0}", "-p", "control_timeout:=20.0",
        "-p", "driver_timeout:=600.0",
    )  # fmt: skip
    watcher = start_process(str(Path(__file__).with_name("drive_watcher.py")), str(tmp_path / "heard.json"), str(TICKS))

    assert watcher.popen.wait(700) == 0, watcher.output()
    assert world.popen.wait(60) == 0, world.output()
    assert "Traceback" not in "\n".join(process.output() for process in (planner, control, world))

    heard = json.loads((tmp_path / "heard.json").read_text())
    ticks = [row[0] for row in heard["odometry"]]
    assert len(ticks) == TICKS
    # Lock-step without a loss: every tick was planned on with all cameras, and answered by one command.
    assert heard["status"] == [[tick, PlannerStatus.STATE_OK] for tick in ticks]
    assert heard["commands"] == [[tick] for tick in ticks]

    driven = np.array([row[1:] for row in heard["odometry"]])  # x, y, speed
    assert driven[-1, 2] > 2.0
    np.testing.assert_allclose(driven, expected, atol=0.05)
