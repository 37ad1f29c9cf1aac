"""Fixtures for tests with a ROS graph: a domain of their own, processes that end with the test, nothing left behind."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

DOMAINS = range(1, 102)  # above 101, DDS's ports fall into the range that the kernel hands out to others
SHARED_MEMORY = Path("/dev/shm")
STOP_SECONDS = 30.0

# The same examples in every run; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """A test run that is told to end (a time limit, a cancelled job) ends as on Ctrl-C: with its processes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine holds, set in the environment; discovery stays local."""
    domain, lock = _claim_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    yield domain
    _remove_unused(_ports_of(domain))
    lock.close()


@pytest.fixture
def ros_context(ros_domain: int) -> Iterator[object]:
    """An initialised rclpy context in the test's own domain; nodes take it as `context=`."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    yield context
    context.try_shutdown()


@pytest.fixture
def spin_until(ros_context: object) -> Iterator[Callable]:
    """`spin_until(nodes, condition, seconds=30)` spins the nodes until `condition()` holds; returns whether it did."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=ros_context)

    def spin(nodes: list, condition: Callable[[], object], seconds: float = 30.0) -> bool:
        for node in nodes:
            executor.add_node(node)
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    yield spin
    executor.shutdown()


@dataclass
class RunningProcess:
    """A process that a test started."""

    popen: subprocess.Popen
    log: Path
    shared_memory: set[Path] = field(default_factory=set)

    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.note_shared_memory()
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Interrupts it as Ctrl-C does, kills it if that takes too long; returns its exit code."""
        self.note_shared_memory()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.popen.poll() is None:
                self.popen.send_signal(number)
                try:
                    self.popen.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        return self.popen.returncode

    def note_shared_memory(self) -> None:
        """Remembers the shared memory it has open, which a killed process leaves behind."""
        maps = Path(f"/proc/{self.popen.pid}/maps")
        if self.popen.poll() is None and maps.exists():
            self.shared_memory |= {Path(p) for p in re.findall(r"/dev/shm/\S*fast(?:rtps|dds)\S*", maps.read_text())}


@pytest.fixture
def start_process(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., RunningProcess]]:
    """`start_process("-m", "rsd_ros.planner_node", ...)` runs this Python in the test's domain, until it ends."""
    from rsd_ros.compat.transport import transport_environment

    started: list[RunningProcess] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> RunningProcess:
        log = tmp_path / f"process_{len(started)}.log"
        with log.open("w") as stream:
            popen = subprocess.Popen(
                [sys.executable, "-u", *arguments],
                env=transport_environment() | {"PYTHONFAULTHANDLER": "1"} | (env or {}),
                stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        started.append(RunningProcess(popen, log))
        return started[-1]

    yield start
    for process in started:
        process.stop()
        print(f"--- {process.popen.args[1:]} ended with {process.popen.returncode}\n{process.output()}")
    alive = [process.popen.pid for process in started if process.popen.poll() is None]
    _remove_unused(path for process in started for path in process.shared_memory)
    assert not alive, f"processes {alive} outlived the test"


def _claim_domain() -> tuple[int, object]:
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        lock = open(Path(tempfile.gettempdir()) / f"rsd_ros_domain_{domain}.lock", "w")  # noqa: SIM115 - held until the test ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _remove_unused(_ports_of(domain))
        if any(_ports_of(domain)):  # a node of an earlier test that Python has not freed yet would still answer
            lock.close()
            continue
        return domain, lock
    raise RuntimeError("every ROS domain is held by a test; is an old pytest still running?")


def _ports_of(domain: int) -> Iterator[Path]:
    """Fast DDS's shared-memory files that are named after the domain's ports."""
    first = 7400 + 250 * domain
    for path in SHARED_MEMORY.glob("*fast*_port*"):
        number = re.search(r"_port(\d+)", path.name)
        if number and first <= int(number[1]) < first + 250:
            yield path


def _remove_unused(paths: Iterator[Path]) -> None:
    """Deletes shared-memory files that no living process has open."""
    candidates = {path for path in paths if path.exists()}
    if not candidates:
        return
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text()
        except OSError:  # ended meanwhile, or another user's
            continue
        candidates = {path for path in candidates if str(path) not in text}
    for path in candidates:
        path.unlink(missing_ok=True)
