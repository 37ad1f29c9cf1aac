"""State of the embedded world at one instant: what the simulation hands to the renderer, the expert and the scoring."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np


class LightState(IntEnum):
    """carla_msgs/CarlaTrafficLightStatus values."""

    RED = 0
    YELLOW = 1
    GREEN = 2
    OFF = 3


class ActorKind(StrEnum):
    """What an actor is; it decides its mesh, its dynamics and its object class."""

    CAR = "car"
    VAN = "van"
    TRUCK = "truck"
    AMBULANCE = "ambulance"
    BICYCLE = "bicycle"
    PEDESTRIAN = "pedestrian"
    TRAFFIC_CONE = "traffic_cone"
    BARRIER = "barrier"

    @property
    def object_class(self) -> str:
        """Name among `rsd_model.contracts.OBJECT_CLASSES`."""
        return {"ambulance": "van", "barrier": "others"}.get(self.value, self.value)


@dataclass(frozen=True)
class ActorState:
    """A vehicle, person or obstacle. Pose in `map`: x, y of the box centre, z of the ground below it."""

    id: int  # 1 .. 65535, unique in an episode; also the value in the instance image
    kind: ActorKind
    position: np.ndarray  # (3,) m
    yaw: float  # rad
    size: tuple[float, float, float]  # length, width, height, m
    velocity: np.ndarray  # (2,) m/s, map
    yaw_rate: float = 0.0  # rad/s
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)  # linear RGB, 0 .. 1
    braking: bool = False
    blinker: int = 0  # -1 right, 0 off, 1 left
    siren: bool = False
    door_open: float = 0.0  # 0 .. 1, left front door
    phase: float = 0.0  # rad, of the walking or pedalling cycle
    parked: bool = False


@dataclass(frozen=True)
class Weather:
    """All that changes light and road. Names: clear, overcast, rain, fog, dusk, night (`rsd_world.render.weather`)."""

    name: str = "clear"


@dataclass(frozen=True)
class EgoVehicle:
    """The ego's kinematic state in `map`; origin at the vehicle's centre on the ground."""

    position: np.ndarray  # (3,) m
    yaw: float  # rad
    speed: float  # m/s, forward, negative in reverse
    acceleration: float  # m/s^2, forward
    lateral_acceleration: float  # m/s^2, left positive
    yaw_rate: float  # rad/s
    wheel_angle: float  # rad, left positive
    size: tuple[float, float, float] = (4.892, 1.837, 1.49)  # length, width, height, m (Bench2Drive's ego)


@dataclass(frozen=True)
class Snapshot:
    """The whole dynamic state at `time`. The town itself does not change and is not in here."""

    frame: int
    time: float  # s since the episode began
    ego: EgoVehicle
    actors: tuple[ActorState, ...]
    lights: dict[int, LightState]  # id of `TrafficLight` -> state
    weather: Weather = field(default_factory=Weather)
