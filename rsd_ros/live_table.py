"""What one sees while the demo drives: a live table, or a line now and then where the output is no terminal."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rsd_model.contracts import Command
from rsd_ros.compat.messages import PlannedTrajectory, PlannerStatus
from rsd_ros.demo_processes import DriveProcesses
from rsd_ros.drive_log import Moment, infractions_of
from rsd_ros.drive_video import COMMANDS, short_name
from rsd_ros.live_view import LiveView
from rsd_ros.recorder_node import RecorderNode
from rsd_ros.watcher import WatchNode

REFRESH = 0.2  # s
BEHIND = 10  # niceness of watching and recording: neither may keep the drive waiting
PLAIN_EVERY = 5.0  # s between lines where the output is no terminal
LAST_REPORT = 2.0  # s to wait for what the world said last
BACKLOG, QUIET = 20.0, 0.5  # s that the recorder may go on for, s without a message after which it has finished
STATES = {
    PlannerStatus.STATE_OK: "[green]OK", PlannerStatus.STATE_DEGRADED: "[yellow]DEGRADED",
    PlannerStatus.STATE_STOPPING: "[red]STOPPING", PlannerStatus.STATE_ERROR: "[red]ERROR",
}  # fmt: skip
SHOWN_PLAINLY = ("time", "speed", "command", "highest risk", "planner", "route")


def table_of(watch: WatchNode, title: str) -> Table:
    """The table of this moment."""
    table = Table(title=f"RSD: {title}", show_header=False, min_width=90)
    table.add_column(min_width=14, style="bold")
    table.add_column()
    for name, value in rows(watch).items():
        table.add_row(name, value)
    return table


def rows(watch: WatchNode) -> dict[str, str]:
    """Name -> value in rich's markup."""
    if watch.first_tick is None:
        return {"starting": f"{watch.waited:.0f} s: the planner loads its network, the world is being built"}
    latest = watch.latest
    found = {"time": f"{watch.driven:.1f} s driven, real-time factor {watch.real_time_factor:.2f}"}
    if "odometry" in latest:
        speed = latest["odometry"].twist.twist.linear.x
        found["speed"] = f"{speed:.1f} m/s ({3.6 * speed:.0f} km/h)"
    if "trajectory" in latest:
        found["command"] = _command(latest["trajectory"])
    if "objects" in latest:
        found["highest risk"] = _highest_risk(latest["objects"].objects)
    if "status" in latest:
        found |= _status_rows(latest["status"])
    count = len(infractions_of(watch.world))
    found["route"] = f"{100.0 * watch.world.get('progress', 0.0):.0f} %, {count} infraction{'s' * (count != 1)}"
    return found


def _command(plan: PlannedTrajectory) -> str:
    words = COMMANDS[Command(plan.command)]
    if not plan.stop_reason:
        return words
    return words + f" [{'red' if plan.is_stop else 'yellow'}]stopping: {escape(plan.stop_reason)}[/]"


def _highest_risk(objects: list[Any]) -> str:
    if not objects:
        return "no object found"
    top = max(objects, key=lambda o: o.risk)
    away = math.hypot(top.pose.position.x, top.pose.position.y)
    color = "red" if top.risk > 0.6 else "yellow" if top.risk > 0.3 else "green"
    count = f"{len(objects)} object{'s' * (len(objects) > 1)}"
    return f"[{color}]{top.risk:.2f}[/] {top.class_name.replace('_', ' ')}, {away:.0f} m away ({count})"


def _status_rows(status: PlannerStatus) -> dict[str, str]:
    stages = "  ".join(f"{s.name} {s.milliseconds:.0f}" for s in status.stages)
    ages = "  ".join(f"{short_name(c.name)} {_age(c.age)}" for c in status.cameras)
    return {
        "planner": f"{STATES.get(status.state, str(status.state))}[/] {escape('; '.join(status.messages))}".strip(),
        "stages, ms": f"{stages}  total {status.total_milliseconds:.0f}",
        "camera age, ms": ages,
    }


def _age(seconds: float) -> str:
    return "never" if math.isnan(seconds) else f"{1e3 * seconds:.0f}"


class DriveWatcher:
    """Spins the watching node and the recorder beside the table; create it before the world starts."""

    def __init__(self, title: str, recording: Path | None, view: bool) -> None:
        """`recording`: MCAP file to write, if any; `view`: open a window. Raises NoWindowError where none can be."""
        self._title = title
        self._view = LiveView(title) if view else None
        self._watch = WatchNode(surroundings=view)
        self._recorder: RecorderNode | None = None
        if recording is not None:
            overrides = [Parameter("output", value=str(recording)), Parameter("use_sim_time", value=True)]
            self._recorder = RecorderNode(parameter_overrides=overrides)
        self._executor = SingleThreadedExecutor()
        for node in (self._watch, self._recorder):
            if node is not None:
                self._executor.add_node(node)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BEHIND)
        try:
            with suppress(ExternalShutdownException):
                self._executor.spin()
        except Exception as failure:
            self._failure = failure

    def watch(self, processes: DriveProcesses) -> None:
        """Show the table until the world's process ends; raises ProcessDied when one ends with an error."""
        console = Console()
        if console.is_terminal:
            with Live(table_of(self._watch, self._title), console=console, refresh_per_second=4) as live:
                while self._goes_on(processes):
                    live.update(table_of(self._watch, self._title))
            return
        said = time.monotonic()
        while self._goes_on(processes):
            if time.monotonic() - said > PLAIN_EVERY:
                said = time.monotonic()
                print(plain_line(self._watch), flush=True)

    def _goes_on(self, processes: DriveProcesses) -> bool:
        """A short wait; whether the world still runs."""
        if self._failure is not None:
            raise self._failure
        running = processes.running("world")
        processes.check(may_end="world")
        self._show_view()
        if running:
            time.sleep(REFRESH)
        return running

    def _show_view(self) -> None:
        if self._view is None or self._recorder is None:
            return
        latest = self._watch.latest
        moment = Moment(self._watch.last_tick[1], images=dict(self._recorder.newest_images))
        for name in ("trajectory", "objects", "risk", "markers", "status", "odometry"):
            setattr(moment, name, latest.get(name))
        self._view.show(moment, self._watch.surroundings.log())

    def close(self) -> dict[str, Any]:
        """Stop spinning and close the recording; returns the world's last report and the wall time."""
        until = time.monotonic() + LAST_REPORT
        while time.monotonic() < until and not self._watch.has_last_report:
            time.sleep(0.05)
        self._let_recorder_finish()
        self._executor.shutdown()
        self._thread.join(10.0)
        if self._recorder is not None:
            with suppress(OSError):  # a full disk; whatever was written is read
                self._recorder.destroy_node()
        seen = {
            "world": self._watch.world,
            "wall_seconds": self._watch.wall_seconds,
            "real_time_factor": self._watch.real_time_factor,
        }
        self._watch.destroy_node()
        return seen

    def _let_recorder_finish(self) -> None:
        """Until it has written what is still in its queues: on a busy machine it lags behind the drive."""
        until, before = time.monotonic() + BACKLOG, -1
        while self._recorder is not None and self._recorder.written > before and time.monotonic() < until:
            before = self._recorder.written
            time.sleep(QUIET)


def plain_line(watch: WatchNode) -> str:
    """The most important of the table in one line."""
    found = rows(watch)
    shown = [value for name, value in found.items() if name in SHOWN_PLAINLY or len(found) == 1]
    return "; ".join(Text.from_markup(value).plain for value in shown)
