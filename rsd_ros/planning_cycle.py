"""One planning cycle after another: images -> frame set -> network -> messages; and the watchdog for when none come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from std_msgs.msg import Header

from rsd_model.contracts import Command, EgoState, FrameSet, PlannerOutput
from rsd_model.safeguards import Safeguards
from rsd_model.stop_plan import carry_path, stop_within, stopping_trajectory
from rsd_ros.camera_sync import ImageSet
from rsd_ros.compat.messages import CameraStatus, PlannerStatus, StageTiming
from rsd_ros.conversions import NANOSECONDS, InvalidInput, ns_to_stamp
from rsd_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from rsd_ros.plan_messages import check_output, stop_message, trajectory_message
from rsd_ros.plan_publishers import PlanPublishers
from rsd_ros.sensor_inputs import Instant, SensorInputs

STOP_PERIOD = 0.1  # s, wall time between two stop trajectories of the watchdog
ROUTE_END = 1.0  # m of route left that count as its end
STRAIGHT = np.array([[1.0, 0.0], [2.0, 0.0]])  # m; the path of a vehicle that has never planned


class Runtime(Protocol):
    """What is needed of `rsd_model.inference.PlannerRuntime`."""

    def plan(self, frame: FrameSet) -> PlannerOutput:
        """One inference."""

    def reset(self) -> None:
        """Forget the BEV memory."""


@dataclass(frozen=True)
class StopRules:
    """When and how the vehicle is brought to a stop; see the node's parameters."""

    base_frame: str
    camera_timeout: float  # s without an image
    plan_timeout: float  # s without a plan though images come
    deceleration: float  # m/s^2
    at_route_end: bool
    emergency_brake: bool = True
    stop_signs: bool = True


@dataclass(frozen=True)
class GoodPlan:
    """The last plan that could be driven."""

    path: np.ndarray  # (6, 2) m, base_link of `ego`
    ego: EgoState
    stamp: int  # ns
    command: Command


class PlanningCycle:
    """Runs the network in a thread of its own; `watch` is called from the executor's."""

    def __init__(
        self,
        runtime: Runtime,
        inputs: SensorInputs,
        publishers: PlanPublishers,
        diagnostics: Diagnostics,
        rules: StopRules,
        now: Callable[[], int],
    ) -> None:
        """`now` gives ROS time in ns."""
        self._runtime, self.inputs, self._publishers = runtime, inputs, publishers
        self._diagnostics, self._rules, self._now = diagnostics, rules, now
        self._lock = threading.Lock()  # the two threads publish and share the fields below
        self._good: GoodPlan | None = None
        self._since = self._alive = now()  # ns, ROS time of the start and of the last plan
        self._stamp: int | None = None  # ns, of the last set
        self._stopped_at = 0.0  # s, wall, last stop trajectory
        self._safeguards = Safeguards(rules.emergency_brake, rules.stop_signs)
        self._thread = threading.Thread(target=self._run, name="planning", daemon=True)
        self.plans = 0

    def start(self) -> None:
        """Begin to plan."""
        self._thread.start()

    def close(self) -> None:
        """Finish the plan under way, however long it takes: a thread left behind would publish for an inactive node."""
        self.inputs.close()
        if self._thread.is_alive():
            self._thread.join()

    def on_time_jump(self) -> None:
        """Time jumped: what was planned belongs to another drive."""
        self.inputs.on_time_jump()
        with self._lock:
            self._good, self._stamp = None, None
            self._since = self._alive = self._now()

    # --- planning thread --------------------------------------------------------------------

    def _run(self) -> None:
        while (image_set := self.inputs.wait_for_set()) is not None:
            try:
                self._cycle(image_set)
            except InvalidInput as problem:
                self._stop(str(problem), image_set.stamp)
            except Exception as failure:  # the vehicle must be stopped whatever went wrong in there
                self._runtime.reset()
                self._stop(f"planning failed: {type(failure).__name__}: {failure}", image_set.stamp)

    def _cycle(self, image_set: ImageSet) -> None:
        started = time.perf_counter()
        if self._stamp is None or not 0 < image_set.stamp - self._stamp <= NANOSECONDS:
            self._runtime.reset()  # the BEV memory is of another time
            self._safeguards.reset()
        self._stamp = image_set.stamp
        instant = self.inputs.instant(image_set)
        converted = time.perf_counter()
        output = self._runtime.plan(instant.frame)
        check_output(output)
        planned = time.perf_counter()
        with self._lock:
            self._good = GoodPlan(output.trajectory, instant.frame.ego, instant.stamp, output.command)
            self._alive = self._now()
        if self._rules.at_route_end and instant.remaining is not None and instant.remaining <= ROUTE_END:
            self._stop("the route ends here; publish the next one", instant.stamp, level=OK)
            return
        output = self._safeguards.check(output, instant.frame)
        self._publish(instant, output)
        stages = {
            "sync": 1e3 * instant.waited,
            "convert": 1e3 * (converted - started),
            **(output.timings or {"network": 1e3 * (planned - converted)}),
            "publish": 1e3 * (time.perf_counter() - planned),
        }
        self._report(instant, output, stages, 1e3 * (time.perf_counter() - started))

    def _publish(self, instant: Instant, output: PlannerOutput) -> None:
        trajectory = output.trajectory
        if self._rules.at_route_end and instant.remaining is not None:
            speed = instant.frame.ego.speed
            trajectory = stop_within(trajectory, speed, instant.remaining, self._rules.deceleration)
        header = self._header(instant.stamp)
        self._publishers.plan(trajectory_message(output, trajectory, header), trajectory)
        self._publishers.scene(output, trajectory, header)

    def _report(self, instant: Instant, output: PlannerOutput, stages: dict[str, float], total: float) -> None:
        self.plans += 1
        self._diagnostics.set("time", OK, "time runs forward")
        problems = [*([output.stop_reason] if output.emergency else []), *instant.problems]
        state = PlannerStatus.STATE_DEGRADED if problems else PlannerStatus.STATE_OK
        level, sentence = (WARN, "; ".join(problems)) if problems else (OK, "plans from all cameras")
        counters = self.inputs.synchronizer.counters
        self._diagnostics.set(
            "planning", level, sentence, plans=self.plans, total_ms=f"{total:.1f}",
            sets_complete=counters.complete, sets_incomplete=counters.incomplete, sets_superseded=counters.superseded,
            images_late=counters.late, images_twice=counters.duplicates, time_jumps=counters.resets,
        )  # fmt: skip
        self._status(self._header(instant.stamp), state, problems, stages, total)

    # --- either thread ----------------------------------------------------------------------

    def watch(self) -> None:
        """Send a stop where images or plans have stopped coming; called often from the executor's thread."""
        now = self._now()
        if not now:
            self._diagnostics.set(
                "time", WARN, "use_sim_time is set and no /clock has come; start the simulator or the bag"
            )
            return
        with self._lock:
            if now < self._alive or not self._alive:
                self._alive = self._since = now  # simulation time has just begun, or again
            since_plan = (now - self._alive) / NANOSECONDS
        since_image = (now - max(self._since, *(c.stamp or 0 for c in self.inputs.cameras))) / NANOSECONDS
        if time.monotonic() - self._stopped_at < STOP_PERIOD:
            return
        if since_image > self._rules.camera_timeout:
            self._stop(self._missing_images(now), None)
        elif since_plan > self._rules.plan_timeout:
            self._stop(
                f"no plan for {since_plan:.1f} s though images come: the network is too slow for this machine", None
            )

    def _missing_images(self, now: int) -> str:
        limit = self._rules.camera_timeout * NANOSECONDS
        cameras = list(zip(self.inputs.names, self.inputs.cameras, strict=True))
        refused = [record.stamp_problem for _, record in cameras if record.stamp_problem]
        if refused:
            return "no plan, images are refused: " + "; ".join(refused)
        silent = [name for name, record in cameras if record.stamp is None or now - record.stamp > limit]
        return f"no plan, no images from {', '.join(silent)}; check the cameras and the parameter image_topics"

    def _stop(self, reason: str, stamp: int | None, level: bytes = ERROR) -> None:
        with self._lock:
            self._stopped_at = time.monotonic()
            newest = self.inputs.odometry.newest
            if stamp is None:
                stamp = max(self._now(), newest[0] if newest else 0)
            trajectory = self._stop_trajectory(stamp, newest)
            command = self._good.command if self._good else Command.LANEFOLLOW
            header = self._header(stamp)
            self._publishers.plan(stop_message(trajectory, command, reason, header), trajectory)
        self._diagnostics.set("planning", level, reason, plans=self.plans)
        self._status(header, PlannerStatus.STATE_STOPPING, [reason], {}, 0.0)

    def _stop_trajectory(self, stamp: int, newest: tuple[int, EgoState] | None) -> np.ndarray:
        good, rules = self._good, self._rules
        current = newest[1] if newest and abs(newest[0] - stamp) < NANOSECONDS else None
        if good is None:
            return stopping_trajectory(STRAIGHT, current.speed if current else 0.0, rules.deceleration)
        if current is None:
            # Neither images nor odometry: take it that the vehicle has braked since the last plan.
            elapsed = max(stamp - good.stamp, 0) / NANOSECONDS
            return stopping_trajectory(good.path, good.ego.speed - rules.deceleration * elapsed, rules.deceleration)
        path = carry_path(good.path, good.ego.pose, current.pose)
        return stopping_trajectory(path, current.speed, rules.deceleration)

    def _header(self, stamp: int) -> Header:
        return Header(stamp=ns_to_stamp(stamp), frame_id=self._rules.base_frame)

    def _status(self, header: Header, state: int, messages: list[str], stages: dict[str, float], total: float) -> None:
        now = self._now()
        cameras = [
            CameraStatus(
                name=name,
                age=float("nan") if record.stamp is None else (now - record.stamp) / NANOSECONDS,
                valid=record.in_plan and state in (PlannerStatus.STATE_OK, PlannerStatus.STATE_DEGRADED),
                drops=record.refused + record.missed,
            )
            for name, record in zip(self.inputs.names, self.inputs.cameras, strict=True)
        ]
        timings = [StageTiming(name=name, milliseconds=float(value)) for name, value in stages.items()]
        self._publishers.status(
            PlannerStatus(
                header=header,
                state=state,
                cameras=cameras,
                stages=timings,
                total_milliseconds=float(total),
                messages=messages,
            )
        )
