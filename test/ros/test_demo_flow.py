"""The demo's flow over DDS, with light processes in the places of world and planner: products, codes, clean ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)
PATIENCE = 500.0  # s; a crowded machine may be slow
PRODUCTS = {"drive.mcap", "drive.mp4", "report.html", "metrics.json", "logs"}


@pytest.fixture
def run_demo(start_process: Callable, left_running: Callable, tmp_path: Path) -> Callable:
    """`run_demo(case, options, interrupt_at=text)` -> (exit code, output, folder of the products)."""

    def run(case: str, *options: str, interrupt_at: str = "") -> tuple[int, str, Path]:
        out = tmp_path / "out"
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {"PYTHONPATH": paths.strip(os.pathsep)}
        demo = start_process("-m", "demo_stand_in", case, "--out", str(out), *options, env=environment)
        until = time.monotonic() + PATIENCE
        while interrupt_at and interrupt_at not in demo.output() and time.monotonic() < until:
            assert demo.popen.poll() is None, demo.output()
            time.sleep(0.1)
        if interrupt_at:
            demo.popen.send_signal(signal.SIGINT)
        code = demo.popen.wait(PATIENCE)
        assert "Traceback" not in demo.output()
        assert left_running("demo_stand_in") == []
        (folder,) = out.iterdir()
        return code, demo.output(), folder

    return run


@pytest.mark.parametrize(("case", "code"), [("finishes", 0), ("collides", 1)])
def test_a_drive_leaves_its_products_and_its_verdict(case: str, code: int, run_demo: Callable) -> None:
    found, output, folder = run_demo(case)
    assert found == code, output
    assert {path.name for path in folder.iterdir()} == PRODUCTS
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["passed"] is (code == 0)
    assert metrics["plans"] == 8
    assert "completed: 100 % of the route" in output
    assert ("hit a car" in output) is (case == "collides")
    assert str(folder / "report.html") in output


def test_an_interrupted_drive_still_gives_its_report(run_demo: Callable) -> None:
    code, output, folder = run_demo("interrupted", interrupt_at="s driven")
    assert code == 1, output
    assert {path.name for path in folder.iterdir()} == PRODUCTS
    assert json.loads((folder / "metrics.json").read_text())["problem"] == "interrupted"


def test_a_planner_that_dies_ends_the_drive_with_its_last_words(run_demo: Callable) -> None:
    code, output, folder = run_demo("planner dies")
    assert code == 3
    assert "planner ended with code 3" in output
    assert "no weights ship for config 'nano'" in output
    assert json.loads((folder / "metrics.json").read_text())["passed"] is False


def test_a_drive_without_plans_is_broken_and_says_so(run_demo: Callable) -> None:
    code, output, folder = run_demo("no plans")
    assert code == 3
    assert "did the planner run?" in output
    assert (folder / "metrics.json").exists()


def test_without_recording_only_the_metrics_are_left(run_demo: Callable) -> None:
    code, output, folder = run_demo("finishes", "--no-record")
    assert code == 0, output
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "logs"}
