"""What the nodes' programs have in common: a start that fails with a sentence, and a clean end by any signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

EXIT_NOT_STARTED = 3
CANNOT_START = (ParameterException, NameValidationException, ValueError, OSError)  # what a user can put right
SPIN_SLICE = 0.2  # s between two interruption points
NodeType = TypeVar("NodeType", bound=Node)


@contextmanager
def ros_program(args: list[str] | None) -> Iterator[Callable[[], None]]:
    """rclpy from start to end, with a function to call wherever the program may end in good order.

    After a SIGINT or SIGTERM that function raises KeyboardInterrupt, which goes no further than this context. Raised at
    once it would come in the midst of anything, such as making a subscription or writing to a recording; a second
    signal does just that. rclpy's own handlers would close the graph under the hands of every thread that publishes.
    """
    told: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)

    def interruption_point() -> None:
        if told:
            raise KeyboardInterrupt

    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        yield interruption_point
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        ignore_signals()
        rclpy.try_shutdown()


def ignore_signals() -> None:
    """From here on the program ends anyway: a second Ctrl-C must not interrupt that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def run_node(
    make: Callable[[], NodeType], args: list[str] | None = None, start: Callable[[NodeType], bool] = lambda node: True
) -> int:
    """Make a node and spin it until the program is told to end; returns the exit code.

    `start` is called before spinning. `EXIT_NOT_STARTED` where it returns false (it has said why), or where the node
    cannot be made: a parameter out of its range, a file that cannot be written.
    """
    with ros_program(args) as interruption_point:
        try:
            node = make()
        except CANNOT_START as problem:
            print(f"cannot start: {problem}", file=sys.stderr)
            return EXIT_NOT_STARTED
        try:
            if not start(node):
                return EXIT_NOT_STARTED
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            while rclpy.ok():
                interruption_point()
                executor.spin_once(timeout_sec=SPIN_SLICE)
        finally:
            ignore_signals()
            node.destroy_node()
    return 0
