"""Key frames of any dataset: what a labeller needs of one instant, whoever recorded it.

Everything geometric is in base_link of the frame's instant (x forward, y left, z up; metres, radians). Images are
decoded when asked for. A source is cheap to pickle, so that it can be opened again in another process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rsd_model.contracts import CameraRig, Command
from rsd_model.geometry import transform_points


class FrameSourceError(ValueError):
    """A dataset, or one frame of it, cannot be read."""


@dataclass(frozen=True)
class AnnotatedObjects:
    """K annotated objects of one frame in base_link."""

    boxes: np.ndarray  # (K, 7) x, y, z centre, length, width, height, yaw
    velocities: np.ndarray  # (K, 2) m/s over ground, nan = unknown
    classes: tuple[str, ...]  # K names of the dataset's own
    ids: np.ndarray  # (K,) int64, the same object keeps its id within a clip
    hidden: np.ndarray  # (K,) bool, the dataset itself knows that no camera sees it

    def __post_init__(self) -> None:
        count = len(self.classes)
        for name, shape in (("boxes", (count, 7)), ("velocities", (count, 2)), ("ids", (count,)), ("hidden", (count,))):
            if getattr(self, name).shape != shape:
                raise FrameSourceError(f"AnnotatedObjects.{name} is {getattr(self, name).shape}, expected {shape}")

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class KeyFrame:
    """One instant. `load_images` decodes the N images, RGB (H, W, 3) uint8, in the rig's order."""

    frame_id: str  # <clip>/<five digits>, unique in a dataset
    rig: CameraRig
    load_images: Callable[[], tuple[np.ndarray, ...]] = field(repr=False)
    ego_speed: float | None = None  # m/s
    lane_offset: float | None = None  # m, positive = the ego is left of its lane's centre line
    command: Command | None = None
    future: np.ndarray | None = None  # (T, 2) m, base_link, every 0.5 s from 0.5 s on
    objects: AnnotatedObjects | None = None  # None = the dataset has no annotations
    weather: str = ""
    time_of_day: str = ""  # day, dusk, night, "" = unknown
    town: str = ""

    @property
    def clip(self) -> str:
        """Name of the drive that the frame is of."""
        return self.frame_id.rpartition("/")[0]


class FrameSource(Protocol):
    """A dataset as a sequence of key frames."""

    name: str

    def __len__(self) -> int: ...

    def frame_id(self, index: int) -> str:
        """Name of a frame; the same frame has the same name in every run."""
        ...

    def frame(self, index: int) -> KeyFrame:
        """Read frame `index` without its images. Raises FrameSourceError where it is damaged."""
        ...


def future_positions(poses: np.ndarray, current: int, steps: int) -> np.ndarray | None:
    """(T <= steps, 2) m, the origins of the following poses (P, 4, 4) in base_link of `current`; None at the end."""
    following = poses[current + 1 : current + 1 + steps, :3, 3]
    if len(following) == 0:
        return None
    return transform_points(np.linalg.inv(poses[current]), following)[:, :2]


def lane_offset(center_lines: np.ndarray, reach: float = 2.5) -> float | None:
    """Lateral offset of the ego from the nearest centre line that runs its way, m, positive = the ego is on its left.

    center_lines (M, P, 2) in base_link. None where no line within `reach` m runs within 45 degrees of the ego's
    heading.
    """
    if len(center_lines) == 0:
        return None
    starts, along = center_lines[:, :-1].reshape(-1, 2), np.diff(center_lines, axis=1).reshape(-1, 2)
    lengths = np.linalg.norm(along, axis=1)
    usable = (lengths > 1e-6) & (along[:, 0] > np.cos(np.pi / 4) * lengths)
    starts, along, lengths = starts[usable], along[usable], lengths[usable, None]
    if len(starts) == 0:
        return None
    direction = along / lengths
    at = np.clip(-(starts * direction).sum(1, keepdims=True), 0.0, lengths)
    nearest = starts + at * direction
    distances = np.linalg.norm(nearest, axis=1)
    best = int(distances.argmin())
    if distances[best] > reach:
        return None
    left = direction[best, 1] * nearest[best, 0] - direction[best, 0] * nearest[best, 1]
    return float(np.copysign(distances[best], left))
