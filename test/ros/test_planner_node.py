"""The planner node over DDS: outputs, a real frame, lifecycle, weights, what it imports."""

from __future__ import annotations

import array
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from nuscenes_frame import FOLDER, Frame, draw_boxes, load_frame
from planner_bench import Bench, StraightRuntime, bench
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Int8

from rsd_model.checkpoints.weights import save_weights
from rsd_model.config import load_model_config
from rsd_model.contracts import Command, EgoState
from rsd_model.geometry import project_to_image
from rsd_model.inference import PlannerRuntime
from rsd_model.network import Planner
from rsd_ros import qos
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus
from rsd_ros.conversions import decode_image, ns_to_stamp, odometry_message, stamp_to_ns
from rsd_ros.plan_publishers import TOPICS
from rsd_ros.planner_parameters import PLANNER_PARAMETERS
from rsd_ros.program import EXIT_NOT_STARTED
from rsd_ros.world_messages import transform_message

pytestmark = pytest.mark.timeout(300)
START_SECONDS = 200  # a loaded machine takes its time to import torch
OUT = Path(__file__).resolve().parents[2] / "out" / "test"


@pytest.fixture(scope="module")
def network() -> PlannerRuntime:
    """The real network at its smallest, untrained."""
    return PlannerRuntime(None, "nano", device="cpu")


def numbers(message: Any) -> Iterator[float]:
    """All numbers in a message, however deep."""
    if isinstance(message, int | float):
        yield float(message)
    elif isinstance(message, array.array | np.ndarray):
        yield from np.asarray(message, dtype=float)
    elif isinstance(message, list):
        for item in message:
            yield from numbers(item)
    elif not isinstance(message, str | bytes):
        for name in message.get_fields_and_field_types():
            yield from numbers(getattr(message, name))


def test_every_output_carries_the_plan_with_the_images_stamp_in_the_vehicles_frame(ros_domain: int):
    with bench(ros_domain) as b:
        b.start()
        assert b.drive_until(lambda: all(b.vehicle.received[name] for name in TOPICS))
        names = ("path", "risk_grid", "risk", "objects", "status")

        def all_of_one_plan() -> bool:  # the first messages of a topic may be sent before we have found it
            plans = {stamp_to_ns(message.header.stamp) for message in b.vehicle.received["trajectory"]}
            return all(stamp_to_ns(b.vehicle.received[name][-1].header.stamp) in plans for name in names)

        assert b.drive_until(all_of_one_plan)
        assert all(b.vehicle.received[name][-1].header.frame_id == "ego_vehicle" for name in names)
        plan = b.vehicle.plans()[-1]
        assert [p.position.x for p in plan.poses] == pytest.approx([4.0, 8.0, 12.0, 16.0, 20.0, 24.0])
        assert [v.x for v in plan.velocities] == pytest.approx([8.0] * 6)
        assert [c.command for c in plan.candidates] == list(range(6))
        grid = b.vehicle.received["risk_grid"][-1]
        assert (grid.info.width, grid.info.height, set(grid.data)) == (6, 4, {25})
        assert b.vehicle.received["risk"][-1].data[0] == pytest.approx(0.25)
        thing = b.vehicle.received["objects"][-1].objects[0]
        assert (thing.class_name, thing.size.x, len(thing.futures)) == ("car", 4.5, 6)
        assert thing.risk == pytest.approx(0.7)
        names = {marker.ns for marker in b.vehicle.received["markers"][-1].markers}
        assert {"objects", "futures", "plan", "map/Solid", "top_risk"} <= names
        assert [stage.name for stage in b.vehicle.status().stages] == ["sync", "convert", "network", "publish"]


def send_real_frame(b: Bench, frame: Frame, transport: str, images: dict[str, Any]) -> int:
    """Publish all six cameras once; returns the newest stamp."""
    now = b.vehicle.get_clock().now().nanoseconds
    for camera in frame.cameras:
        b.vehicle.info_out[camera.name].publish(camera.info(now))
        images[camera.name].publish(camera.raw(now) if transport == "raw" else camera.compressed(now))
    newest = now + max(camera.offset for camera in frame.cameras)
    ego = EgoState(newest / 1e9, frame.ego_to_map, np.array([5.0, 0.0, 0.0]), np.zeros(3), 0.0)
    b.vehicle.odometry_out.publish(odometry_message(ego, ns_to_stamp(newest), "map", "ego_vehicle"))
    return newest


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the real frame is not at {FOLDER}")
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_real_frame_is_planned_on_and_its_boxes_land_on_their_objects(
    ros_domain: int, network: PlannerRuntime, transport: str
):
    frame = load_frame()
    network.reset()
    with bench(
        ros_domain,
        network,
        sim_time=False,
        image_transport=transport,
        require_route=False,
        min_score=0.0,
        camera_timeout=5.0,
    ) as b:
        vehicle = b.vehicle
        images = vehicle.image_out
        if transport == "compressed":
            images = {
                name: vehicle.create_publisher(CompressedImage, f"{publisher.topic_name}/compressed", qos.SENSOR_OUT)
                for name, publisher in vehicle.image_out.items()
            }
        vehicle.send_transforms(
            [transform_message(c.cam_to_ego, "ego_vehicle", c.name, ns_to_stamp(0)) for c in frame.cameras]
        )
        sent: list[int] = []

        def whole_plans() -> list[PlannedTrajectory]:
            return [p for p in vehicle.plans() if p.valid_share == 1.0 and stamp_to_ns(p.header.stamp) in sent]

        for _ in range(20):
            sent.append(send_real_frame(b, frame, transport, images))
            if b.spin_until(lambda: all(vehicle.received[name] for name in TOPICS) and whole_plans(), 5.0):
                break
        assert whole_plans(), b.explain()
        for name in TOPICS:
            values = np.array(list(numbers(vehicle.received[name][-1])))
            assert len(values)
            assert np.isfinite(values).all(), name
        rig = b.planner.inputs.calibration.rig()

    check_projection(frame, rig)
    pictures = [decode_image(camera.raw(0), camera.name, (1600, 900)) for camera in frame.cameras]
    OUT.mkdir(parents=True, exist_ok=True)
    picture = draw_boxes(frame, rig, pictures)
    cv2.imwrite(str(OUT / f"real_frame_{transport}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def check_projection(frame: Frame, rig: Any) -> None:
    """Boxes through the node's rig, against the sample's own LiDAR-to-camera matrices (another chain of transforms)."""
    seen = 0
    centers = np.column_stack([frame.boxes_lidar[:, :3], np.ones(len(frame.boxes_lidar))])
    in_ego = centers @ frame.lidar_to_ego[:3].T
    for i, camera in enumerate(frame.cameras):
        projected = centers @ camera.lidar_to_pixels.T
        pixels, depth = project_to_image(rig, i, in_ego)
        expected = projected[:, :2] / projected[:, 2:]
        inside = (projected[:, 2] > 2.0) & (expected > 0).all(axis=1) & (expected < [1600, 900]).all(axis=1)
        seen += int(inside.sum())
        # The sample's matrices hold how far the vehicle moved between LiDAR and camera (up to 0.3 m), TF does not.
        np.testing.assert_allclose(depth[inside], projected[inside, 2], atol=0.6)
        error = np.linalg.norm(pixels[inside] - expected[inside], axis=1)
        assert (error < 12.0 + 1266.0 * 0.4 / depth[inside]).all(), (camera.name, error.max())
    assert seen >= 60


def test_a_command_topic_overrides_what_the_route_says(ros_domain: int):
    with bench(ros_domain, command_topic="/command") as b:
        b.start()
        assert b.runtime.frames[-1].command == Command.LANEFOLLOW
        publisher = b.vehicle.create_publisher(Int8, "/command", qos.COMMAND)
        assert b.spin_until(publisher.get_subscription_count)
        publisher.publish(Int8(data=2))
        assert b.drive_until(lambda: b.runtime.frames[-1].command == Command.RIGHT)
        publisher.publish(Int8(data=77))
        assert b.drive_until(lambda: any("road option 77" in text for text in b.vehicle.status().messages))
        assert b.runtime.frames[-1].command == Command.RIGHT


@pytest.mark.parametrize("policy", ["deadline", "approximate"])
def test_both_policies_plan_from_complete_sets(ros_domain: int, policy: str):
    with bench(ros_domain, sync_policy=policy) as b:
        b.start()
        assert b.drive_until(lambda: len(b.vehicle.plans()) >= 5)
        assert all(frame.valid.all() for frame in b.runtime.frames)


def test_deactivated_it_is_silent_and_unsubscribed_and_active_again_it_plans(ros_domain: int):
    with bench(ros_domain) as b:
        b.start()
        change = b.vehicle.create_client(ChangeState, "/rsd/planner/change_state")
        assert b.spin_until(change.service_is_ready)
        for label, subscribers in (("deactivate", 0), ("activate", 1)):
            request = ChangeState.Request()
            request.transition.label = label
            done = change.call_async(request)
            assert b.spin_until(done.done)
            assert done.result().success
            image = b.vehicle.image_out["CAM_FRONT"]
            assert b.spin_until(lambda n=subscribers, image=image: image.get_subscription_count() == n)
            if subscribers == 0:
                tick = b.vehicle.tick()
                assert not b.spin_until(
                    lambda tick=tick: any(stamp_to_ns(p.header.stamp) >= tick for p in b.vehicle.plans()), 0.5
                )
        b.vehicle.forget()
        assert b.drive_until(b.vehicle.plans)


def test_every_parameter_is_described_and_bounded_and_a_wrong_one_stops_the_start(ros_domain: int, start_process):
    assert all(len(parameter.description) > 5 for parameter in PLANNER_PARAMETERS)
    with bench(ros_domain) as b:
        described = b.planner.describe_parameters([parameter.name for parameter in PLANNER_PARAMETERS])
    for parameter, descriptor in zip(PLANNER_PARAMETERS, described, strict=True):
        assert descriptor.description == parameter.description
        if isinstance(parameter.default, float) or (
            isinstance(parameter.default, int) and not isinstance(parameter.default, bool)
        ):
            assert descriptor.floating_point_range or descriptor.integer_range
    process = start_process("-m", "rsd_ros.planner_node", "--ros-args", "-p", "sync_policy:=guess")
    assert process.popen.wait(START_SECONDS) == EXIT_NOT_STARTED
    assert "sync_policy is 'guess', expected one of: deadline, approximate" in process.output()


@pytest.fixture(scope="module")
def nano_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_weights(Planner(load_model_config("nano")), path)
    return path


class Listener(Node):
    """Hears what a planner that cannot start says."""

    def __init__(self, context: Any) -> None:
        super().__init__("listener", context=context)
        self.errors: list[str] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.errors += [status.message for status in message.status if status.name == "rsd/planner: start"]


@pytest.mark.parametrize("fault", ["missing", "truncated", "other config"])
def test_weights_that_cannot_be_used_end_the_start_with_a_sentence_and_an_exit_code(
    ros_context, start_process, spin_until, nano_weights: Path, tmp_path: Path, fault: str
):
    weights, config, sentence = tmp_path / "mine.safetensors", "nano", "no such weight file"
    if fault == "truncated":
        weights.write_bytes(nano_weights.read_bytes()[: os.path.getsize(nano_weights) // 2])
        sentence = "not a whole safetensors file"
    if fault == "other config":
        weights, config, sentence = nano_weights, "tiny", "made for another configuration than 'tiny'"
    listener = Listener(ros_context)
    process = start_process(
        "-m", "rsd_ros.planner_node", "--ros-args", "-p", f"weights:={weights}", "-p", f"config:={config}"
    )
    assert spin_until([listener], lambda: listener.errors and process.popen.poll() is not None, START_SECONDS), (
        process.output()
    )
    assert process.popen.returncode == EXIT_NOT_STARTED
    assert sentence in process.output()
    assert str(weights) in process.output()
    assert "Traceback" not in process.output()
    assert sentence in listener.errors[-1]
    listener.destroy_node()


def test_a_network_for_another_number_of_cameras_is_refused(ros_domain: int, start_process):
    process = start_process(
        "-m", "rsd_ros.planner_node", "--ros-args", "-p", "weights:=random", "-p", 'cameras:=["a", "b"]',
        "-p", 'image_topics:=["/a", "/b"]', "-p", 'camera_info_topics:=["/a_info", "/b_info"]',
    )  # fmt: skip
    assert process.popen.wait(START_SECONDS) == EXIT_NOT_STARTED
    assert "cameras has 2 names, the network takes 6" in process.output()


def test_a_topic_name_that_is_none_is_said_and_leaves_nothing_running(ros_domain: int):
    with bench(ros_domain, odometry_topic="/odo metry") as b:
        assert b.planner.planning is None
        # what `main` does before it ends the process
        assert b.spin_until(lambda: b.planner.diagnostics.publish() or b.vehicle.diagnostic("start"))
        assert "cannot be activated: Invalid topic name" in b.vehicle.diagnostic("start").message
        assert not any(publisher.get_subscription_count() for publisher in b.vehicle.image_out.values())


PROBE = """
import sys
import rclpy
from rsd_ros import planner_node
real = planner_node.PlannerNode.on_activate
def on_activate(self, state):
    self.create_timer(0.2, rclpy.shutdown)
    return real(self, state)
planner_node.PlannerNode.on_activate = on_activate
code = planner_node.main(["--ros-args", "-p", "weights:=random"])
print("CODE", code)
print("WORLD", sorted(name for name in sys.modules if name.split(".")[0] in ("rsd_world", "rsd_offline", "panda3d")))
print("TORCH", "torch" in sys.modules)
"""


def test_the_planner_process_imports_nothing_of_the_world(ros_domain: int, start_process):
    process = start_process("-c", PROBE)
    process.popen.wait(START_SECONDS)
    output = process.output()
    assert "CODE 0" in output, output
    assert "TORCH True" in output
    assert "WORLD []" in output


def test_a_planner_that_is_interrupted_or_terminated_ends_cleanly(ros_context, start_process, spin_until):
    listener = Listener(ros_context)
    process = start_process("-m", "rsd_ros.planner_node", "--ros-args", "-p", "weights:=random")
    assert spin_until([listener], lambda: "network loaded" in listener.errors, START_SECONDS), process.output()
    assert process.stop() == 0, process.output()
    assert "Traceback" not in process.output()
    listener.destroy_node()


def test_a_slow_network_does_not_hold_back_the_other_callbacks(ros_domain: int):
    runtime = StraightRuntime()
    with bench(ros_domain, runtime, plan_timeout=0.4) as b:
        b.start()
        with runtime.held():
            b.vehicle.tick()
            assert b.spin_until(runtime.waiting.is_set)
            # While this inference runs, the watchdog goes on: it sees that no plan comes, and stops the vehicle.
            for _ in range(20):
                b.wait_for_images(b.vehicle.tick())
                if b.spin_until(b.vehicle.stops, 0.2):
                    break
            assert "too slow for this machine" in b.vehicle.stops()[-1].stop_reason
            assert b.spin_until(lambda: b.vehicle.status().state == PlannerStatus.STATE_STOPPING)
            assert not any(math.isnan(camera.age) for camera in b.vehicle.status().cameras)
