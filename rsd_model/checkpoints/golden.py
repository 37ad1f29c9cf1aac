"""Recorded outputs of the public VAD: the file format, the weights they were recorded with, and the comparison.

A frame holds its inputs `f{i}/lidar2img` and `f{i}/can_bus`, and outputs `f{i}/{mid,head,decoded}/<name>`: every
`/step`-th element of the flattened tensor, its `/shape` and its `/stats` (mean, standard deviation, largest magnitude).
Where `/shape` is missing the array itself is the tensor.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rsd_model.checkpoints.vad import rename, vad_table
from rsd_model.config import ModelConfig

TOLERANCE = 1e-4  # relative error of a tensor: norm of the difference over norm
CONSTANTS = ("code_weights", "num_batches_tracked")  # not set by the rule
OUTPUTS = ("mid/", "head/", "decoded/")
CAN_BUS = 18  # numbers of a can bus


class GoldenError(ValueError):
    """A file that cannot be read as recorded outputs."""


@dataclass(frozen=True)
class Row:
    """One compared tensor."""

    name: str
    shape: tuple[int, ...]
    error: float  # relative; inf where shapes differ
    passed: bool
    note: str = ""
    by_rounding: bool = False  # passed beyond the tolerance: rounding moves it as far


def rule_weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray | None:
    """Value of a VAD parameter or buffer by the recording's rule, from its name alone; None: leave it as built."""
    leaf = key.rsplit(".", 1)[-1]
    if key.endswith(CONSTANTS):
        return None
    noise = np.random.default_rng([zlib.crc32(key.encode()), seed]).standard_normal(shape).astype(np.float32)
    if leaf == "running_var":
        return 1.0 + 0.2 * np.abs(noise)
    if leaf in ("running_mean", "bias", "in_proj_bias"):
        return (1.5 if "sampling_offsets" in key else 0.1) * noise
    if len(shape) == 1:
        return 1.0 + 0.1 * noise
    if "embed" in key or "query" in key:
        return 0.5 * noise
    gain = 0.3 if "sampling_offsets" in key else 1.0
    return noise * np.float32(gain * np.sqrt(1.6 / np.prod(shape[1:])))


def set_rule_weights(module: nn.Module, config: ModelConfig, seed: int, path: str = "") -> None:
    """Fill what VAD has of a Planner, or of its part at `path`, by the recording's rule."""
    table = vad_table(config)
    state = module.state_dict()
    for key, value in state.items():
        theirs = rename(f"{path}{key}", table)
        recorded = None if theirs is None else rule_weight(theirs, tuple(value.shape), seed)
        if recorded is not None:
            state[key] = torch.from_numpy(np.asarray(recorded, dtype=np.float32))
    module.load_state_dict(state)


class GoldenFile:
    """A recording in memory. Raises GoldenError where the file cannot be read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise GoldenError(f"{path}: no such file")
        self.values = _read_archive(self.path)
        self.frames = sorted({int(m.group(1)) for key in self.values if (m := re.match(r"f(\d+)/", key))})
        self.has_losses = any(key.startswith(("loss/", "plan/")) for key in self.values)

    def check_inputs(self) -> None:
        """Raises GoldenError where there is no frame, one is missing, or one lacks usable inputs."""
        if not self.frames:
            raise GoldenError(f"{self.path}: holds no frames (f0/...)")
        if self.frames != list(range(self.frames[0], self.frames[-1] + 1)):
            raise GoldenError(
                f"{self.path}: has frames {self.frames}; one between them is missing, and with it its BEV"
            )
        rigs = set()
        for frame in self.frames:
            rig = self.values.get(f"f{frame}/lidar2img")
            if rig is None or rig.ndim not in (3, 4) or rig.shape[-2:] not in ((3, 4), (4, 4)) or not _finite(rig):
                found = "missing" if rig is None else f"of shape {rig.shape}"
                raise GoldenError(
                    f"{self.path}: f{frame}/lidar2img is {found}, expected finite numbers (cameras, 4, 4)"
                )
            bus = self.values.get(f"f{frame}/can_bus", self.values.get(f"f{frame}/can_bus_used"))
            if bus is None or bus.shape[-1:] != (CAN_BUS,) or not _finite(bus):
                found = "missing" if bus is None else f"of shape {bus.shape}"
                raise GoldenError(f"{self.path}: f{frame}/can_bus is {found}, expected {CAN_BUS} finite numbers")
            rigs.add(rig.shape)
        if len(rigs) > 1:
            raise GoldenError(f"{self.path}: lidar2img changes its shape between frames: {sorted(rigs)}")

    def tensors(self, frame: int) -> list[str]:
        """Names `mid/...`, `head/...`, `decoded/...` recorded for a frame, in the file's order."""
        prefix = f"f{frame}/"
        names = (
            re.sub(r"/(shape|stats|step)$", "", key[len(prefix) :]) for key in self.values if key.startswith(prefix)
        )
        return list(dict.fromkeys(name for name in names if name.startswith(OUTPUTS)))

    def shape(self, frame: int, name: str) -> tuple[int, ...] | None:
        """Shape of a recorded tensor; None where it was not recorded."""
        title = f"f{frame}/{name}"
        if f"{title}/shape" in self.values:
            return tuple(int(v) for v in self.values[f"{title}/shape"].ravel())
        return self.values[title].shape if title in self.values else None

    def whole(self, frame: int, name: str) -> np.ndarray | None:
        """A recorded tensor of which every element was stored; None for any other."""
        value, shape = self.values.get(f"f{frame}/{name}"), self.shape(frame, name)
        return None if value is None or shape is None or value.size != np.prod(shape) else value.reshape(shape)

    def compare(self, frame: int, name: str, actual: np.ndarray, tolerance: float = TOLERANCE) -> Row:
        """Relative error of `actual` against the recorded samples of a tensor, and of its mean and spread."""
        title, shape = f"f{frame}/{name}", self.shape(frame, name)
        recorded = self.values.get(title)
        if recorded is None or not _numeric(recorded):
            return Row(title, shape or (), float("inf"), False, "the file lacks its values")
        if shape != tuple(actual.shape):
            return Row(title, tuple(actual.shape), float("inf"), False, f"recorded shape is {shape}")
        flat = np.asarray(actual, dtype=np.float64).ravel()
        step = max(1, int(self.values.get(f"{title}/step", 1)))
        samples = flat[::step]
        if samples.size != recorded.size:
            note = f"the file holds {recorded.size} of its values, expected {samples.size}"
            return Row(title, shape, float("inf"), False, note)
        error = relative_error(samples, recorded.astype(np.float64).ravel())
        stats = self.values.get(f"{title}/stats")
        if stats is not None and stats.size == 3 and flat.size:
            mean, std, largest = (float(value) for value in stats.ravel())
            scale = max(largest, 1e-12)
            error = max(error, abs(flat.mean() - mean) / scale, abs(flat.std() - std) / scale)
        return Row(title, shape, error, error < tolerance, "" if np.isfinite(error) else "not finite on one side")


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            raise GoldenError(f"{path}: holds a single array, expected an .npz archive of named arrays")
        with data:
            return {key: data[key] for key in data.files}
    except GoldenError:
        raise
    except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise nearly anything
        raise GoldenError(f"{path}: not readable as .npz: {error}") from None


def _numeric(values: np.ndarray) -> bool:
    return bool(np.issubdtype(values.dtype, np.number) or values.dtype == bool)


def _finite(values: np.ndarray) -> bool:
    return _numeric(values) and bool(np.isfinite(values).all())


def relative_error(actual: np.ndarray, recorded: np.ndarray) -> float:
    """Norm of the difference over the norm of `recorded` (over 1 where that is zero).

    inf where shapes differ or a number is not finite.
    """
    if actual.shape != recorded.shape:
        return float("inf")
    norm = float(np.linalg.norm(recorded))
    error = float(np.linalg.norm(actual - recorded)) / (norm if norm > 0 else 1.0)
    return error if np.isfinite(error) else float("inf")
