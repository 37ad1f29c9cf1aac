"""Processes that work on simulated drives side by side."""

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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """Without this, workers of a killed run drive on until their queue is empty."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
