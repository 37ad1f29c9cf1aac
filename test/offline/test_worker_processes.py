"""Pools of worker processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time
from pathlib import Path
from rsd_offline.bench.apart import run_apart
from rsd_offline.worker_processes import worker_pool

def start(folder):
    (Path(folder) / str(os.getpid())).touch()

def start_and_sleep(folder):
    start(folder)
    time.sleep(60.0)

if __name__ == "__main__":
    {run}
"""
IN_A_POOL = "worker_pool(1, start, (sys.argv[1],)).submit(time.sleep, 60.0).result()"
APART = "run_apart(start_and_sleep, sys.argv[1], limit=60.0)"


def until(condition, seconds=20.0):
    """Whether `condition()` came to hold in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("run", [IN_A_POOL, APART])
def test_workers_end_with_a_parent_that_is_killed(run, tmp_path):
    program, started = tmp_path / "program.py", tmp_path / "started"
    program.write_text(PROGRAM.format(run=run))
    started.mkdir()
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, program, started], env={**os.environ, "PYTHONPATH": paths})
    try:
        assert until(lambda: any(started.iterdir()))
        worker = int(next(started.iterdir()).name)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert until(lambda: not Path(f"/proc/{worker}").exists())
