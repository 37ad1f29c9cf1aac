"""The embedded world on the topics of CARLA's ROS bridge: another process, driven over DDS."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32, String

from rsd_model.contracts import VehicleControl
from rsd_model.geometry import BENCH2DRIVE_CAMERAS, bench2drive_rig
from rsd_model.resources import config_path
from rsd_ros import qos
from rsd_ros.carla_rig import load_rig
from rsd_ros.command_messages import carla_message, max_wheel_angle_of
from rsd_ros.compat.messages import (
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleStatus,
    CarlaRoute,
    CarlaStatus,
    TFMessage,
)
from rsd_ros.conversions import InvalidInput, camera_rig, decode_image, path_points, stamp_to_ns, transform_matrix
from rsd_ros.route import RouteTracker
from rsd_ros.world_messages import (
    camera_info_message,
    events_json,
    global_plan_message,
    transform_message,
    vehicle_info_message,
    vehicle_status_message,
    waypoints_message,
)

pytestmark = pytest.mark.timeout(300)
START_SECONDS = 250  # a loaded machine takes its time to build a town
VEHICLE = "/carla/ego_vehicle"
SIZE = (96, 54)
TOPICS = {
    f"{VEHICLE}/CAM_FRONT/image": (Image, False),
    f"{VEHICLE}/CAM_BACK/image": (Image, False),
    f"{VEHICLE}/CAM_BACK/camera_info": (CameraInfo, False),
    f"{VEHICLE}/odometry": (Odometry, False),
    f"{VEHICLE}/speedometer": (Float32, False),
    f"{VEHICLE}/vehicle_status": (CarlaEgoVehicleStatus, False),
    f"{VEHICLE}/vehicle_info": (CarlaEgoVehicleInfo, True),
    f"{VEHICLE}/waypoints": (Path, True),
    f"{VEHICLE}/global_plan": (CarlaRoute, True),
    "/carla/status": (CarlaStatus, False),
    "/tf": (TFMessage, False),
    "/rsd/world/events": (String, True),
}
START = [
    "-m", "rsd_ros.world_node", "--ros-args", "-p", 'driver_node:="/driver"', "-p", "driver_timeout:=250.0",
    "-p", f"image_width:={SIZE[0]}", "-p", f"image_height:={SIZE[1]}", "-p", "vehicles:=4", "-p", "pedestrians:=2",
]  # fmt: skip


class Driver(Node):
    """Answers every clock tick with a command, and keeps what it hears."""

    def __init__(self, context: Any) -> None:
        super().__init__("driver", context=context)
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.clock: list[int] = []
        self.answer: Callable[[int], VehicleControl | None] = lambda tick: VehicleControl(throttle=0.6)
        self._commands = self.create_publisher(CarlaEgoVehicleControl, f"{VEHICLE}/vehicle_control_cmd", qos.CONTROL)
        for topic, (kind, latched) in TOPICS.items():
            profile = qos.LATCHED if latched else qos.SENSOR_OUT
            self.create_subscription(kind, topic, self.heard[topic].append, profile)
        for name in BENCH2DRIVE_CAMERAS:
            self.create_subscription(Image, f"{VEHICLE}/{name}/image", lambda message: None, qos.SENSOR_OUT)
        self.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK)

    def _on_clock(self, message: Clock) -> None:
        self.clock.append(stamp_to_ns(message.clock))
        control = self.answer(len(self.clock))
        if control is not None:
            self._commands.publish(carla_message(control, message.clock))

    def stamps(self, topic: str) -> list[int]:
        """Stamps of what came on a topic."""
        return [stamp_to_ns(message.header.stamp) for message in self.heard[topic]]


def events(driver: Driver) -> dict[str, Any]:
    heard = driver.heard["/rsd/world/events"]
    return json.loads(heard[-1].data) if heard else {}


@pytest.fixture
def driver(ros_context: object) -> Driver:
    node = Driver(ros_context)
    yield node
    node.destroy_node()


@pytest.mark.usefixtures("gl_process")
def test_the_world_speaks_as_carlas_bridge_and_moves_by_one_command_a_tick(driver, start_process, spin_until):
    process = start_process(*START, "-p", "max_seconds:=2.5")
    assert spin_until([driver], lambda: process.popen.poll() is not None, START_SECONDS)
    assert process.popen.returncode == 0, process.output()
    assert "Traceback" not in process.output()
    every_tick = [
        f"{VEHICLE}/{name}"
        for name in ("CAM_FRONT/image", "CAM_BACK/image", "CAM_BACK/camera_info", "odometry", "vehicle_status")
    ]
    spin_until(
        [driver], lambda: events(driver).get("time") == 2.5 and all(len(driver.heard[t]) == 25 for t in every_tick)
    )

    # Lock-step: 25 ticks of 0.1 s, each with all sensors of that stamp, in order.
    assert len(driver.clock) == 25
    np.testing.assert_array_equal(np.diff(driver.clock), 100_000_000)
    assert all(driver.stamps(topic) == driver.clock for topic in every_tick)

    image = driver.heard[f"{VEHICLE}/CAM_FRONT/image"][-1]
    assert (image.encoding, image.width, image.height, image.step) == ("bgra8", *SIZE, 4 * SIZE[0])
    assert image.header.frame_id == "ego_vehicle/CAM_FRONT"
    assert decode_image(image, "CAM_FRONT", SIZE).std() > 5.0

    odometry = driver.heard[f"{VEHICLE}/odometry"]
    assert (odometry[0].header.frame_id, odometry[0].child_frame_id) == ("map", "ego_vehicle")
    assert odometry[0].twist.twist.linear.x == 0.0
    assert odometry[-1].twist.twist.linear.x > 3.0
    assert driver.heard[f"{VEHICLE}/speedometer"][-1].data == pytest.approx(odometry[-1].twist.twist.linear.x)
    assert driver.heard[f"{VEHICLE}/vehicle_status"][-1].control.throttle == pytest.approx(0.6)

    status = driver.heard["/carla/status"]
    assert [s.frame for s in status] == list(range(25))
    assert status[0].synchronous_mode_running
    assert status[0].fixed_delta_seconds == pytest.approx(0.1)

    rig = bench2drive_rig(*SIZE)
    mounts = {t.child_frame_id: t for t in driver.heard["/tf"][0].transforms}
    assert mounts["ego_vehicle"].header.frame_id == "map"
    assert mounts["ego_vehicle/CAM_BACK"].header.frame_id == "ego_vehicle"
    built = camera_rig(
        ["CAM_BACK"],
        [driver.heard[f"{VEHICLE}/CAM_BACK/camera_info"][0]],
        [transform_matrix(mounts["ego_vehicle/CAM_BACK"].transform, "TF")],
    )
    np.testing.assert_allclose(built.cam_to_base[0], rig.cam_to_base[3], atol=1e-9)
    np.testing.assert_allclose(built.intrinsics[0], rig.intrinsics[3])

    route = path_points(driver.heard[f"{VEHICLE}/waypoints"][0], "map")
    start = odometry[0].pose.pose.position
    np.testing.assert_allclose(route[0], [start.x, start.y], atol=0.1)
    assert len(driver.heard[f"{VEHICLE}/global_plan"][0].poses) == len(route)
    assert max_wheel_angle_of(driver.heard[f"{VEHICLE}/vehicle_info"][0]) == pytest.approx(np.radians(70.0))

    report = events(driver)
    assert (report["outcome"], report["done"], report["time"]) == ("running", False, 2.5)
    assert report["score"]["collided"] is False
    assert report["score"]["comfort"] is not None  # told once it is over
    assert report["episode"]["town"] == "birch"


@pytest.mark.usefixtures("gl_process")
@pytest.mark.parametrize("pace", ["0.0", "4.0"])
def test_a_world_that_waits_for_nobody_still_takes_commands(driver, start_process, spin_until, pace):
    process = start_process(
        *START, "-p", "control_timeout:=0.0", "-p", f"realtime_factor:={pace}", "-p", "max_seconds:=6.0"
    )
    assert spin_until([driver], lambda: process.popen.poll() is not None, START_SECONDS)
    assert process.popen.returncode == 0, process.output()
    status = driver.heard[f"{VEHICLE}/vehicle_status"]
    assert status[0].control.throttle == 0.0 and status[-1].control.throttle == pytest.approx(0.6)
    assert driver.heard[f"{VEHICLE}/odometry"][-1].twist.twist.linear.x > 3.0


@pytest.mark.usefixtures("gl_process")
def test_a_tick_without_a_sound_command_goes_on_with_the_last_one_and_an_interrupt_ends_the_world(
    driver, start_process, spin_until
):
    def answer(tick: int) -> VehicleControl | None:
        return VehicleControl(throttle=0.5) if tick < 5 else VehicleControl(steer=3.0) if tick < 8 else None

    def throttles() -> list[float]:
        return [s.control.throttle for s in driver.heard[f"{VEHICLE}/vehicle_status"]]

    driver.answer = answer
    process = start_process(*START, "-p", "control_timeout:=0.1")
    assert spin_until([driver], lambda: throttles().count(0.5) >= 10, START_SECONDS), process.output()
    heard = throttles()
    assert set(heard[heard.index(0.5) :]) == {0.5}
    for sentence in ("steer 3.0 is outside -1 .. 1: command refused", "going on with the last"):
        assert spin_until([driver], lambda sentence=sentence: sentence in process.output()), process.output()
    assert process.stop() == 0, process.output()
    assert "Traceback" not in process.output()
    ticks = len(driver.clock)  # an interrupted drive is reported on, too
    assert spin_until([driver], lambda: events(driver).get("time", 0.0) >= 0.1 * (ticks - 2))


@pytest.mark.usefixtures("gl_process")
@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("town", "nowhere", "nowhere"),
        ("scenario", "Earthquake", "Earthquake"),
        ("route", "-1", "route"),
        ("weather", "hail", "fog"),
    ],
)
def test_a_world_that_cannot_be_built_says_why_and_exits_with_an_error(start_process, name: str, value: str, word: str):
    process = start_process("-m", "rsd_ros.world_node", "--ros-args", "-p", f"{name}:={value}")
    assert process.popen.wait(START_SECONDS) == 4
    assert word in process.output()
    assert "Traceback" not in process.output()


def test_sensors_are_sent_as_the_bridge_qualifies_them(ros_context):
    node = Node("looking", context=ros_context)
    publisher = node.create_publisher(Image, "/image", qos.SENSOR_OUT)
    info = node.get_publishers_info_by_topic("/image")[0].qos_profile
    assert info.reliability == ReliabilityPolicy.RELIABLE
    assert info.durability == DurabilityPolicy.VOLATILE
    assert publisher.topic_name == "/image"
    node.destroy_node()


def test_the_sensor_file_is_the_bench2drive_rig():
    expected, rig = bench2drive_rig(), load_rig(config_path("carla/bench2drive_rig.json"))
    assert rig.names == expected.names
    np.testing.assert_allclose(rig.intrinsics, expected.intrinsics)
    np.testing.assert_allclose(rig.cam_to_base, expected.cam_to_base, atol=1e-12)
    np.testing.assert_array_equal(rig.sizes, expected.sizes)
    half = load_rig(config_path("carla/bench2drive_rig.json"), (800, 450))
    np.testing.assert_allclose(half.intrinsics[0, 0, 0], expected.intrinsics[0, 0, 0] / 2.0)


def test_a_broken_sensor_file_is_named(tmp_path):
    for text in (
        "{",
        "{}",
        '{"objects": [{"sensors": [{"type": "sensor.camera.rgb"}]}]}',
        '{"objects": [{"sensors": []}]}',
    ):
        file = tmp_path / "rig.json"
        file.write_text(text)
        with pytest.raises(InvalidInput, match=r"rig\.json"):
            load_rig(file)


def test_route_and_commands_survive_their_messages():
    points = np.stack([np.arange(0.0, 60.0), np.zeros(60), np.full(60, 0.3)], axis=1)
    commands = np.full(60, 3)
    commands[30:45] = 0
    tracker = RouteTracker(path_points(waypoints_message(points, Time()), "map"))
    plan = global_plan_message(points, commands)
    assert set(plan.road_options) == {1, 4}
    positions = np.array([[p.position.x, p.position.y] for p in plan.poses])
    tracker.set_commands(positions, np.array(plan.road_options) - 1)
    np.testing.assert_array_equal(tracker.commands, commands)


def test_what_the_planner_reads_of_the_worlds_route_is_what_the_world_says_in_process():
    from rsd_world.world import Episode, World

    world = World(Episode(town="birch", vehicles=0, pedestrians=0))
    told = world.tracker
    tracker = RouteTracker(told.points[:, :2])
    tracker.set_commands(told.points[:, :2], told.commands)
    for s in np.arange(0.0, told.length - 1.0, 7.3):
        position, yaw = told.pose(s, lateral=0.3)
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:3, 3] = position
        world.set_ego(pose, 5.0)
        place = tracker.update(position[:2])
        ahead, expected = tracker.ahead(pose, place.along), world.route_ahead()
        shared = min(len(ahead), len(expected))
        assert abs(len(ahead) - len(expected)) <= 1
        np.testing.assert_allclose(ahead[:shared], expected[:shared], atol=0.1)
        assert tracker.command(place.along) == world.command() or abs(s % 1.0) > 0.9 or abs(s % 1.0) < 0.1
    status = vehicle_status_message(world.ego_state(), VehicleControl(steer=0.1), Time())
    assert status.velocity == pytest.approx(5.0)
    assert json.loads(events_json(world))["outcome"] == "running"


def test_reports_on_the_way_score_the_drive_without_its_comfort():
    from rsd_world.world import Episode, World

    world = World(Episode(town="birch", vehicles=0, pedestrians=0))
    for _ in range(4):
        world.step(VehicleControl(brake=1.0))
    on_the_way, at_the_end = (json.loads(events_json(world, closing))["score"] for closing in (False, True))
    assert (on_the_way.pop("comfort"), at_the_end.pop("comfort")) == (None, 1.0)
    assert on_the_way == at_the_end


def test_camera_info_and_mounts_carry_the_rig():
    rig = bench2drive_rig(*SIZE)
    infos = [camera_info_message(rig, i, Time(), f"ego_vehicle/{n}") for i, n in enumerate(rig.names)]
    mounts = [
        transform_matrix(transform_message(m, "ego_vehicle", n, Time()).transform, n)
        for n, m in zip(rig.names, rig.cam_to_base, strict=True)
    ]
    built = camera_rig(rig.names, infos, mounts)
    np.testing.assert_allclose(built.cam_to_base, rig.cam_to_base, atol=1e-9)
    np.testing.assert_array_equal(built.intrinsics, rig.intrinsics)


def test_vehicle_info_names_its_steered_wheels():
    from rsd_world.dynamics import EgoParameters

    info = vehicle_info_message(EgoParameters(), "ego_vehicle")
    assert [wheel.max_steer_angle > 0 for wheel in info.wheels] == [True, True, False, False]
    assert info.wheels[0].position.y > 0 > info.wheels[1].position.y
