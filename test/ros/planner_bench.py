"""A planner node in one context and a vehicle with six cameras in another, both in this process, talking over DDS."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from rsd_model.contracts import (
    DetectedObjects,
    EgoState,
    FrameSet,
    MapElements,
    PlannerOutput,
    RiskGrid,
)
from rsd_model.geometry import BENCH2DRIVE_CAMERAS, bench2drive_rig, pose_matrix
from rsd_ros import qos
from rsd_ros.compat import tf2_ros
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus
from rsd_ros.conversions import image_message, ns_to_stamp, odometry_message, stamp_to_ns
from rsd_ros.plan_publishers import TOPICS
from rsd_ros.planner_node import PlannerNode
from rsd_ros.world_messages import transform_message

VEHICLE = "/carla/ego_vehicle"
SIZE = (160, 90)
SECOND = 1_000_000_000


def length_of(plan: PlannedTrajectory) -> float:
    """m that the vehicle travels on a plan."""
    points = np.array([[0.0, 0.0], *[[p.position.x, p.position.y] for p in plan.poses]])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


class StraightRuntime:
    """Stands in for the network: drives straight at 8 m/s and notes what it was given."""

    def __init__(self) -> None:
        self.frames: list[FrameSet] = []
        self.resets = 0
        self.waiting = threading.Event()  # an inference has begun while held
        self._go = threading.Event()
        self._go.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inferences that begin in here end when it is left."""
        self._go.clear()
        try:
            yield
        finally:
            self._go.set()

    def reset(self) -> None:
        self.resets += 1

    def plan(self, frame: FrameSet) -> PlannerOutput:
        self.frames.append(frame)
        if not self._go.is_set():
            self.waiting.set()
            self._go.wait(60.0)
        straight = np.stack([4.0 * np.arange(1, 7), np.zeros(6)], axis=1)
        objects = DetectedObjects(
            boxes=np.array([[12.0, 2.0, 0.8, 4.5, 1.9, 1.6, 0.1]]), velocities=np.array([[3.0, 0.0]]),
            labels=np.array([0]), scores=np.array([0.9]), risks=np.array([0.7]), futures=np.zeros((1, 6, 6, 2)),
            future_probabilities=np.full((1, 6), 1.0 / 6.0),
        )  # fmt: skip
        elements = MapElements(np.array([[[0.0, 2.0], [30.0, 2.0]]]), np.array([1]), np.array([0.8]))
        grid = RiskGrid(np.full((4, 6), 0.25, np.float32), 1.0, (-3.0, -2.0))
        return PlannerOutput(
            frame.stamp,
            frame.command,
            straight,
            np.tile(straight, (6, 1, 1)),
            objects,
            elements,
            grid,
            frame.valid.mean(),
        )


class Vehicle(Node):
    """Publishes what CARLA's bridge would and keeps what the planner answers."""

    def __init__(self, context: rclpy.Context, sim_time: bool = False) -> None:
        super().__init__("vehicle", context=context)
        self.rig = bench2drive_rig(*SIZE)
        self.cameras = list(BENCH2DRIVE_CAMERAS)
        self.muted: set[str] = set()
        self.speed, self.x = 8.0, 0.0
        self.sim_time = 10 * SECOND if sim_time else None
        self.spoil_image: Callable[[str, Image], None] = lambda name, message: None
        self.spoil_info: Callable[[str, CameraInfo], None] = lambda name, message: None
        self.spoil_odometry: Callable[[Odometry], None] = lambda message: None
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._pixels = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        self.image_out = {n: self.create_publisher(Image, f"{VEHICLE}/{n}/image", qos.SENSOR_OUT) for n in self.cameras}
        self.info_out = {
            n: self.create_publisher(CameraInfo, f"{VEHICLE}/{n}/camera_info", qos.SENSOR_OUT) for n in self.cameras
        }
        self.odometry_out = self.create_publisher(Odometry, f"{VEHICLE}/odometry", qos.SENSOR_OUT)
        self.route_out = self.create_publisher(Path, f"{VEHICLE}/waypoints", qos.LATCHED)
        self._clock_out = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._tf = tf2_ros.StaticTransformBroadcaster(self)
        for name, (kind, profile) in TOPICS.items():
            self.create_subscription(kind, f"/rsd/planner/{name}", self.received[name].append, profile)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.received["diagnostics"].append, qos.DIAGNOSTICS)

    def send_mounts(self, names: list[str] | None = None) -> None:
        """Publish where the cameras sit."""
        mounts = dict(zip(self.cameras, self.rig.cam_to_base, strict=True))
        stamp = self.get_clock().now().to_msg()
        self.send_transforms(
            [transform_message(mounts[n], "ego_vehicle", f"ego_vehicle/{n}", stamp) for n in names or self.cameras]
        )

    def send_transforms(self, transforms: list[TransformStamped]) -> None:
        """Publish on /tf_static."""
        self._tf.sendTransform(transforms)

    def send_route(self, length: float = 500.0) -> None:
        """Publish a straight route from the origin on."""
        path = Path()
        path.header.frame_id = "map"
        for x in np.arange(0.0, length + 0.1, 2.0):
            pose = PoseStamped()
            pose.pose.position.x = float(x)
            path.poses.append(pose)
        self.route_out.publish(path)

    def now(self) -> int:
        """Stamp of the next tick in ns."""
        return self.get_clock().now().nanoseconds if self.sim_time is None else self.sim_time

    def tick(self, seconds: float = 0.1) -> int:
        """Move on by `seconds` and publish all sensors; returns the stamp in ns."""
        self.x += self.speed * seconds
        if self.sim_time is not None:
            self.sim_time += round(seconds * SECOND)
            self._clock_out.publish(Clock(clock=ns_to_stamp(self.sim_time)))
        now = self.now()
        stamp = ns_to_stamp(now)
        pose = pose_matrix(np.array([self.x, 0.0, 0.0]), 0.0)
        ego = EgoState(now / SECOND, pose, np.array([self.speed, 0.0, 0.0]), np.zeros(3), 0.0)
        odometry = odometry_message(ego, ns_to_stamp(now), "map", "ego_vehicle")
        self.spoil_odometry(odometry)
        self.odometry_out.publish(odometry)
        for i, name in enumerate(self.cameras):
            if name not in self.muted:
                self._send_camera(i, name, stamp)
        return now

    def _send_camera(self, i: int, name: str, stamp: Any) -> None:
        info = CameraInfo(width=SIZE[0], height=SIZE[1], k=self.rig.intrinsics[i].ravel().tolist())
        info.header.stamp, info.header.frame_id = stamp, f"ego_vehicle/{name}"
        self.spoil_info(name, info)
        self.info_out[name].publish(info)
        image = image_message(self._pixels, stamp, f"ego_vehicle/{name}")
        self.spoil_image(name, image)
        self.image_out[name].publish(image)

    @property
    def expects_answer(self) -> bool:
        """Whether the planner gets an image at all."""
        return len(self.muted) < len(self.cameras)

    # --- what came back

    def was_answered(self, stamp: int) -> bool:
        """Whether a status of this tick has come."""
        return any(0 <= stamp_to_ns(message.header.stamp) - stamp < SECOND for message in self.received["status"][-3:])

    def plans(self) -> list[PlannedTrajectory]:
        """Trajectories that were planned from images."""
        return [message for message in self.received["trajectory"] if not message.is_stop]

    def stops(self) -> list[PlannedTrajectory]:
        """Stop trajectories."""
        return [message for message in self.received["trajectory"] if message.is_stop]

    def status(self) -> PlannerStatus:
        """The newest status; an empty one before the first."""
        return (
            self.received["status"][-1] if self.received["status"] else PlannerStatus(state=PlannerStatus.STATE_ERROR)
        )

    def level(self) -> bytes:
        """Level of the planner's newest diagnostics."""
        diagnostic = self.diagnostic()
        return diagnostic.level if diagnostic else DiagnosticStatus.STALE

    def diagnostic(self, name: str = "planning") -> DiagnosticStatus | None:
        """The newest state of one check of the planner."""
        found = self._checks(name)
        return found[-1] if found else None

    def told(self, name: str) -> list[str]:
        """All sentences of one check."""
        return [status.message for status in self._checks(name)]

    def _checks(self, name: str) -> list[DiagnosticStatus]:
        return [s for a in self.received["diagnostics"] for s in a.status if s.name == f"rsd/planner: {name}"]

    def forget(self) -> None:
        """Empty what was received."""
        for messages in self.received.values():
            messages.clear()


class Bench:
    """Both ends, wired and spinning."""

    def __init__(self, vehicle: Vehicle, planner: PlannerNode, runtime: Any) -> None:
        self.vehicle, self.planner, self.runtime = vehicle, planner, runtime
        self._executor = SingleThreadedExecutor(context=vehicle.context)
        self._executor.add_node(vehicle)

    def spin_until(self, condition: Callable[[], Any], seconds: float = 30.0) -> bool:
        """Receive until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
        return bool(condition())

    def connect(self) -> None:
        """Until the planner hears all of the vehicle and the vehicle all of the planner."""
        vehicle = self.vehicle
        ends = [*vehicle.image_out.values(), *vehicle.info_out.values(), vehicle.odometry_out, vehicle.route_out]
        assert self.spin_until(lambda: all(end.get_subscription_count() for end in ends))
        assert self.spin_until(lambda: all(vehicle.count_publishers(f"/rsd/planner/{name}") for name in TOPICS))

    def drive_until(self, condition: Callable[[], Any], ticks: int = 100, seconds: float = 0.1) -> bool:
        """Tick by `seconds` of the vehicle's time until the condition holds, each time waiting for the answer.

        A tick that it has no answer to (no usable image) gives it 0.2 s.
        """
        for _ in range(ticks):
            if condition():
                break
            stamp = self.vehicle.tick(seconds)
            patience = 5.0 if self.vehicle.expects_answer else 0.2
            self.spin_until(lambda stamp=stamp: condition() or self.vehicle.was_answered(stamp), patience)
        return bool(condition())

    def start(self) -> None:
        """Mounts, route and ticks until a first plan has come back."""
        self.connect()
        self.vehicle.send_mounts()
        self.vehicle.send_route()
        assert self.drive_until(lambda: self.vehicle.plans() and self.vehicle.diagnostic()), self.explain()
        self.vehicle.forget()

    def settle(self) -> int:
        """Tick until the newest tick is answered, and return its stamp: nothing waits in the planner any more."""
        for _ in range(5):
            stamp = self.vehicle.tick()
            if self.spin_until(lambda stamp=stamp: self.vehicle.was_answered(stamp), 5.0):
                return stamp
        raise AssertionError(self.explain())

    def wait_for_images(self, stamp: int) -> None:
        """Until the planner has all images of this tick."""
        assert self.spin_until(lambda: all(c.stamp == stamp for c in self.planner.inputs.cameras)), self.explain()

    def explain(self) -> str:
        """What the planner said last."""
        heard = self.vehicle.received
        return f"status: {heard['status'][-1:]}\ndiagnostics: {heard['diagnostics'][-1:]}"

    def close(self) -> None:
        """Take the vehicle off the graph, with all that it has latched."""
        self._executor.shutdown()
        self.vehicle.destroy_node()


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Spin a node in a thread of its own."""
    over = threading.Event()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def spin() -> None:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        executor.shutdown()


@contextmanager
def two_contexts(domain: int) -> Iterator[list[rclpy.Context]]:
    """Two participants of one domain in this process."""
    contexts = [rclpy.Context(), rclpy.Context()]
    for context in contexts:
        rclpy.init(context=context, domain_id=domain)
    try:
        yield contexts
    finally:
        for context in contexts:
            context.try_shutdown()


@contextmanager
def bench(domain: int, runtime: Any = None, sim_time: bool = True, **parameters: Any) -> Iterator[Bench]:
    """An active planner with `parameters` and a vehicle that has not sent anything yet.

    On simulation time the vehicle is the clock, so that a slow machine does not look like a fault.
    """
    runtime = runtime or StraightRuntime()
    values = {"use_sim_time": sim_time, "sync_deadline": 3.0, **parameters}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    with two_contexts(domain) as contexts:
        planner = PlannerNode(lambda settings: runtime, context=contexts[0], parameter_overrides=overrides)
        planner.trigger_configure()
        planner.trigger_activate()
        both = Bench(Vehicle(contexts[1], sim_time), planner, runtime)
        try:
            with spinning(planner):
                yield both
        finally:
            planner.halt()
            planner.destroy_node()
            both.close()
