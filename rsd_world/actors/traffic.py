"""Vehicle traffic: IDM drivers that keep their lane, obey lights and signs, give way, and stay around the ego."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rsd_world.actors.boxes import box_outlines, door_place
from rsd_world.actors.catalogue import Blueprint, pick_color, pick_vehicle
from rsd_world.actors.corridor import SAMPLES, STEP, Corridors, Leaders, Obstacles, find_leaders, idm_acceleration
from rsd_world.actors.junction_entry import JunctionEntry
from rsd_world.actors.lane_path import REACH, build_path, extend_lanes
from rsd_world.actors.letting_in import LettingIn
from rsd_world.actors.right_of_way import Claim
from rsd_world.actors.spawning import AROUND, HIDDEN, SpawnPlaces
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.actors.vehicle import Vehicle
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Town
from rsd_world.state import ActorKind, EgoVehicle

LOST = 145.0  # m from the ego, beyond it a vehicle is moved nearer
REFILL = 0.2  # chance in each step that a missing vehicle appears
STUCK = 45.0  # s without moving, then it is moved away when out of sight
LOOK_AHEAD = 80  # m of path that a vehicle needs ahead
START_GAP = 25.0  # m around the ego's start without traffic
CYCLING_LIMIT = 15.0  # m/s, no cyclists appear on faster roads
GATE_BRAKING = 3.0  # m/s^2, who cannot stop at a gate with it drives on
CYCLIST_OFFSET = -0.9  # m from the lane's centre
EGO_BRAKING = 4.0  # m/s^2; where the ego cannot stop any more with it, drivers expect it to be
ROOM_TO_CROSS = 6.0  # m that who waits for an ego on its way across leaves it, to be driven on with
CROSSES = 0.7  # cosine of the angle between two driving directions, below which one is across the other
EXPECTED = 5.0  # m ahead of the ego, at most: further on, its outline would let a narrow car through


@dataclass(frozen=True)
class Surroundings:
    """What traffic must know of the rest of the world at one step."""

    ego: EgoVehicle
    obstacles: Obstacles  # walkers, props; not the ego, not the vehicles
    ego_claims: Sequence[Claim] = ()
    ego_inside: Sequence[tuple[int, int]] = ()  # (0, crossing lane) that the ego stands on


@dataclass
class Traffic:
    """All vehicles except the ego."""

    town: Town
    route: Route
    lights: TrafficLights
    rng: np.random.Generator
    next_id: Callable[[], int]
    vehicles: list[Vehicle] = field(default_factory=list)
    closed: list[tuple[np.ndarray, float]] = field(default_factory=list)  # circles without plain traffic
    avoided: set[int] = field(default_factory=set)  # lanes that plain traffic does not turn into
    gates: dict[int, float] = field(default_factory=dict)  # lane -> m along it, where who can still stop lets others go

    def __post_init__(self) -> None:
        self.places = SpawnPlaces(self.town.lanes, self.route)
        self.junctions = JunctionEntry(self.town.lanes, self.town.stop_signs, self.lights)
        self._letting_in = LettingIn(self.town.lanes, self.route)
        self.wanted = 0  # vehicles of plain traffic

    def populate(self, count: int, ego: EgoVehicle) -> None:
        """Fill the surroundings of the ego with up to `count` vehicles."""
        self.wanted = count
        for _ in range(count):
            place = self._pick(ego, START_GAP, AROUND)
            if place is None:
                return
            self._spawn_at(place, pick_vehicle(self.rng))

    def spawn(
        self, blueprint: Blueprint, lanes: Iterable[int], s: float, speed: float, **directions: object
    ) -> Vehicle:
        """Put a vehicle `s` m along the first of `lanes`; `directions` are the scenario fields of `Vehicle`."""
        chain, open_ended = extend_lanes(self.town.lanes, list(lanes), s + REACH, self._choose)
        vehicle = Vehicle(
            self.next_id(), blueprint, pick_color(self.rng, blueprint.kind),
            build_path(self.town.lanes, chain, 0.0, open_ended), s, speed, **directions,
        )  # fmt: skip
        vehicle.place()
        self.vehicles.append(vehicle)
        return vehicle

    def remove(self, vehicle: Vehicle) -> None:
        """Take a vehicle out of the world."""
        self.junctions.forget(vehicle)
        self.vehicles.remove(vehicle)

    def close(self, center: np.ndarray, radius: float) -> None:
        """Keep plain traffic out of a circle, (2,) m and m, as far as the ego cannot see it go."""
        self.closed.append((np.asarray(center, float), radius))
        self.places.block_circle(center, radius)

    def avoid(self, lanes: Iterable[int]) -> None:
        """Plain traffic neither appears on these lanes and those that lead nowhere else, nor turns into them."""
        shut, graph = {*lanes}, self.town.lanes.lanes
        while more := {k.id for k in graph if k.successors and k.id not in shut and shut.issuperset(k.successors)}:
            shut |= more
        self.avoided |= shut
        self.places.block_lanes(shut)

    def reopen(self) -> None:
        """Traffic may be everywhere again."""
        self.closed.clear()
        self.avoided.clear()
        self.gates.clear()
        self.places.unblock()

    def by_id(self, actor: int) -> Vehicle | None:
        """The vehicle of that id, None where there is none."""
        return next((v for v in self.vehicles if v.id == actor), None)

    def step(self, around: Surroundings, dt: float) -> None:
        """Advance all vehicles by `dt` s."""
        if not self.vehicles:
            self._refresh(around.ego)
            return
        for vehicle in self.vehicles:
            self._keep_path(vehicle)
        leaders = self._leaders(around)
        gap, leader_speed = leaders.gap, leaders.speed
        line_gaps = self.junctions.stop_gaps(self.vehicles, leaders, around.ego_claims, around.ego_inside)
        line_gaps = np.minimum(line_gaps, [self._gate_gap(v, self.gates) for v in self.vehicles])
        gate = self._letting_in.gate(around.ego, dt)
        if gate is not None:
            lets_in = [np.inf if v.siren else self._gate_gap(v, dict([gate])) for v in self.vehicles]
            line_gaps = np.minimum(line_gaps, lets_in)
        speed = np.array([v.speed for v in self.vehicles])
        desired = np.array([_desired(v) for v in self.vehicles])
        minimum = np.array([1.0 if v.blueprint.kind is ActorKind.BICYCLE else 2.0 for v in self.vehicles])
        minimum[leaders.index == len(self.vehicles) + 1] = ROOM_TO_CROSS  # the ego, for who does not drive its way
        acceleration = idm_acceleration(speed, desired, gap, leader_speed, minimum)
        at_line = idm_acceleration(speed, desired, line_gaps + 1.2, np.zeros(len(speed)), 1.6)
        acceleration = np.minimum(acceleration, at_line)
        for vehicle, value in zip(self.vehicles, acceleration, strict=True):
            forced = vehicle.forced_acceleration
            if not vehicle.parked:
                vehicle.advance(float(value) if forced is None else forced, dt)
        self._refresh(around.ego)

    def _leaders(self, around: Surroundings) -> Leaders:
        vehicles = self.vehicles
        starts = [int(v.s) for v in vehicles]
        points = np.stack(
            [v.path.points[i : i + STEP * SAMPLES : STEP, :2] for v, i in zip(vehicles, starts, strict=True)]
        )
        yaw = np.stack([v.path.yaw[i : i + STEP * SAMPLES : STEP] for v, i in zip(vehicles, starts, strict=True)])
        points = points + _lateral_plan(vehicles)[..., None] * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
        sizes = np.array([v.blueprint.size[:2] for v in vehicles])
        obstacles = self._obstacles(around, sizes)
        corridors = Corridors(
            points, yaw, np.array([v.s for v in vehicles]) - starts, 0.5 * sizes[:, 0], 0.5 * sizes[:, 1],
            _ignored(vehicles, around.ego, len(obstacles.centers)),
        )  # fmt: skip
        return find_leaders(corridors, obstacles)

    def _obstacles(self, around: Surroundings, sizes: np.ndarray) -> Obstacles:
        """The vehicles, the ego as it stands, the ego as it is expected, then the rest."""
        ego = around.ego
        centers = np.array([*(v.position[:2] for v in self.vehicles), ego.position[:2], ego.position[:2]])
        yaws = np.array([*(v.yaw for v in self.vehicles), ego.yaw, ego.yaw])
        outlines = box_outlines(centers, yaws, np.concatenate([sizes, [ego.size[:2], ego.size[:2]]]))
        outlines[-1] = expected_outline(ego)
        heading = np.stack([np.cos(yaws), np.sin(yaws)], axis=-1)
        speeds = np.array([*(v.speed for v in self.vehicles), ego.speed, ego.speed])
        other = around.obstacles
        doors = _open_doors(self.vehicles)
        return Obstacles(
            np.concatenate([centers, other.centers, doors.centers]),
            np.concatenate([outlines, other.outlines, doors.outlines]),
            np.concatenate([speeds[:, None] * heading, other.velocities, doors.velocities]),
        )

    def _gate_gap(self, vehicle: Vehicle, gates: dict[int, float]) -> float:
        """m from the front to a closed gate on its way, inf = none, or too late to stop there."""
        for lane, s in gates.items():
            if lane in vehicle.path.lanes:
                k = vehicle.path.lanes.index(lane)
                place = float(vehicle.path.ends[k]) - self.town.lanes.lanes[lane].length + s
                distance = place - vehicle.s - vehicle.half_length
                if distance > vehicle.speed**2 / (2.0 * GATE_BRAKING):
                    return distance
        return np.inf

    def _keep_path(self, vehicle: Vehicle) -> None:
        path = vehicle.path
        if len(path.points) - vehicle.s > LOOK_AHEAD or not path.open_ended:
            return
        first = int(np.searchsorted(path.ends, max(vehicle.s - 10.0, 0.0)))
        lanes = list(path.lanes[first:])
        begin = float(path.ends[first] - self.town.lanes.lanes[lanes[0]].length)
        start = max(int(max(vehicle.s - 10.0, 0.0)), 0) - begin
        chain, open_ended = extend_lanes(self.town.lanes, lanes, start + REACH, self._choose)
        vehicle.replace_path(build_path(self.town.lanes, chain, start, open_ended), begin + start)

    def _choose(self, options: tuple[int, ...]) -> int:
        allowed = [lane for lane in options if lane not in self.avoided] or list(options)
        return int(self.rng.choice(allowed))

    def _refresh(self, ego: EgoVehicle) -> None:
        """Move what is far away, stuck or at a dead end to where the ego may meet it."""
        if sum(not v.pinned for v in self.vehicles) < self.wanted and self.rng.random() < REFILL:
            place = self._pick(ego, HIDDEN, AROUND)
            if place is not None:
                self._spawn_at(place, pick_vehicle(self.rng))
        for vehicle in list(self.vehicles):
            if vehicle.pinned:
                continue
            distance = float(np.hypot(*(vehicle.position[:2] - ego.position[:2])))
            ended = not vehicle.path.open_ended and vehicle.s > vehicle.path.ends[-1] - 12.0
            hidden = distance > HIDDEN and (distance > 70.0 or _behind(ego, vehicle.position))
            shut = any(np.hypot(*(vehicle.position[:2] - c)) < r for c, r in self.closed)
            if distance > LOST or (hidden and (ended or shut or vehicle.still > STUCK)):
                self._respawn(vehicle, ego)

    def _respawn(self, vehicle: Vehicle, ego: EgoVehicle) -> None:
        place = self._pick(ego, HIDDEN if self.rng.random() < 0.4 else 75.0, AROUND)
        if place is None:
            return
        self.remove(vehicle)
        self._spawn_at(place, vehicle.blueprint)

    def _pick(self, ego: EgoVehicle, nearest: float, farthest: float) -> int | None:
        taken = np.array([v.position[:2] for v in self.vehicles]).reshape(-1, 2)
        return self.places.pick(self.rng, ego.position[:2], taken, nearest, farthest)

    def _spawn_at(self, place: int, blueprint: Blueprint) -> None:
        lane, s = int(self.places.lane[place]), float(self.places.s[place])
        if blueprint.kind is ActorKind.BICYCLE and self.town.lanes.lanes[lane].speed_limit > CYCLING_LIMIT:
            blueprint = pick_vehicle(self.rng, cars_only=True)
        cyclist = blueprint.kind is ActorKind.BICYCLE
        offset = CYCLIST_OFFSET if cyclist else 0.0
        vehicle = self.spawn(blueprint, [lane], s, 0.0, lateral=offset, lateral_target=offset)
        limit = self.town.lanes.lanes[lane].speed_limit
        room = max(0.0, vehicle.path.ends[0] - s - vehicle.half_length)
        others = [np.hypot(*(v.position[:2] - vehicle.position[:2])) for v in self.vehicles if v is not vehicle]
        clear = max(0.0, min([*others, 100.0]) - 9.0)
        vehicle.speed = float(min(0.6 * limit, blueprint.top_speed * 0.7, np.sqrt(3.0 * min(room, clear))))


def _desired(vehicle: Vehicle) -> float:
    if vehicle.desired_speed is not None:
        curve = vehicle.path.speed[int(vehicle.s)] * 1.5 if vehicle.desired_speed > 0.0 else 0.0
        return min(vehicle.desired_speed, curve)
    limit = float(vehicle.path.speed[min(int(vehicle.s) + 1, len(vehicle.path.speed) - 1)])
    return min(limit * vehicle.blueprint.speed_factor, vehicle.blueprint.top_speed)


def _open_doors(vehicles: Sequence[Vehicle]) -> Obstacles:
    """What stands out of parked vehicles."""
    doors = [door_place(v.state()) for v in vehicles if v.door_open > 0.05]
    centers = np.array([center for center, _, _ in doors]).reshape(-1, 2)
    sizes = np.array([size for _, _, size in doors]).reshape(-1, 2)
    outlines = box_outlines(centers, np.array([yaw for _, yaw, _ in doors]), sizes)
    return Obstacles(centers, outlines, np.zeros_like(centers))


def expected_outline(ego: EgoVehicle) -> np.ndarray:
    """(12, 2) m, map: the ego as other drivers reckon with it, up to where it could stop, bent as it turns."""
    length, width, _ = ego.size
    ahead = min(max(ego.speed, 0.0) ** 2 / (2.0 * EGO_BRAKING), EXPECTED)
    local = box_outlines(np.array([[0.5 * ahead, 0.0]]), np.zeros(1), np.array([[length + ahead, width]]))[0]
    curvature = ego.yaw_rate / max(ego.speed, 1.0)
    local[:, 1] += 0.5 * curvature * np.maximum(local[:, 0], 0.0) ** 2
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    return ego.position[:2] + local @ np.array([[cos, sin], [-sin, cos]])


def _ignored(vehicles: Sequence[Vehicle], ego: EgoVehicle, obstacles: int) -> np.ndarray:
    """(V, N) bool, the obstacles of `Traffic._obstacles` that each vehicle does not heed: itself, and one of the egos.

    Who drives the ego's way follows it as it stands; who does not reckons with where it will be, or, where it takes its
    right of way from it, with neither as long as it moves.
    """
    crosses = np.cos(np.array([v.yaw for v in vehicles]) - ego.yaw) < CROSSES
    heedless = ~np.array([v.yields_to_ego for v in vehicles]) & (abs(ego.speed) > 1.0)
    ignored = np.eye(len(vehicles), obstacles, dtype=bool)
    ignored[:, len(vehicles)] = crosses
    ignored[:, len(vehicles) + 1] = ~crosses | heedless
    return ignored


def _lateral_plan(vehicles: Sequence[Vehicle]) -> np.ndarray:
    """(V, SAMPLES) m left of the path, where each vehicle will be as it moves to its lateral target."""
    now = np.array([v.lateral for v in vehicles])[:, None]
    goal = np.array([v.lateral_target for v in vehicles])[:, None]
    slope = np.array([v.lateral_rate / max(v.speed, 2.0) for v in vehicles])[:, None]
    reach = slope * STEP * np.arange(SAMPLES)
    return now + np.clip(goal - now, -reach, reach)


def _behind(ego: EgoVehicle, position: np.ndarray) -> bool:
    delta = position[:2] - ego.position[:2]
    return bool(delta[0] * np.cos(ego.yaw) + delta[1] * np.sin(ego.yaw) < 0.0)
