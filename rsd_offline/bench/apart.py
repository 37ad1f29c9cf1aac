"""A function in a process of its own, which may take too long or die without taking its caller along."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from rsd_offline.worker_processes import end_with_parent


class ApartError(RuntimeError):
    """There is no result; the message says why."""


def run_apart(function: Callable[..., Any], *arguments: Any, limit: float) -> Any:
    """What `function(*arguments)` returns, from a fresh process; both must be picklable.

    Raises ApartError when it takes longer than `limit` s (the process is then ended), raises, or dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise ApartError(f"took longer than {limit:.0f} s and was stopped")
        done, result = receiver.recv()
    except EOFError:
        process.join()
        raise ApartError(f"died with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if not done:
        raise ApartError(result)
    return result


def _call(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    try:
        outcome = True, function(*arguments)
    except Exception as error:  # a compiler's, a driver's: the caller decides what it means
        outcome = False, f"failed with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    sender.send(outcome)
