"""Processes that work for another one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def worker_pool(workers: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> ProcessPoolExecutor:
    """A pool of fresh processes, each of which calls `start(*arguments)` first. A killed parent takes them with it."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start, (start, arguments))


def _start(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    start(*arguments)


def end_with_parent() -> None:
    """Called in a child process: it ends when its parent does. Else those of a killed run work on for nobody."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
