"""The embedded world: one town, one route, its traffic and its scenario, advanced step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import Command, EgoState, VehicleControl
from rsd_world.infractions import Infraction
from rsd_world.record import DriveRecord
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Town
from rsd_world.state import LightState, Snapshot


@dataclass(frozen=True)
class Episode:
    """What makes a drive; the same episode and the same controls give the same snapshots, bit for bit."""

    town: str = "alder"  # name or path, see `rsd_world.roads.towns.load_town`
    route: int = 0  # index among the town's routes; with a scenario: among the routes that suit it
    scenario: str | None = None  # a name of `rsd_world.scenarios.scenario_catalogue`, None = plain driving
    weather: str = "clear"
    seed: int = 0  # traffic, pedestrians, lights, the scenario's place
    vehicles: int = 30
    pedestrians: int = 20
    dt: float = 0.1  # s

    def __post_init__(self) -> None:
        if not 0.0 < self.dt <= 0.2:
            raise ValueError(f"Episode.dt is {self.dt} s, expected more than 0 and at most 0.2")
        for name in ("vehicles", "pedestrians", "seed", "route"):
            if getattr(self, name) < 0:
                raise ValueError(f"Episode.{name} is {getattr(self, name)}, expected 0 or more")


class World:
    """A drive that goes on: build it from an episode, step it with controls, read its state."""

    episode: Episode
    town: Town
    route: Route
    snapshot: Snapshot
    time: float  # s since the episode began
    progress: float  # 0 .. 1, route completion
    infractions: list[Infraction]
    done: bool
    outcome: str  # completed | blocked | timeout | off_route | running

    def __init__(self, episode: Episode, town: Town | None = None, route: Route | None = None) -> None:
        """`town` and `route` given: they are used instead of what the episode names."""
        raise NotImplementedError("World is being built")

    def step(self, control: VehicleControl) -> Snapshot:
        """Advance by `episode.dt` with one control."""
        raise NotImplementedError

    def ego_state(self) -> EgoState:
        """The ego as odometry tells it."""
        raise NotImplementedError

    def command(self) -> Command:
        """Command of the manoeuvre at the ego, or of the one that starts within 15 m."""
        raise NotImplementedError

    def route_ahead(self, length: float = 50.0) -> np.ndarray:
        """(R, 2) route points in base_link, 1 m apart, from the ego on; fewer near the route's end."""
        raise NotImplementedError

    def actor_path(self, actor: int) -> np.ndarray:
        """(P, 2) m, map: where the actor means to go in the next 40 m, 1 m apart. Privileged."""
        raise NotImplementedError

    def light_state(self, light: int) -> LightState:
        """State of the traffic light of that id."""
        raise NotImplementedError

    def set_ego(self, pose: np.ndarray, speed: float) -> None:
        """Put the ego at a (4, 4) pose in map with `speed` m/s; progress follows to the nearest place on the route."""
        raise NotImplementedError

    def record(self) -> DriveRecord:
        """What the scoring needs of the drive so far."""
        raise NotImplementedError
