"""What the planner has heard: images, calibration, odometry, route, command; and the frame set it makes of them.

Callbacks write from the executor's thread, the planning thread waits and reads; one condition guards it all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rsd_model.contracts import CameraRig, Command, EgoState, FrameSet
from rsd_ros.calibration import Calibration
from rsd_ros.camera_sync import ImageSet, Synchronizer
from rsd_ros.conversions import NANOSECONDS, InvalidInput, decode_image, path_points, stamp_to_ns
from rsd_ros.ego_history import EgoHistory
from rsd_ros.route import RouteTracker

OFF_ROUTE = 30.0  # m; further from the route there is no telling where to go


@dataclass(frozen=True)
class InputLimits:
    """When inputs are too few, too old or too far off; see the node's parameters of the same names."""

    min_valid_cameras: int
    max_image_age: float  # s, 0 = any
    sync_deadline: float  # s
    require_route: bool
    map_frame: str


@dataclass(frozen=True)
class Instant:
    """A frame set with what the node must know beside it."""

    frame: FrameSet
    stamp: int  # ns, exact
    remaining: float | None  # m of route left; None without a route
    waited: float  # s from the first image to the set leaving
    problems: tuple[str, ...]  # what is missing or refused, though it can be planned on


@dataclass
class CameraRecord:
    """What one camera has sent since activation."""

    stamp: int | None = None  # ns, newest image
    refused: int = 0  # images that were not usable
    missed: int = 0  # sets that left without it
    in_plan: bool = False  # its image entered the latest set
    problem: str | None = None  # why it is not in the latest set
    stamp_problem: str | None = None  # why its newest image was refused on arrival


@dataclass
class SensorInputs:
    """Everything heard so far. `now` gives ROS time in ns."""

    names: Sequence[str]
    synchronizer: Synchronizer
    calibration: Calibration
    odometry: EgoHistory
    limits: InputLimits
    now: Callable[[], int]
    changed: threading.Condition = field(default_factory=threading.Condition)
    cameras: list[CameraRecord] = field(init=False)
    route: RouteTracker | None = None
    route_problem: str | None = None
    command: Command | None = None  # of the command topic
    _plan: tuple[np.ndarray, np.ndarray] | None = None  # positions (P, 2) and commands (P,) of a CarlaRoute
    _closed: bool = False

    def __post_init__(self) -> None:
        self.cameras = [CameraRecord() for _ in self.names]

    # --- from the executor's thread ------------------------------------------------------------

    def on_image(self, camera: int, message: Image | CompressedImage) -> None:
        """Take an image in; one whose stamp cannot be of now is refused."""
        stamp, record = stamp_to_ns(message.header.stamp), self.cameras[camera]
        with self.changed:
            record.stamp_problem = self._stamp_problem(camera, stamp)
            if record.stamp_problem:
                record.refused += 1
                return
            record.stamp = stamp
            if self.synchronizer.add(camera, stamp, message, time.monotonic()):
                self.changed.notify_all()  # not at every image: each waking takes the interpreter from this thread

    def _stamp_problem(self, camera: int, stamp: int) -> str | None:
        now, limit = self.now(), self.limits.max_image_age
        away = (stamp - now) / NANOSECONDS
        if now == 0 or not limit or abs(away) <= limit:
            return None
        side = "ahead of" if away > 0 else "behind"
        return (
            f"{self.names[camera]}: image is stamped {abs(away):.1f} s {side} this node's clock; "
            "set use_sim_time for a simulator or bag, synchronise the machines' clocks, or raise max_image_age"
        )

    def on_camera_info(self, camera: int, message: CameraInfo) -> None:
        """Take a calibration in."""
        with self.changed:
            self.calibration.on_camera_info(camera, message)

    def on_odometry(self, message: Odometry) -> None:
        """Take an odometry message in."""
        with self.changed:
            self.odometry.add(message)
            self.changed.notify_all()

    def on_route(self, message: Path) -> None:
        """Take a route in; a broken one leaves the last good one in place."""
        try:
            tracker = RouteTracker(path_points(message, self.limits.map_frame))
        except InvalidInput as problem:
            self.route_problem = str(problem)
            return
        with self.changed:
            self.route, self.route_problem = tracker, None
            self._apply_plan()

    def on_global_plan(self, message: Any) -> None:
        """Take a carla_msgs/CarlaRoute in: the commands along the route."""
        positions = np.array([[p.position.x, p.position.y] for p in message.poses], dtype=float).reshape(-1, 2)
        try:
            commands = np.array([Command.from_road_option(option) for option in message.road_options], dtype=int)
        except ValueError as problem:
            self.route_problem = f"global plan: {problem}"
            return
        if len(commands) != len(positions) or not np.isfinite(positions).all():
            self.route_problem = f"global plan: {len(positions)} poses (finite or not), {len(commands)} road options"
            return
        with self.changed:
            self._plan = positions, commands
            self._apply_plan()

    def _apply_plan(self) -> None:
        if self.route is not None and self._plan is not None:
            self.route.set_commands(*self._plan)

    def on_command(self, road_option: int) -> None:
        """Take a high-level command in (RoadOption); it overrides what the route says."""
        try:
            self.command = Command.from_road_option(road_option)
        except ValueError as problem:
            self.route_problem = f"command: {problem}"

    def on_time_jump(self) -> None:
        """Forget what belongs to another time; calibration, route and command stay."""
        with self.changed:
            self.synchronizer.reset()
            self.odometry.reset()
            self.calibration.reset()
            for record in self.cameras:
                record.stamp, record.in_plan = None, False
            if self.route is not None:
                self.route.reset()

    def close(self) -> None:
        """Wake the planning thread for good."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    # --- from the planning thread --------------------------------------------------------------

    def wait_for_set(self) -> ImageSet | None:
        """Block until a set is ready; None once closed."""
        with self.changed:
            while not self._closed:
                image_set = self.synchronizer.take(time.monotonic())
                if image_set is not None:
                    return image_set
                deadline = self.synchronizer.next_deadline()
                self.changed.wait(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
        return None

    def instant(self, image_set: ImageSet) -> Instant:
        """The frame set of these images; raises InvalidInput where it must not be planned on."""
        with self.changed:
            self.changed.wait_for(
                lambda: self._closed or self.odometry.has_reached(image_set.stamp), timeout=self.limits.sync_deadline
            )
            rig = self.calibration.rig()
            ego = self.odometry.at(image_set.stamp)
            route, remaining, command = self._route_at(ego)
        images, valid = self._decode(image_set, rig)
        if sum(valid) < self.limits.min_valid_cameras:
            raise InvalidInput(self._too_few(sum(valid)))
        stamps = np.array(
            [np.nan if s is None or not v else s / NANOSECONDS for s, v in zip(image_set.stamps, valid, strict=True)]
        )
        frame = FrameSet(image_set.stamp / NANOSECONDS, images, stamps, np.array(valid), rig, ego, command, route)
        return Instant(frame, image_set.stamp, remaining, image_set.waited, tuple(self._problems(remaining)))

    def _decode(self, image_set: ImageSet, rig: CameraRig) -> tuple[tuple[np.ndarray, ...], list[bool]]:
        images = []
        for name, record, message, size in zip(self.names, self.cameras, image_set.images, rig.sizes, strict=True):
            image = None
            if message is None:
                record.missed += 1
                record.problem = record.stamp_problem or f"{name}: no image in time"
            else:
                try:
                    image, record.problem = decode_image(message, name, (int(size[0]), int(size[1]))), None
                except InvalidInput as problem:
                    record.refused += 1
                    record.problem = str(problem)
            record.in_plan = image is not None
            images.append(np.zeros((size[1], size[0], 3), np.uint8) if image is None else image)
        return tuple(images), [record.in_plan for record in self.cameras]

    def _too_few(self, count: int) -> str:
        reasons = "; ".join(record.problem for record in self.cameras if record.problem)
        return f"{count} of {len(self.names)} cameras are usable, {self.limits.min_valid_cameras} are needed: {reasons}"

    def _route_at(self, ego: EgoState) -> tuple[np.ndarray, float | None, Command]:
        """Route ahead in base_link, m left of it, and the command."""
        if self.route is None:
            if self.limits.require_route:
                raise InvalidInput(
                    self.route_problem or "waiting for a route; publish one or set require_route to false"
                )
            return np.zeros((0, 2)), None, self.command or Command.LANEFOLLOW
        place = self.route.update(ego.pose[:2, 3])
        if place.offset > OFF_ROUTE:
            raise InvalidInput(f"the vehicle is {place.offset:.0f} m off its route; publish a route that passes here")
        derived = self.route.command(place.along)
        command = derived if self.command is None else self.command
        return self.route.ahead(ego.pose, place.along), place.remaining, command

    def _problems(self, remaining: float | None) -> list[str]:
        problems = [record.problem for record in self.cameras if record.problem]
        problems += [*self.calibration.problems.values(), *self.calibration.warnings.values()]
        problems += [problem for problem in (self.odometry.problem, self.route_problem) if problem]
        return problems if remaining is not None else [*problems, "no route: following the lane"]
