"""What one sees while the demo drives: a live table, and the recorder beside it in the same process."""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from rsd_model.contracts import Command
from rsd_ros import qos
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus, RiskGrid, RiskObjectArray
from rsd_ros.conversions import stamp_to_ns
from rsd_ros.demo_processes import DriveProcesses
from rsd_ros.drive_log import Moment
from rsd_ros.live_view import LiveView
from rsd_ros.recorder_node import RecorderNode

REFRESH = 0.2  # s
PLAIN_EVERY = 5.0  # s between lines where the output is no terminal
STATES = {0: "[green]OK", 1: "[yellow]DEGRADED", 2: "[red]STOPPING", 3: "[red]ERROR"}


class WatchNode(Node):
    """Keeps the newest message of each topic the table shows."""

    def __init__(self) -> None:
        super().__init__("demo", namespace="rsd")
        self.latest: dict[str, Any] = {}
        self.world: dict[str, Any] = {}
        self.first_tick: tuple[float, float] | None = None  # wall s, simulated s
        self.last_tick = (0.0, 0.0)
        self._keep("status", PlannerStatus, "/rsd/planner/status", qos.STATUS)
        self._keep("trajectory", PlannedTrajectory, "/rsd/planner/trajectory", qos.TRAJECTORY)
        self._keep("objects", RiskObjectArray, "/rsd/planner/objects", qos.VIEW)
        self._keep("risk", RiskGrid, "/rsd/planner/risk", qos.VIEW)
        self._keep("markers", MarkerArray, "/rsd/planner/markers", qos.VIEW)
        self._keep("odometry", Odometry, "/carla/ego_vehicle/odometry", qos.ODOMETRY)
        self.create_subscription(ClockMessage, "/clock", self._on_clock, qos.CLOCK)
        self.create_subscription(String, "/rsd/world/events", self._on_event, qos.LATCHED)

    def _keep(self, name: str, kind: type, topic: str, profile: Any) -> None:
        self.create_subscription(kind, topic, lambda message: self.latest.__setitem__(name, message), profile)

    def _on_clock(self, message: ClockMessage) -> None:
        self.last_tick = (time.monotonic(), stamp_to_ns(message.clock) * 1e-9)
        if self.first_tick is None:
            self.first_tick = self.last_tick

    def _on_event(self, message: String) -> None:
        self.world = json.loads(message.data)

    @property
    def wall_seconds(self) -> float:
        """From the first tick to the last."""
        return 0.0 if self.first_tick is None else self.last_tick[0] - self.first_tick[0]

    @property
    def real_time_factor(self) -> float:
        """Simulated over wall seconds between the first tick and the last."""
        if self.first_tick is None or self.wall_seconds <= 0.0:
            return 0.0
        return (self.last_tick[1] - self.first_tick[1]) / self.wall_seconds


def table_of(watch: WatchNode) -> Table:
    """The table of this moment."""
    table = Table(title="RSD drives", show_header=False, min_width=78)
    for name, value in _rows(watch):
        table.add_row(name, value)
    return table


def _rows(watch: WatchNode) -> list[tuple[str, str]]:
    latest = watch.latest
    rows = [("time", f"{watch.world.get('time', 0.0):.1f} s, real-time factor {watch.real_time_factor:.2f}")]
    if "odometry" in latest:
        speed = latest["odometry"].twist.twist.linear.x
        rows.append(("speed", f"{speed:.1f} m/s ({3.6 * speed:.0f} km/h)"))
    if "trajectory" in latest:
        plan = latest["trajectory"]
        rows.append(("command", Command(plan.command).name + (f" [red]{plan.stop_reason}" if plan.is_stop else "")))
    objects = latest["objects"].objects if "objects" in latest else []
    if objects:
        top = max(objects, key=lambda o: o.risk)
        away = math.hypot(top.pose.position.x, top.pose.position.y)
        rows.append(("highest risk", f"{top.risk:.2f}  {top.class_name} at {away:.0f} m ({len(objects)} objects)"))
    if "status" in latest:
        rows += _status_rows(latest["status"])
    progress = watch.world.get("progress", 0.0)
    rows.append(("route", f"{100.0 * progress:.0f} %, {len(watch.world.get('infractions', []))} infractions"))
    return rows


def _status_rows(status: PlannerStatus) -> list[tuple[str, str]]:
    stages = "  ".join(f"{s.name} {s.milliseconds:.0f}" for s in status.stages)
    ages = "  ".join(f"{c.name.replace('CAM_', '').lower()} {1e3 * c.age:.0f}" for c in status.cameras)
    rows = [
        ("planner", STATES.get(status.state, str(status.state)) + "[/] " + "; ".join(status.messages)),
        ("stages, ms", f"{stages}  total {status.total_milliseconds:.0f}"),
        ("camera age, ms", ages),
    ]
    return rows


class DriveWatcher:
    """Spins the watching node and the recorder beside the table; create it before the world starts."""

    def __init__(self, recording: Path | None, view: bool) -> None:
        self._watch = WatchNode()
        self._recorder: RecorderNode | None = None
        if recording is not None:
            overrides = [Parameter("output", value=str(recording)), Parameter("use_sim_time", value=True)]
            self._recorder = RecorderNode(parameter_overrides=overrides)
        self._view = LiveView() if view else None
        self._executor = SingleThreadedExecutor()
        for node in (self._watch, self._recorder):
            if node is not None:
                self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def watch(self, processes: DriveProcesses) -> None:
        """Show the table until the world's process ends; raises ProcessDied when any ends with an error."""
        console = Console()
        if not console.is_terminal:
            self._watch_plainly(processes)
            return
        with Live(table_of(self._watch), console=console, refresh_per_second=4) as live:
            while processes.running("world"):
                processes.check()
                live.update(table_of(self._watch))
                self._show_view()
                time.sleep(REFRESH)
        processes.check()

    def _watch_plainly(self, processes: DriveProcesses) -> None:
        said = 0.0
        while processes.running("world"):
            processes.check()
            self._show_view()
            if time.monotonic() - said > PLAIN_EVERY and self._watch.first_tick is not None:
                said = time.monotonic()
                print("; ".join(f"{name}: {value}" for name, value in _rows(self._watch)[:4]), flush=True)
            time.sleep(REFRESH)
        processes.check()

    def _show_view(self) -> None:
        if self._view is None or self._recorder is None:
            return
        latest = self._watch.latest
        moment = Moment(self._watch.last_tick[1], images=dict(self._recorder.newest_images))
        for name in ("trajectory", "objects", "risk", "markers", "status", "odometry"):
            setattr(moment, name, latest.get(name))
        self._view.show(moment)

    def close(self) -> dict[str, Any]:
        """Stop spinning and close the recording; returns the world's last report and the wall time."""
        self._wait_for_last_report()
        self._executor.shutdown()
        self._thread.join(2.0)
        if self._recorder is not None:
            self._recorder.destroy_node()
        seen = {
            "world": self._watch.world,
            "wall_seconds": self._watch.wall_seconds,
            "real_time_factor": self._watch.real_time_factor,
        }
        self._watch.destroy_node()
        return seen

    def _wait_for_last_report(self) -> None:
        until = time.monotonic() + 2.0
        while time.monotonic() < until and not self._watch.world.get("done", False):
            time.sleep(0.05)
