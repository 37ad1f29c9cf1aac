"""The embedded world: one town, one route, its traffic and its scenario, advanced step by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np

from rsd_model.contracts import Command, EgoState, VehicleControl
from rsd_model.geometry import pose_matrix, transform_points, yaw_of
from rsd_world.actors.boxes import box_outlines
from rsd_world.actors.corridor import Obstacles
from rsd_world.actors.parked import parked_cars
from rsd_world.actors.pedestrians import Pedestrians, walker_outlines
from rsd_world.actors.traffic import Surroundings, Traffic
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.dynamics import EgoDynamics
from rsd_world.ego_claims import EgoClaims
from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.record import DriveLog, DriveRecord
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Town
from rsd_world.roads.towns import load_town
from rsd_world.route_tracker import RouteTracker
from rsd_world.rules.referee import Referee
from rsd_world.scenarios.base import Scenario, Stage
from rsd_world.scenarios.catalogue import build_scenario, episode_route
from rsd_world.state import ActorState, LightState, Snapshot, Weather

SHOWN = 90.0  # m from the ego, standing cars further off are left out of the snapshot


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
    """A drive that goes on: build it from an episode, step it with controls, read its state.

    Contact slows the ego down but has no further physics: it is recorded, and the drive goes on.
    """

    def __init__(self, episode: Episode, town: Town | None = None, route: Route | None = None) -> None:
        """`town` and `route` given: they are used instead of what the episode names.

        Raises ValueError for an unknown scenario, or one that has no place in the town or on the route.
        """
        self.episode = episode
        self.town = load_town(episode.town) if town is None else town
        self.route = episode_route(self.town, episode.scenario, episode.route) if route is None else route
        self.frame, self.time = 0, 0.0
        self.infractions: list[Infraction] = []
        self.outcome = "running"
        self.tracker = RouteTracker(self.route)
        self.dynamics = EgoDynamics()
        position, yaw = self.tracker.pose(0.0)
        self.dynamics.reset(position, yaw, 0.0)
        self._populate()
        self._referee = Referee(self.town, self.tracker.length)
        self._ego_claims = EgoClaims(self.town.lanes, self.tracker, self.dynamics.parameters.size)
        self._log = DriveLog()
        self.snapshot = self._take_snapshot()

    @property
    def done(self) -> bool:
        """The drive has ended; see `outcome`."""
        return self.outcome != "running"

    @property
    def progress(self) -> float:
        """Route completion, 0 .. 1."""
        return self.tracker.completion

    def step(self, control: VehicleControl) -> Snapshot:
        """Advance by `episode.dt` with one control. Raises ValueError for a control that is not finite."""
        dt = self.episode.dt
        before = self.snapshot.ego.position
        self.dynamics.step(control, dt)
        self.frame += 1
        self.time = self.frame * dt
        self._follow_route()
        self.lights.step(self.time)
        self.scenario.step(self._stage, dt)
        self._move_actors(dt)
        self.snapshot = self._take_snapshot()
        self._judge(before)
        self._log.add(self.time, self.dynamics.state)
        return self.snapshot

    def ego_state(self) -> EgoState:
        """The ego as odometry tells it."""
        ego = self.dynamics.state
        return EgoState(
            stamp=self.time,
            pose=pose_matrix(ego.position, ego.yaw),
            velocity=np.array([ego.speed, 0.0, 0.0]),
            acceleration=np.array([ego.acceleration, ego.lateral_acceleration, 0.0]),
            yaw_rate=ego.yaw_rate,
        )

    def command(self) -> Command:
        """Command of the manoeuvre at the ego, or of the one that starts within 15 m."""
        return self.tracker.command()

    def route_ahead(self, length: float = 50.0) -> np.ndarray:
        """(R, 2) route points in base_link, 1 m apart, from the ego on; fewer near the route's end."""
        map_to_base = np.linalg.inv(self.ego_state().pose)
        return transform_points(map_to_base, self.tracker.ahead(length))[:, :2]

    def actor_path(self, actor: int, length: float = 40.0) -> np.ndarray:
        """(P, 2) m, map: where an actor means to go in the next `length` m, 1 m apart. Privileged.

        What stands gives its place alone. Raises KeyError for an id that is not in the world.
        """
        vehicle = self.traffic.by_id(actor)
        if vehicle is not None:
            return vehicle.path_ahead(length)
        walker = next((w for w in self.pedestrians.walkers if w.id == actor), None)
        if walker is not None:
            return walker.path_ahead(length)
        for standing in (*self.parked, *self.props):
            if standing.id == actor:
                return standing.position[None, :2]
        raise KeyError(f"no actor {actor} in the world")

    def light_state(self, light: int) -> LightState:
        """State of the traffic light of that id."""
        return self.lights.states[light]

    def set_ego(self, pose: np.ndarray, speed: float) -> None:
        """Put the ego at a (4, 4) pose in map with `speed` m/s; progress follows to the nearest place on the route."""
        self.dynamics.reset(pose[:3, 3], yaw_of(pose), speed)
        self.tracker.reset(pose[:3, 3])
        self._referee.moved()
        self.snapshot = self._take_snapshot()

    def record(self) -> DriveRecord:
        """What the scoring needs of the drive so far."""
        e = self.episode
        return DriveRecord(
            town=self.town.name, route=e.route, scenario=e.scenario, weather=e.weather, seed=e.seed,
            outcome=self.outcome, duration=self.time, route_length=self.tracker.length, completion=self.progress,
            infractions=tuple(self.infractions), dt=e.dt, **self._log.arrays(),
            junction_progress=self.tracker.first_junction(self.town.lanes),
            scenario_abilities=self.scenario.abilities,
        )  # fmt: skip

    def _populate(self) -> None:
        e = self.episode
        ids = count(1)
        self.next_id = lambda: next(ids)
        streams = [np.random.default_rng([e.seed, k]) for k in range(5)]
        ego = self.dynamics.state
        self.lights = TrafficLights(self.town.lights, streams[0])
        self.parked = parked_cars(self.town, self.route, streams[1], self.next_id)
        self.props: list[ActorState] = []
        self.traffic = Traffic(self.town, self.route, self.lights, streams[2], self.next_id)
        self.pedestrians = Pedestrians(self.town, self.lights, streams[3], self.next_id)
        self.scenario: Scenario = build_scenario(e.scenario)
        self._stage = Stage(self, streams[4])
        self.scenario.setup(self._stage)
        self.traffic.populate(e.vehicles, ego)
        self.pedestrians.populate(e.pedestrians, ego)

    def _follow_route(self) -> None:
        position = self.dynamics.state.position
        self.tracker.update(position)
        self.dynamics.set_height(self.tracker.pose(self.tracker.s)[0][2])

    def _move_actors(self, dt: float) -> None:
        ego = self.dynamics.state
        claims, inside = self._ego_claims.of(ego, self.lights)
        self.traffic.step(Surroundings(ego, self._obstacles(), claims, inside), dt)
        self.pedestrians.step(ego, self.traffic.vehicles, dt)

    def _obstacles(self) -> Obstacles:
        walkers, props = self.pedestrians.walkers, self.props
        centers = np.array([*(w.position[:2] for w in walkers), *(p.position[:2] for p in props)]).reshape(-1, 2)
        outlines = box_outlines(
            centers[len(walkers) :],
            np.array([p.yaw for p in props]),
            np.array([p.size[:2] for p in props]).reshape(-1, 2),
        )
        velocities = np.array([*(w.velocity for w in walkers), *(p.velocity for p in props)]).reshape(-1, 2)
        return Obstacles(centers, np.concatenate([walker_outlines(walkers), outlines]), velocities)

    def _judge(self, before: np.ndarray) -> None:
        if self.done:
            return
        contact = self._referee.check(self, before)
        if contact is not None:
            self.dynamics.lose_speed(0.0 if contact is InfractionKind.COLLISION_STATIC else 0.5)
            self.snapshot = self._take_snapshot()

    def _take_snapshot(self) -> Snapshot:
        ego = self.dynamics.state
        x, y = ego.position[:2]
        shown = [p for p in self.parked if abs(p.position[0] - x) < SHOWN and abs(p.position[1] - y) < SHOWN]
        actors = (
            *(v.state() for v in self.traffic.vehicles),
            *(w.state() for w in self.pedestrians.walkers),
            *self.props,
            *shown,
        )
        return Snapshot(self.frame, self.time, ego, actors, dict(self.lights.states), Weather(self.episode.weather))
