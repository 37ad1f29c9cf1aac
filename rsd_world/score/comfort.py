"""Comfort ("driving smoothness"): share of 20-frame stretches within bounds, as published and corrected.

As published (tools/efficiency_smoothness_benchmark.py, 0.0.4): data of 20 Hz are taken for 10 Hz, the yaw rate is
CARLA's in deg/s against a bound in rad/s and is unwrapped as if it were an angle, the yaw "acceleration" is the yaw
rate again, jerk derives an already smoothed signal, magnitude jerk is d|a|/dt, and an incomplete last chunk is dropped.
The corrected variant undoes each of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import savgol_filter

CHUNK_FRAMES = 20
WINDOW, ORDER = 7, 2
# name: lower, upper; m/s^2, m/s^3, rad/s^2, rad/s
BOUNDS = {
    "lon_acc": (-4.05, 2.40),
    "lat_acc": (-4.89, 4.89),
    "mag_jerk": (-8.37, 8.37),
    "lon_jerk": (-4.13, 4.13),
    "yaw_acc": (-1.93, 1.93),
    "yaw_rate": (-0.95, 0.95),
}


@dataclass(frozen=True)
class Motion:
    """Motion of the ego over N frames; vectors in one world frame of any handedness."""

    acceleration: np.ndarray  # (N, 2) m/s^2
    forward: np.ndarray  # (N, 2) unit
    right: np.ndarray  # (N, 2) unit
    yaw_rate: np.ndarray  # (N,) deg/s as CARLA reports it

    def __len__(self) -> int:
        return len(self.yaw_rate)

    def part(self, start: int, stop: int) -> Motion:
        """Frames start .. stop - 1."""
        chosen = slice(start, stop)
        return Motion(self.acceleration[chosen], self.forward[chosen], self.right[chosen], self.yaw_rate[chosen])

    @classmethod
    def from_metric_info(cls, info: Mapping[str, Mapping[str, Any]]) -> Motion:
        """Read a `metric_info.json` mapping, step -> vectors, in its own order."""
        frames = list(info.values())

        def column(name: str) -> np.ndarray:
            return np.array([frame[name] for frame in frames], dtype=float).reshape(-1, 3)

        try:
            return cls(
                column("acceleration")[:, :2],
                column("forward_vector")[:, :2],
                column("right_vector")[:, :2],
                column("angular_velocity")[:, 2],
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"metric_info is malformed ({error!r}): every step needs four vectors of 3") from error


@dataclass(frozen=True)
class ComfortChunk:
    """One stretch: per criterion (smallest, largest, within bounds)."""

    criteria: dict[str, tuple[float, float, bool]]

    @property
    def comfortable(self) -> bool:
        """All six within bounds."""
        return all(ok for _, _, ok in self.criteria.values())


def comfort_chunks(motion: Motion, corrected: bool = False, dt: float = 0.05) -> list[ComfortChunk]:
    """Judge a route chunk by chunk; `dt` s between frames is used by the corrected variant alone.

    Raises ValueError for fewer than 3 frames, as the public tool does.
    """
    if len(motion) <= ORDER:
        raise ValueError(f"{len(motion)} frames are too few to judge comfort, {ORDER + 1} are needed")
    starts = range(0, len(motion), CHUNK_FRAMES)
    parts = [motion.part(start, start + CHUNK_FRAMES) for start in starts]
    shortest = ORDER + 1 if corrected or len(motion) <= CHUNK_FRAMES else CHUNK_FRAMES
    signals = (lambda part: _corrected_signals(part, dt)) if corrected else _published_signals
    return [_judge(signals(part)) for part in parts if len(part) >= shortest]


def route_comfort(motion: Motion, corrected: bool = False, dt: float = 0.05) -> float:
    """Share of comfortable chunks, 0 .. 1."""
    chunks = comfort_chunks(motion, corrected, dt)
    return sum(chunk.comfortable for chunk in chunks) / len(chunks)


def _judge(signals: dict[str, np.ndarray]) -> ComfortChunk:
    criteria = {}
    for name, (lower, upper) in BOUNDS.items():
        smallest, largest = float(signals[name].min()), float(signals[name].max())
        criteria[name] = (smallest, largest, smallest > lower and largest < upper)
    return ComfortChunk(criteria)


def _smooth(signal: np.ndarray, dt: float | None = None) -> np.ndarray:
    """Savitzky-Golay value, or derivative where `dt` is given, along the first axis."""
    window = min(WINDOW, len(signal))
    if dt is None:
        return savgol_filter(signal, window, ORDER, axis=0)
    return savgol_filter(signal, window, ORDER, deriv=1, delta=dt, axis=0)


def _published_signals(motion: Motion) -> dict[str, np.ndarray]:
    assumed_dt = 0.1  # the public tool's constant; its data are 0.05 s apart
    longitudinal = _smooth(np.sum(motion.acceleration * motion.forward, axis=1))
    turns = np.concatenate([[0.0], np.cumsum(np.round(np.diff(motion.yaw_rate) / (2.0 * np.pi)))])
    yaw_rate = _smooth(motion.yaw_rate - 2.0 * np.pi * turns)
    return {
        "lon_acc": longitudinal,
        "lat_acc": _smooth(np.sum(motion.acceleration * motion.right, axis=1)),
        "mag_jerk": _smooth(_smooth(np.hypot(*motion.acceleration.T)), assumed_dt),
        "lon_jerk": _smooth(longitudinal, assumed_dt),
        "yaw_acc": yaw_rate,
        "yaw_rate": yaw_rate,
    }


def _corrected_signals(motion: Motion, dt: float) -> dict[str, np.ndarray]:
    longitudinal = np.sum(motion.acceleration * motion.forward, axis=1)
    yaw_rate = np.radians(motion.yaw_rate)
    return {
        "lon_acc": _smooth(longitudinal),
        "lat_acc": _smooth(np.sum(motion.acceleration * motion.right, axis=1)),
        "mag_jerk": np.linalg.norm(_smooth(motion.acceleration, dt), axis=1),
        "lon_jerk": _smooth(longitudinal, dt),
        "yaw_acc": _smooth(yaw_rate, dt),
        "yaw_rate": _smooth(yaw_rate),
    }
