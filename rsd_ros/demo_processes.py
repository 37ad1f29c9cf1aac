"""The demo's ROS 2 processes: started as modules of this Python, logged to files, ended by their ids."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rsd_ros.compat.transport import transport_environment

PATIENCE = 10.0  # s until processes that were asked to end are killed
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL = 12  # lines of a log that an error shows
FIRST_PORT, PORTS_PER_DOMAIN = 7410, 250  # UDP port of a DDS domain's first participant


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


class ProcessDied(DemoError):
    """A process ended when it should not have."""


def free_domain_id() -> int:
    """A ROS_DOMAIN_ID that no ROS 2 process of this machine uses; ids up to 101 are safe on every platform.

    Raises OSError where all are taken.
    """
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * domain))
            except OSError:
                continue
            return domain
    raise OSError("all ROS domains are in use: set ROS_DOMAIN_ID")


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
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=process_environment(),
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone, which ends the others
            )  # fmt: skip

    def running(self, name: str) -> bool:
        """Whether the process still runs."""
        return self._processes[name].poll() is None

    def check(self, may_end: str) -> None:
        """Raises ProcessDied with the end of its log for one that ended; `may_end` names one that may, with code 0."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is None or (code == 0 and name == may_end):
                continue
            reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            raise ProcessDied(f"{name} {reason}; the end of {self._logs / name}.log:\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        """The last lines of a process's log."""
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:]) or "  (empty)"

    def end(self) -> None:
        """Ask all to end, then kill those that do not; a second Ctrl-C must not leave any behind."""
        with _deaf_to_interrupts():
            alive = [p for p in self._processes.values() if p.poll() is None]
            for process in alive:
                process.send_signal(signal.SIGINT)
            until = time.monotonic() + PATIENCE
            for process in alive:
                try:
                    process.wait(max(until - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
