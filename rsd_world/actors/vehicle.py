"""One vehicle on its lane path: where it is, and what it is told beyond plain driving."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rsd_world.actors.catalogue import Blueprint
from rsd_world.actors.lane_path import LanePath, StopLine
from rsd_world.state import ActorState


@dataclass
class Vehicle:
    """State of one driver. The fields from `pinned` on let a scenario direct it."""

    id: int
    blueprint: Blueprint
    color: tuple[float, float, float]
    path: LanePath
    s: float  # m of its centre along the path
    speed: float  # m/s
    lateral: float = 0.0  # m left of the path
    acceleration: float = 0.0  # m/s^2
    still: float = 0.0  # s it has stood
    stopped_at_sign: bool = False
    release_s: float | None = None  # m along the path, where its rear leaves the junction that it holds
    entered: float | None = None  # s of the stop line that it was let over
    phase: float = 0.0  # rad, pedalling
    yaw_rate: float = 0.0

    pinned: bool = False  # a scenario owns it: never moved away
    desired_speed: float | None = None  # m/s instead of the lane's limit
    forced_acceleration: float | None = None  # m/s^2 instead of everything else
    lateral_target: float = 0.0  # m
    lateral_rate: float = 1.2  # m/s
    assertive: bool = False  # takes its right of way, lights and other claims do not stop it
    yields_to_ego: bool = True  # False: it sees the ego only when it is straight ahead on its own lane
    siren: bool = False
    parked: bool = False
    door_open: float = 0.0
    blinker: int | None = None  # None: by the path

    position: np.ndarray = field(default_factory=lambda: np.zeros(3))  # (3,) m, map
    yaw: float = 0.0  # rad

    def __post_init__(self) -> None:
        self.place()

    @property
    def half_length(self) -> float:
        """m."""
        return 0.5 * self.blueprint.size[0]

    @property
    def velocity(self) -> np.ndarray:
        """(2,) m/s, map."""
        return self.speed * np.array([math.cos(self.yaw), math.sin(self.yaw)])

    @property
    def next_stop(self) -> StopLine | None:
        """The first stop line that its centre has not passed."""
        return next((stop for stop in self.path.stops if stop.s > self.s), None)

    def path_ahead(self, length: float) -> np.ndarray:
        """(P, 2) m, map: the next `length` m that it means to drive, 1 m apart, moving to its lateral target."""
        s = np.minimum(np.arange(self.s, self.s + length, 1.0), len(self.path.points) - 1.0)
        grid = np.arange(len(self.path.points))
        points = np.stack([np.interp(s, grid, self.path.points[:, k]) for k in range(2)], axis=-1)
        yaw = np.interp(s, grid, self.path.yaw)
        reach = self.lateral_rate / max(self.speed, 2.0) * (s - self.s)
        lateral = self.lateral + np.clip(self.lateral_target - self.lateral, -reach, reach)
        return points + lateral[:, None] * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)

    def place(self) -> None:
        """Set the pose from the path."""
        self.position, self.yaw = self.path.pose(self.s, self.lateral)

    def advance(self, acceleration: float, dt: float) -> None:
        """Move on by `dt` s."""
        before = self.speed
        self.speed = max(0.0, before + acceleration * dt)
        self.acceleration = (self.speed - before) / dt
        travelled = 0.5 * (before + self.speed) * dt
        self.s += travelled
        self.still = self.still + dt if self.speed < 0.1 else 0.0
        shift = self._shift_sideways(travelled, dt)
        old_yaw = self.yaw
        self.place()
        self.yaw += math.atan2(shift, max(travelled, 1e-3)) if shift else 0.0
        self.yaw_rate = math.remainder(self.yaw - old_yaw, 2.0 * math.pi) / dt
        self.phase = (self.phase + travelled * 1.6) % (2.0 * math.pi)

    def replace_path(self, path: LanePath, origin: float) -> None:
        """Take a new path whose first sample lies at `origin` m of the old one."""
        self.path = path
        self.s -= origin
        self.release_s = None if self.release_s is None else self.release_s - origin
        self.entered = None if self.entered is None else self.entered - origin

    def state(self) -> ActorState:
        """What others see."""
        return ActorState(
            id=self.id,
            kind=self.blueprint.kind,
            position=self.position,
            yaw=math.remainder(self.yaw, 2.0 * math.pi),
            size=self.blueprint.size,
            velocity=self.velocity,
            yaw_rate=self.yaw_rate,
            color=self.color,
            braking=self.acceleration < -0.6 or self.speed < 0.1,
            blinker=self._shown_blinker(),
            siren=self.siren,
            door_open=self.door_open,
            phase=self.phase,
            parked=self.parked,
        )

    def _shift_sideways(self, travelled: float, dt: float) -> float:
        wanted = self.lateral_target - self.lateral
        # A vehicle cannot slide: at most half a metre aside per metre driven.
        limit = min(self.lateral_rate * dt, 0.5 * travelled)
        shift = min(max(wanted, -limit), limit)
        self.lateral += shift
        return shift

    def _shown_blinker(self) -> int:
        if self.blinker is not None:
            return self.blinker
        ahead = self.path.yaw[min(int(self.s) + 25, len(self.path.yaw) - 1)] - self.path.yaw[int(self.s)]
        return 0 if abs(ahead) < 0.6 else int(math.copysign(1, ahead))
