"""What the parts hand to each other: frozen dataclasses, each field with shape, unit and frame.

`base_link` is REP 103: x forward, y left, z up, metres; its origin is the vehicle's centre on the ground (CARLA's actor
origin). `map` is right-handed, z up. Optical frames are x right, y down, z forward. Angles are rad, counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

OBJECT_CLASSES = (
    "car", "van", "truck", "bicycle", "traffic_sign", "traffic_cone", "traffic_light", "pedestrian", "others",
)  # fmt: skip
MAP_CLASSES = ("Broken", "Solid", "SolidSolid", "Center", "TrafficLight", "StopSign")
PLAN_STEPS = 6
PLAN_STEP_SECONDS = 0.5
STANDSTILL = 0.1  # m/s; slower is standing, as Bench2Drive's stop-sign test has it


class Command(IntEnum):
    """High-level command: CARLA's RoadOption minus one, the order in which VAD's planner rows are stored."""

    LEFT = 0
    RIGHT = 1
    STRAIGHT = 2
    LANEFOLLOW = 3
    CHANGELANELEFT = 4
    CHANGELANERIGHT = 5

    @classmethod
    def from_road_option(cls, value: int) -> Command:
        """RoadOption -1 (VOID) or 1..6 to a command; raises ValueError for anything else."""
        if value == -1:
            return cls.LANEFOLLOW
        if not 1 <= value <= 6:
            raise ValueError(f"road option {value} is none of -1, 1..6")
        return cls(value - 1)


@dataclass(frozen=True)
class CameraRig:
    """The cameras in a fixed order: learned camera embeddings are tied to the index, order is part of the contract."""

    names: tuple[str, ...]  # N
    intrinsics: np.ndarray  # (N, 3, 3) pixels
    cam_to_base: np.ndarray  # (N, 4, 4) optical frame -> base_link, metres
    sizes: np.ndarray  # (N, 2) width, height in pixels

    def __post_init__(self) -> None:
        n = len(self.names)
        for name, shape in (("intrinsics", (n, 3, 3)), ("cam_to_base", (n, 4, 4)), ("sizes", (n, 2))):
            value = getattr(self, name)
            if value.shape != shape:
                raise ValueError(f"CameraRig.{name} has shape {value.shape}, expected {shape} for {n} cameras")
            if not np.isfinite(value).all():
                raise ValueError(f"CameraRig.{name} holds values that are not finite")


@dataclass(frozen=True)
class EgoState:
    """The vehicle at one instant."""

    stamp: float  # s
    pose: np.ndarray  # (4, 4) base_link -> map
    velocity: np.ndarray  # (3,) m/s, base_link
    acceleration: np.ndarray  # (3,) m/s^2, base_link
    yaw_rate: float  # rad/s, counter-clockwise

    @property
    def speed(self) -> float:
        """Forward speed in m/s, negative in reverse."""
        return float(self.velocity[0])


@dataclass(frozen=True)
class FrameSet:
    """One synchronised instant as the planner sees it: nothing privileged."""

    stamp: float  # s, the reference stamp of the set
    images: tuple[np.ndarray, ...]  # N x (H, W, 3) uint8 RGB; zeros where not valid
    stamps: np.ndarray  # (N,) s, stamp of each image; nan where not valid
    valid: np.ndarray  # (N,) bool
    rig: CameraRig
    ego: EgoState
    command: Command
    route: np.ndarray  # (R, 2) m, base_link, route ahead from the ego on; R may be 0 (no route)


@dataclass(frozen=True)
class DetectedObjects:
    """K decoded objects in base_link, by falling score."""

    boxes: np.ndarray  # (K, 7) x, y, z centre, length, width, height, yaw
    velocities: np.ndarray  # (K, 2) m/s
    labels: np.ndarray  # (K,) int, index into OBJECT_CLASSES
    scores: np.ndarray  # (K,) [0, 1]
    risks: np.ndarray  # (K,) [0, 1]
    futures: np.ndarray  # (K, modes, steps, 2) m, positions every PLAN_STEP_SECONDS
    future_probabilities: np.ndarray  # (K, modes)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class MapElements:
    """M decoded map polylines in base_link, by falling score."""

    points: np.ndarray  # (M, P, 2) m
    labels: np.ndarray  # (M,) int, index into MAP_CLASSES
    scores: np.ndarray  # (M,) [0, 1]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RiskGrid:
    """Dense risk in base_link, laid out as nav_msgs/OccupancyGrid: row = y, column = x, cell (0, 0) at the corner."""

    values: np.ndarray  # (rows, columns) float32 in [0, 1]; nan = unknown
    resolution: float  # m per cell
    origin: tuple[float, float]  # m, base_link x, y of the corner of cell (0, 0)


@dataclass(frozen=True)
class PlannerOutput:
    """What one inference says."""

    stamp: float  # s, stamp of the frame set it was computed from
    command: Command
    trajectory: np.ndarray  # (6, 2) m, base_link positions at 0.5 .. 3.0 s, row of the chosen command
    trajectories: np.ndarray  # (6 commands, 6, 2)
    objects: DetectedObjects
    map: MapElements
    risk_grid: RiskGrid
    valid_share: float  # share of cameras that were valid, [0, 1]
    timings: dict[str, float] = field(default_factory=dict)  # ms by stage
    stop_reason: str = ""  # why the trajectory stops short of the network's; empty: it is the network's
    emergency: bool = False  # it brakes fully


@dataclass(frozen=True)
class VehicleControl:
    """Actuation in CARLA's terms."""

    throttle: float = 0.0  # 0 .. 1
    steer: float = 0.0  # -1 .. 1 of the maximum wheel angle, positive = RIGHT (CARLA's sign)
    brake: float = 0.0  # 0 .. 1
    hand_brake: bool = False
    reverse: bool = False
