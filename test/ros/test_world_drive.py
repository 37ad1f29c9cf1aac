"""The whole graph: world, planner and control as three processes, against the same drive in one process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node

from rsd_model.checkpoints.weights import save_weights
from rsd_model.config import load_model_config
from rsd_model.contracts import FrameSet
from rsd_model.control import TrajectoryFollower
from rsd_model.geometry import bench2drive_rig
from rsd_model.inference import PlannerRuntime
from rsd_model.network import Planner
from rsd_ros import qos
from rsd_ros.compat.messages import CarlaEgoVehicleControl, PlannerStatus
from rsd_ros.conversions import stamp_to_ns
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


class Watcher(Node):
    """Hears the drive over DDS, and lets the planner begin."""

    def __init__(self, context: Any) -> None:
        super().__init__("watcher", context=context)
        self.odometry: list[Odometry] = []
        self.status: list[PlannerStatus] = []
        self.commands: list[CarlaEgoVehicleControl] = []
        self.senders: dict[str, int] = {}  # connected ones, by topic
        for kind, topic, heard, profile in (
            (Odometry, "/carla/ego_vehicle/odometry", self.odometry, qos.ODOMETRY),
            (PlannerStatus, "/rsd/planner/status", self.status, qos.STATUS),
            (CarlaEgoVehicleControl, "/carla/ego_vehicle/vehicle_control_cmd", self.commands, qos.CONTROL),
        ):
            matched = functools.partial(self._on_matched, topic)
            self.create_subscription(
                kind, topic, heard.append, profile, event_callbacks=SubscriptionEventCallbacks(matched=matched)
            )
        self.planner = self.create_client(ChangeState, "/rsd/planner/change_state")

    def _on_matched(self, topic: str, info: Any) -> None:
        self.senders[topic] = info.current_count

    def hears_all(self) -> bool:
        """Whether a sender of each topic is connected: what it sends from now on arrives."""
        return len(self.senders) == 3 and all(self.senders.values())


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("gl_process")
def test_three_processes_over_dds_drive_as_one_process_does(ros_context, start_process, spin_until, weights: Path):
    expected = drive_in_process(weights)  # before the watcher has anything to hear: its queues are short
    watcher = Watcher(ros_context)
    sim = ["-p", "use_sim_time:=true"]
    planner = start_process(
        "-m", "rsd_ros.planner_node", "--ros-args", *sim, "-p", f"weights:={weights}", "-p", "sync_deadline:=5.0",
        "-p", "device:=cpu", "-p", "autostart:=false",
    )  # fmt: skip
    control = start_process("-m", "rsd_ros.control_node", "--ros-args", *sim, "-p", "trajectory_wait:=10.0")
    episode = [argument for name, value in EPISODE.items() for argument in ("-p", f"{name}:={value}")]
    world = start_process(
        "-m", "rsd_ros.world_node", "--ros-args", *episode, "-p", f"image_width:={SIZE[0]}", "-p",
        f"image_height:={SIZE[1]}", "-p", f"max_seconds:={TICKS / 10.0}", "-p", "control_timeout:=20.0",
        "-p", "driver_timeout:=400.0",
    )  # fmt: skip

    def outputs() -> str:
        return "\n".join(process.output() for process in (planner, control, world))

    def change(label: str) -> None:
        request = ChangeState.Request()
        request.transition.label = label
        done = watcher.planner.call_async(request)
        assert spin_until([watcher], done.done, 120), outputs()
        assert done.result().success, outputs()

    # The world waits for a planner that listens, and the planner for its activation: nobody drives before all is heard.
    assert spin_until([watcher], watcher.planner.service_is_ready, 120), outputs()
    change("configure")
    assert spin_until([watcher], watcher.hears_all, 120), f"connected: {watcher.senders}\n{outputs()}"
    change("activate")
    assert spin_until([watcher], lambda: world.popen.poll() is not None, 500)
    spin_until([watcher], lambda: min(len(watcher.status), len(watcher.odometry), len(watcher.commands)) >= TICKS, 30)
    assert world.popen.returncode == 0, outputs()
    assert "Traceback" not in outputs()

    ticks = [stamp_to_ns(message.header.stamp) for message in watcher.odometry]
    assert len(ticks) == TICKS
    # Lock-step without a loss: every tick was planned on with all cameras, and answered by one command.
    assert [stamp_to_ns(message.header.stamp) for message in watcher.status] == ticks
    assert all(message.state == PlannerStatus.STATE_OK for message in watcher.status)
    assert [stamp_to_ns(message.header.stamp) for message in watcher.commands] == ticks

    positions = [m.pose.pose.position for m in watcher.odometry]
    driven = np.array([[p.x, p.y] for p in positions])
    speeds = np.array([m.twist.twist.linear.x for m in watcher.odometry])
    assert speeds[-1] > 2.0
    np.testing.assert_allclose(driven, expected[:, :2], atol=0.05)
    np.testing.assert_allclose(speeds, expected[:, 2], atol=0.05)
    watcher.destroy_node()
