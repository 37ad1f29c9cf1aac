"""The demo as a user starts it, with world and network: products, exit codes, no process left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rsd_ros.drive_log import read_drive
from rsd_ros.plan_messages import trajectory_points

pytestmark = [pytest.mark.usefixtures("gl_process"), pytest.mark.timeout(900)]
SMALL = ("--weights", "random", "--rig", "160x90", "--vehicles", "4", "--pedestrians", "3")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PATIENCE = 600.0  # s; a crowded machine may be slow, an idle one needs a small part of it


def only_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def test_a_short_drive_leaves_its_products(start_process: Callable, left_running: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo = start_process("-m", "rsd_ros.demo", "--duration", "2", "--out", str(out), *SMALL)
    code = demo.popen.wait(PATIENCE)
    folder = only_folder(out)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["problem"] == ""
    assert code == (0 if metrics["passed"] else 1), demo.output()
    assert metrics["world"]["time"] == pytest.approx(2.0, abs=0.15)
    assert {"network", "total"} <= set(metrics["milliseconds"])

    log = read_drive(folder / "drive.mcap")
    assert log.damage == ""
    assert len(log.rig.names) == 6
    assert log.route is not None
    assert len(log.moments) == metrics["plans"] > 0
    assert all(len(moment.images) == 6 for moment in log.moments if not moment.trajectory.is_stop)
    with av.open(str(folder / "drive.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) > 1
    assert "data:image/svg+xml" in (folder / "report.html").read_text()
    assert str(folder / "drive.mp4") in demo.output()
    assert left_running("rsd_ros.") == []


IN_ONE_PROCESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from message_policy import drive_through_messages
from rsd_world.world import Episode
episode = Episode(**json.loads(sys.argv[2]))
_, trajectories = drive_through_messages(episode, (160, 90), 2.0, weights="random", device="cpu")
print(json.dumps([points.tolist() for points in trajectories]))
"""


def test_dds_and_processes_change_nothing_about_a_drive(start_process: Callable, tmp_path: Path) -> None:
    """No message is lost, late, twice or taken for another tick's: each plan is what one process computes."""
    out = tmp_path / "out"
    demo = start_process("-m", "rsd_ros.demo", "--duration", "2", "--out", str(out), "--device", "cpu", *SMALL)
    demo.popen.wait(PATIENCE)  # on a GPU last bits may differ from run to run
    folder = only_folder(out)
    moments = read_drive(folder / "drive.mcap").moments
    over_dds = [trajectory_points(moment.trajectory).tolist() for moment in moments]

    episode = json.loads((folder / "metrics.json").read_text())["world"]["episode"]
    alone = start_process("-c", IN_ONE_PROCESS, str(BENCHMARKS), json.dumps(episode))
    assert alone.popen.wait(PATIENCE) == 0, alone.output()
    in_one_process = json.loads(alone.output().splitlines()[-1])
    assert len(over_dds) == len(in_one_process) >= 19
    assert over_dds == in_one_process


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "no_such_file.safetensors"), "no_such_file.safetensors"),
        (("--weights", "random", "--town", "atlantis"), "atlantis"),
    ],
)
def test_what_cannot_start_is_named_and_nothing_is_left(
    options: tuple[str, ...], message: str, start_process: Callable, left_running: Callable, tmp_path: Path
) -> None:
    demo = start_process("-m", "rsd_ros.demo", "--out", str(tmp_path / "out"), *SMALL[2:], *options)
    assert demo.popen.wait(PATIENCE) == 3
    assert message in demo.output()
    assert "Traceback" not in demo.output()
    assert left_running("rsd_ros.") == []
