"""How parts of the network that do not need each other are started: one after the other, unless a recorded graph runs
them in threads of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

# Starts a function of tensors; calling what it returns waits for the result.
Beside = Callable[..., Callable[[], Any]]


def at_once(function: Callable[..., Any], *tensors: Tensor) -> Callable[[], Any]:
    """The `Beside` that runs one after the other."""
    result = function(*tensors)
    return lambda: result
