"""The demo's ROS 2 processes: started as modules of this Python, logged to files, ended by their ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from rsd_ros.compat.transport import transport_environment

PATIENCE = 5.0  # s until a process that was asked to end is killed
TAIL = 15  # lines of a log that an error shows


class ProcessDied(RuntimeError):
    """A process ended when it should not have."""


def free_domain_id() -> int:
    """A ROS_DOMAIN_ID of this demo's own; ids up to 101 are safe on every platform."""
    return int(np.random.default_rng([os.getpid(), time.time_ns()]).integers(1, 102))


def process_environment() -> dict[str, str]:
    """Environment of the processes: Fast DDS profile with room for images, an allocator that keeps large blocks."""
    return {"PYTHONUNBUFFERED": "1"} | transport_environment()


def ros_arguments(parameters: Mapping[str, object]) -> list[str]:
    """Parameters as ROS command-line arguments; empty strings are left at their defaults."""
    words = ["--ros-args"]
    for name, value in parameters.items():
        if value != "":
            words += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    return words


class DriveProcesses:
    """Processes by name; leaving the context ends those that still run."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> DriveProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, name: str, module: str, parameters: Mapping[str, object]) -> None:
        """Start `python -m module` with ROS parameters; its output goes to <logs>/<name>.log."""
        with (self._logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *ros_arguments(parameters)]
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=process_environment(), start_new_session=True
            )

    def running(self, name: str) -> bool:
        """Whether the process still runs."""
        return self._processes[name].poll() is None

    def check(self) -> None:
        """Raises ProcessDied with the end of the log when a process ended by itself with an error."""
        for name, process in self._processes.items():
            if process.poll() not in (None, 0):
                raise ProcessDied(f"{name} ended with code {process.returncode}:\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        """The last lines of a process's log."""
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:])

    def end(self) -> None:
        """Ask all to end, then kill those that do not."""
        alive = [p for p in self._processes.values() if p.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGINT)
        for process in alive:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
