"""The demo's parts without a drive: options, verdict, processes, the table."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drive_samples import PLANNER, SECOND, closing_event, tick, trajectory
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock

from rsd_ros import demo, demo_processes, qos
from rsd_ros.compat.messages import CameraStatus
from rsd_ros.conversions import ns_to_stamp
from rsd_ros.demo import _finite, fresh_folder, judge, parse_arguments, world_parameters
from rsd_ros.demo_processes import FIRST_PORT, PORTS_PER_DOMAIN, DriveProcesses, ProcessDied, ros_arguments
from rsd_ros.live_table import plain_line, rows, table_of
from rsd_ros.mcap_file import McapFile
from rsd_ros.watcher import WatchNode

COLLISION = {"kind": "collisions_vehicle", "time": 3.0, "detail": "hit a car"}
LIGHT = {"kind": "red_light", "time": 3.0, "detail": "ran a red light"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rig", "400"], "WIDTHxHEIGHT"),
        (["--view", "--no-record"], "--no-record"),
        (["--view"], "needs a display"),
    ],
)
def test_impossible_options_are_refused_with_the_remedy(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert complaint in capsys.readouterr().err


def test_options_reach_the_world() -> None:
    options = parse_arguments(["--town", "alder", "--rig", "640x360", "--duration", "7", "--scenario", "HighwayCutIn"])
    words = ros_arguments(world_parameters(options))
    for expected in ("town:=alder", "image_width:=640", "max_seconds:=7.0", "scenario:=HighwayCutIn"):
        assert expected in words
    assert not any(word.startswith("weights") for word in words)
    assert ros_arguments({"empty": "", "flag": True}) == ["--ros-args", "-p", "flag:=true"]


@pytest.mark.parametrize(
    ("world", "duration", "passed"),
    [
        ({"outcome": "completed", "time": 80.0, "infractions": []}, 0.0, True),
        ({"outcome": "completed", "time": 80.0, "infractions": [LIGHT]}, 0.0, True),
        ({"outcome": "completed", "time": 80.0, "infractions": [COLLISION]}, 0.0, False),
        ({"outcome": "blocked", "time": 80.0, "infractions": []}, 0.0, False),
        ({"outcome": "running", "time": 9.9, "infractions": []}, 10.0, True),
        ({"outcome": "running", "time": 5.0, "infractions": []}, 10.0, False),
        ({}, 0.0, False),
    ],
)
def test_a_drive_passes_that_finished_without_a_collision(world: dict, duration: float, passed: bool) -> None:
    assert judge(world, parse_arguments(["--duration", str(duration)])) is passed


def test_numbers_that_json_lacks_become_null() -> None:
    assert _finite({"a": [float("nan"), 1.0], "b": {"c": float("inf")}}) == {"a": [None, 1.0], "b": {"c": None}}


def test_a_domain_in_use_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_processes.random, "sample", lambda population, count: [97, 98])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", FIRST_PORT + 97 * PORTS_PER_DOMAIN))
        assert demo_processes.free_domain_id() == 98


def test_two_demos_of_one_second_get_a_folder_each(tmp_path: Path) -> None:
    folders = {fresh_folder(tmp_path / "out") for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(demo.signal, "signal", lambda number, handler: None)
    (tmp_path / "out").write_text("a file")
    assert demo.main(["--out", str(tmp_path / "out")]) == demo.BROKEN
    assert f"{tmp_path / 'out'}" in capsys.readouterr().err


def test_on_a_full_disk_a_recording_is_closed_with_an_error() -> None:
    file = McapFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        file.close()
    file._file.close()  # it is: nothing is left to be flushed


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveProcesses]:
    """Modules to start: `ends` (code 0), `fails` (code 7), `sleeps`, `stays` (whatever it is asked)."""
    programs = {
        "ends": "", "fails": "print('no weights here'); raise SystemExit(7)", "sleeps": "import time; time.sleep(600)",
        "stays": "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up'); time.sleep(600)",
    }  # fmt: skip
    for name, text in programs.items():
        (tmp_path / f"{name}_program.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with DriveProcesses(tmp_path / "logs") as running:
        yield running


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(condition())


def test_a_process_that_fails_is_named_with_its_last_words(processes: DriveProcesses) -> None:
    processes.start("planner", "fails_program", {})
    assert wait_for(lambda: not processes.running("planner"))
    with pytest.raises(ProcessDied, match=r"(?s)planner ended with code 7.*planner\.log.*no weights here"):
        processes.check(may_end="world")


def test_only_the_world_may_end_by_itself(processes: DriveProcesses) -> None:
    processes.start("world", "ends_program", {})
    processes.start("control", "sleeps_program", {})
    assert wait_for(lambda: not processes.running("world"))
    processes.check(may_end="world")
    with pytest.raises(ProcessDied, match="world ended with code 0"):
        processes.check(may_end="planner")


def test_processes_are_ended_even_one_that_will_not(
    processes: DriveProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_processes, "PATIENCE", 1.0)
    processes.start("stays", "stays_program", {})
    processes.start("sleeps", "sleeps_program", {})
    assert wait_for(lambda: "up" in (tmp_path / "logs" / "stays.log").read_text())
    processes.end()
    assert not processes.running("sleeps")
    assert not processes.running("stays")
    with pytest.raises(ProcessDied, match="was killed by SIGKILL"):
        processes.check(may_end="world")


@pytest.fixture
def watch(ros_context: object) -> Iterator[WatchNode]:
    node = WatchNode(context=ros_context)
    yield node
    node.destroy_node()


def test_before_the_first_tick_the_table_says_what_it_waits_for(watch: WatchNode) -> None:
    assert list(rows(watch)) == ["starting"]
    assert "the planner loads its network" in plain_line(watch)


def test_the_table_shows_what_a_driver_wants_to_know(watch: WatchNode, spin_until: Callable) -> None:
    messages = tick(SECOND)
    messages[f"{PLANNER}/status"].cameras = [CameraStatus(name="CAM_FRONT", age=0.05, valid=True)]
    clock = watch.create_publisher(Clock, "/clock", qos.CLOCK)
    odometry = watch.create_publisher(Odometry, "/carla/ego_vehicle/odometry", qos.SENSOR_OUT)

    def heard() -> bool:
        clock.publish(Clock(clock=ns_to_stamp(SECOND)))
        odometry.publish(messages["/carla/ego_vehicle/odometry"])
        return watch.first_tick is not None and "odometry" in watch.latest

    assert spin_until([watch], heard, 30.0)
    watch.latest |= {name: messages[f"{PLANNER}/{name}"] for name in ("trajectory", "objects", "status")}
    checked = {"kind": "min_speed_infractions", "time": 2.0, "detail": "mean speed is 113 % of the traffic's"}
    watch._on_event(closing_event(infractions=[checked, LIGHT]))
    found = rows(watch)
    assert found["speed"] == "5.0 m/s (18 km/h)"
    assert found["command"] == "follow the lane"
    assert "0.90" in found["highest risk"]
    assert "car, 12 m away" in found["highest risk"]
    assert found["stages, ms"] == "network 40  total 50"
    assert found["camera age, ms"] == "front 50"
    assert found["route"] == "100 %, 1 infraction"
    assert "18 km/h" in plain_line(watch)
    assert "[" not in plain_line(watch)
    assert table_of(watch, "birch").row_count == len(found)


def test_a_stop_gives_its_reason_whatever_characters_are_in_it(watch: WatchNode) -> None:
    watch.first_tick = (0.0, 1.0)
    watch.latest["trajectory"] = trajectory(SECOND, "no images from [front]")
    assert "stopping: no images from [front]" in plain_line(watch)
