"""Time, memory and the hardware they were taken on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

MEGABYTE = 1e6
# "process" counts this process's own CPU time: on one thread, about what an idle machine would take by the wall clock.
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "process": time.process_time}


def hardware(device: str) -> dict[str, Any]:
    """Names of processor or GPU, threads and versions, for the head of every result."""
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    found |= {"cpu": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found |= {"load average before": os.getloadavg()[0]}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        tf32 = torch.backends.cudnn.allow_tf32  # what "fp32" means there
        found |= {"float32 matmul": torch.get_float32_matmul_precision(), "tf32 convolutions": tf32}
    return found


def processor_name() -> str:
    """The processor's name as the kernel reports it."""
    with contextlib.suppress(OSError):
        match = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        if match:
            return match.group(1).strip()
    return platform.processor() or platform.machine()


def hardware_name(device: str) -> str:
    """The part of `hardware` that names a result file: lower case, dashes."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{processor_name()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Stopwatch:
    """How things are timed: on which device, how often, by which of CLOCKS.

    Raises ValueError where the device is not there or the clock cannot time it.
    """

    device: str
    repeats: int
    clock: str = "wall"

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device {self.device!r}: allowed are cpu, cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda': this machine has no GPU that torch can use; --device cpu measures here")
        if self.clock not in CLOCKS or (self.clock == "process" and self.device != "cpu"):
            raise ValueError(f"clock {self.clock!r} on {self.device}: allowed are wall, and on the cpu process")

    def now(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return CLOCKS[self.clock]()

    def milliseconds(self, function: Callable[[], Any], repeats: int | None = None, warm_up: int = 1) -> list[float]:
        """Time of each call after `warm_up` calls that do not count."""
        times = []
        for _ in range(warm_up):
            function()
        for _ in range(self.repeats if repeats is None else repeats):
            start = self.now()
            function()
            times.append(1e3 * (self.now() - start))
        return times


def percentiles(times: list[float]) -> dict[str, float]:
    """Best, p50 and p99 in ms; with few repeats p99 is close to the maximum."""
    return {"best": min(times)} | {f"p{q}": float(np.percentile(times, q)) for q in (50, 99)}


def peak_memory(function: Callable[[], Any], device: str) -> float | None:
    """MB that one call takes at its peak beyond what was held before; None where the system does not tell."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MEGABYTE
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status_kilobytes("VmRSS")
        function()
        return (_status_kilobytes("VmHWM") - before) * 1024 / MEGABYTE
    return None


def _status_kilobytes(key: str) -> int:
    match = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    if match is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(match.group(1))


def copy_bandwidth(watch: Stopwatch, megabytes: float = 256.0, copies: int = 1) -> float:
    """GB/s read plus written by the best of a few runs of `copies` copies: what memory gives at most in practice.

    A small copy repeated many times stays in the cache and tells that cache's bandwidth.
    """
    source = torch.ones(int(megabytes * MEGABYTE) // 4, device=watch.device)
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(copies):
            target.copy_(source)

    best = min(watch.milliseconds(copy, repeats=5))
    return 2 * copies * source.nbytes / best / 1e6


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
