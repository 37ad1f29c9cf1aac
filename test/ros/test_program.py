"""Programs end in good order at a first signal, at once at a second, and never in the midst of a call."""

import signal
import time

import pytest

START_SECONDS = 30.0
PROGRAM = """
import os, sys, time
from rsd_ros.program import ros_program
with ros_program([]) as interruption_point:
    print("up", flush=True)
    while not os.path.exists(sys.argv[1]):  # a call that takes long
        time.sleep(0.01)
    print("whole", flush=True)
    interruption_point()
    print("after", flush=True)
print("ended", flush=True)
"""


def lines(process) -> list[str]:
    return process.output().split()


def until(condition, process) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < end, process.output()
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_lets_a_call_finish(start_process, tmp_path, number):
    process = start_process("-c", PROGRAM, str(tmp_path / "go"))
    until(lambda: "up" in lines(process), process)
    process.popen.send_signal(number)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    assert process.popen.wait(START_SECONDS) == 0
    assert lines(process) == ["up", "whole", "ended"]


def test_a_second_signal_interrupts_at_once(start_process, tmp_path):
    process = start_process("-c", PROGRAM, str(tmp_path / "never"))
    until(lambda: "up" in lines(process), process)
    for number in (signal.SIGINT, signal.SIGTERM):  # two of a kind may become one
        process.popen.send_signal(number)
    assert process.popen.wait(START_SECONDS) == 0
    assert lines(process) == ["up", "ended"]


def test_without_a_signal_the_program_goes_on(start_process, tmp_path):
    (tmp_path / "go").touch()
    process = start_process("-c", PROGRAM, str(tmp_path / "go"))
    assert process.popen.wait(START_SECONDS) == 0
    assert lines(process) == ["up", "whole", "after", "ended"]
