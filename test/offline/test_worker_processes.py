"""Pools of worker processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, sys, time
from pathlib import Path
from rsd_offline.worker_processes import worker_pool

def start(folder):
    (Path(folder) / str(os.getpid())).touch()

if __name__ == "__main__":
    with worker_pool(1, start, (sys.argv[1],)) as pool:
        pool.submit(time.sleep, 60.0).result()
"""


def until(condition, seconds=20.0):
    """Whether `condition()` came to hold in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    program, started = tmp_path / "program.py", tmp_path / "started"
    program.write_text(PROGRAM)
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
