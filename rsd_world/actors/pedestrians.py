"""People on foot: they stroll on sidewalks, wait for a gap and cross at crossings, before traffic lights at red."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from rsd_world.actors.catalogue import PEDESTRIAN_SIZE, pick_color
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.actors.vehicle import Vehicle
from rsd_world.roads.town import Crossing, Town
from rsd_world.state import ActorKind, ActorState, EgoVehicle

AROUND, LOST, HIDDEN = 80.0, 105.0, 40.0  # m from the ego
CROSS_SHARE = 0.3  # chance to turn to a crossing at each point of a sidewalk near it
JOIN = 6.0  # m, a sidewalk that comes nearer to a crossing's end is joined to it
STANDS = 0.1  # m/s, slower is standing
SIGNALLED = 5.0  # m from the end of a lane under a light, within which a crossing is under that light, too
LOOK = 2.0  # s ahead, what drivers expect of a walker


@dataclass
class Walker:
    """A person who walks from point to point."""

    id: int
    position: np.ndarray  # (3,) m
    yaw: float
    pace: float  # m/s when walking
    color: tuple[float, float, float]
    targets: list[np.ndarray]  # (3,) m each, still to be reached
    size: tuple[float, float, float] = PEDESTRIAN_SIZE
    crossing: int | None = None  # index of the crossing that it waits at or walks on
    waiting: bool = False  # at the kerb
    on_road: bool = False
    halted: bool = False  # something stands in its way
    speed: float = 0.0
    phase: float = 0.0
    pinned: bool = False  # a scenario owns it
    path_end: tuple[int, int] = (0, 1)  # sidewalk it strolls on and direction
    last_crossing: int = -1

    @property
    def velocity(self) -> np.ndarray:
        """(2,) m/s, map."""
        return self.speed * np.array([math.cos(self.yaw), math.sin(self.yaw)])

    def path_ahead(self, length: float) -> np.ndarray:
        """(P, 2) m, map: the way through its next targets, about 1 m apart, up to `length` m."""
        corners = np.array([self.position[:2], *(t[:2] for t in self.targets)])
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
        s = np.arange(0.0, min(length, arc[-1]) + 1e-9, 1.0)
        return np.stack([np.interp(s, arc, corners[:, k]) for k in range(2)], axis=-1)

    def advance(self, dt: float) -> None:
        """Walk towards the next target."""
        self.speed = 0.0
        if self.waiting or self.halted or not self.targets:
            return
        delta = self.targets[0][:2] - self.position[:2]
        distance = math.hypot(*delta)
        step = min(self.pace * dt, distance)
        if distance > 1e-6:
            self.yaw = math.atan2(delta[1], delta[0])
            share = step / distance
            self.position = self.position + share * (self.targets[0] - self.position)
        if distance - step < 1e-3:
            self.targets.pop(0)
        self.speed = step / dt
        self.phase = (self.phase + 4.0 * step) % (2.0 * math.pi)

    def state(self) -> ActorState:
        """What others see."""
        return ActorState(
            id=self.id,
            kind=ActorKind.PEDESTRIAN,
            position=self.position,
            yaw=self.yaw,
            size=self.size,
            velocity=self.velocity,
            color=self.color,
            phase=self.phase,
        )


@dataclass
class Pedestrians:
    """All people on foot."""

    town: Town
    lights: TrafficLights
    rng: np.random.Generator
    next_id: Callable[[], int]
    walkers: list[Walker] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = self.town.sidewalks
        self._place = np.concatenate([np.zeros((0, 3)), *lines])
        self._line = np.repeat(np.arange(len(lines)), [len(v) for v in lines]).astype(int)
        self._index = np.concatenate([np.zeros(0, int), *(np.arange(len(v)) for v in lines)]).astype(int)
        self._kerbs = np.array([p[:2] for c in self.town.crossings for p in (c.start, c.end)]).reshape(-1, 2)
        self._lights = crossing_lights(self.town)

    def populate(self, count: int, ego: EgoVehicle) -> None:
        """Put up to `count` people on the sidewalks around the ego."""
        for _ in range(count):
            walker = self._appear(ego, 8.0)
            if walker is None:
                return
            self.walkers.append(walker)

    def add(self, position: np.ndarray, targets: Sequence[np.ndarray], pace: float, **fields: object) -> Walker:
        """A person that a scenario directs."""
        position = np.asarray(position, float)
        delta = (np.asarray(targets[0]) if len(targets) else position + [1.0, 0.0, 0.0]) - position
        color = pick_color(self.rng, ActorKind.PEDESTRIAN)
        walker = Walker(
            self.next_id(), position, math.atan2(delta[1], delta[0]), pace, color,
            [np.asarray(t, float) for t in targets], pinned=True, **fields,
        )  # fmt: skip
        self.walkers.append(walker)
        return walker

    def step(self, ego: EgoVehicle, vehicles: Sequence[Vehicle], dt: float) -> None:
        """Advance everybody by `dt` s."""
        cars = _Cars.of(ego, vehicles)
        for walker in self.walkers:
            if walker.crossing is not None and not walker.pinned and not walker.on_road and len(walker.targets) == 1:
                walker.on_road = self._may_cross(walker, cars)
                walker.waiting = not walker.on_road
            walker.halted = walker.on_road and _car_in_front(walker, cars)
            before = len(walker.targets)
            walker.advance(dt)
            if not walker.pinned:
                self._decide(walker, before)
        self._refresh(ego)

    def _may_cross(self, walker: Walker, cars: _Cars) -> bool:
        crossing, light = self.town.crossings[walker.crossing], self._lights[walker.crossing]
        seconds = math.dist(crossing.start[:2], crossing.end[:2]) / walker.pace
        return (light is None or self.lights.may_walk(light, seconds)) and _is_gap(crossing, cars)

    def _decide(self, walker: Walker, before: int) -> None:
        """At the end of a stretch: use the crossing here, step off a crossing, or stroll on."""
        if walker.crossing is not None:
            if not walker.targets:
                walker.on_road, walker.last_crossing, walker.crossing = False, walker.crossing, None
                self._stroll(walker, self._nearest_place(walker.position))
            return
        if len(walker.targets) < before and self.rng.random() < CROSS_SHARE:
            door = self._door_at(walker)
            if door is not None:
                self._head_for(walker, *door)
                return
        if not walker.targets:
            self._stroll(walker, None)

    def _head_for(self, walker: Walker, index: int, at_start: bool) -> None:
        crossing = self.town.crossings[index]
        kerb, other = (crossing.start, crossing.end) if at_start else (crossing.end, crossing.start)
        walker.targets = [np.asarray(kerb, float), np.asarray(other, float)]
        walker.crossing = index

    def _stroll(self, walker: Walker, place: int | None) -> None:
        line, direction = walker.path_end
        if place is not None:
            line, direction = int(self._line[place]), int(self.rng.choice([-1, 1]))
            index = int(self._index[place])
        else:
            direction, index = -direction, 0 if direction < 0 else len(self.town.sidewalks[line]) - 1
        points = self.town.sidewalks[line]
        side = float(self.rng.uniform(-0.5, 0.5))
        walker.path_end = (line, direction)
        walker.targets = _shifted(points[index:] if direction > 0 else points[index::-1], side)

    def _door_at(self, walker: Walker) -> tuple[int, bool] | None:
        """Index of a crossing whose kerb is near, and whether that kerb is its start."""
        if not len(self._kerbs):
            return None
        distance = np.linalg.norm(self._kerbs - walker.position[:2], axis=1)
        k = int(distance.argmin())
        return (k // 2, k % 2 == 0) if distance[k] < JOIN and k // 2 != walker.last_crossing else None

    def _nearest_place(self, position: np.ndarray) -> int:
        return int(np.argmin(((self._place[:, :2] - position[:2]) ** 2).sum(-1)))

    def _appear(self, ego: EgoVehicle, nearest: float) -> Walker | None:
        distance = np.linalg.norm(self._place[:, :2] - ego.position[:2], axis=1)
        options = np.flatnonzero((distance > nearest) & (distance < AROUND))
        if len(options) == 0:
            return None
        place = int(self.rng.choice(options))
        color = pick_color(self.rng, ActorKind.PEDESTRIAN)
        pace = float(self.rng.uniform(1.0, 1.7))
        walker = Walker(self.next_id(), self._place[place].copy(), 0.0, pace, color, [])
        self._stroll(walker, place)
        if walker.targets:
            walker.position = walker.targets[0].copy()
        return walker

    def _refresh(self, ego: EgoVehicle) -> None:
        for k, walker in enumerate(self.walkers):
            if walker.pinned or walker.on_road:
                continue
            if np.hypot(*(walker.position[:2] - ego.position[:2])) > LOST:
                fresh = self._appear(ego, HIDDEN)
                if fresh is not None:
                    self.walkers[k] = fresh


def crossing_lights(town: Town) -> list[int | None]:
    """Id of the light at whose stop line each crossing lies, None: at none."""
    ends = [(town.lanes.lanes[lane].points[-1, :2], light.id) for light in town.lights for lane in light.lanes]
    found: list[int | None] = []
    for crossing in town.crossings:
        line = shapely.LineString([crossing.start[:2], crossing.end[:2]])
        near = [(line.distance(shapely.Point(end)), light) for end, light in ends]
        distance, light = min(near, default=(math.inf, -1))
        found.append(light if distance < SIGNALLED else None)
    return found


def walker_outlines(walkers: Sequence[Walker]) -> np.ndarray:
    """(W, 12, 2) m: where drivers expect each walker within LOOK s; 12 points as `box_outlines` has."""
    position = np.array([w.position[:2] for w in walkers]).reshape(-1, 2)
    velocity = np.array([w.velocity * (LOOK if w.on_road else 0.3) for w in walkers]).reshape(-1, 2)
    share = np.linspace(0.0, 1.0, 12)[None, :, None]
    return position[:, None] + share * velocity[:, None]


def _shifted(points: np.ndarray, side: float) -> list[np.ndarray]:
    if len(points) < 2:
        return [p.copy() for p in points]
    delta = np.gradient(points[:, :2], axis=0)
    delta /= np.maximum(np.linalg.norm(delta, axis=1, keepdims=True), 1e-6)
    offset = np.column_stack([-delta[:, 1] * side, delta[:, 0] * side, np.zeros(len(points))])
    return list(points + offset)


@dataclass(frozen=True)
class _Cars:
    """All vehicles and the ego, as people on foot see them."""

    centers: np.ndarray  # (N, 2) m
    headings: np.ndarray  # (N, 2)
    speeds: np.ndarray  # (N,) m/s
    reach: np.ndarray  # (N, 2) m, half length and width with a margin

    @classmethod
    def of(cls, ego: EgoVehicle, vehicles: Sequence[Vehicle]) -> _Cars:
        yaws = np.array([*(v.yaw for v in vehicles), ego.yaw])
        sizes = np.array([*(v.blueprint.size[:2] for v in vehicles), ego.size[:2]])
        return cls(
            np.array([*(v.position[:2] for v in vehicles), ego.position[:2]]),
            np.stack([np.cos(yaws), np.sin(yaws)], axis=-1),
            np.array([*(v.speed for v in vehicles), ego.speed]),
            0.5 * sizes + 0.3,
        )

    def cover(self, points: np.ndarray) -> np.ndarray:
        """(..., N) whether each vehicle reaches over `points` (2,) or (..., 1, 2) m."""
        local = points - self.centers
        along = np.abs((local * self.headings).sum(-1))
        across = np.abs(local[..., 1] * self.headings[:, 0] - local[..., 0] * self.headings[:, 1])
        return (along < self.reach[:, 0]) & (across < self.reach[:, 1])


def _is_gap(crossing: Crossing, cars: _Cars) -> bool:
    """No vehicle arrives while one would be on the road; one that stands does not matter, unless on the crossing."""
    middle = 0.5 * (crossing.start + crossing.end)[:2]
    half = 0.5 * math.hypot(*(crossing.end - crossing.start)[:2])
    delta = middle - cars.centers
    distance = np.hypot(delta[:, 0], delta[:, 1])
    stands = (cars.speeds < STANDS) & ~_on_way(crossing, cars)
    if ((distance < half + 1.5) & ~stands).any():
        return False
    comes = ((delta * cars.headings).sum(-1) > -3.0) & (distance < 60.0) & (cars.speeds > 0.4)
    soon = (distance - half) < cars.speeds * (2.0 * half / 1.3 + 1.0)
    return not bool((comes & soon).any())


def _on_way(crossing: Crossing, cars: _Cars) -> np.ndarray:
    """(N,) whether a vehicle is where people walk who use the crossing."""
    length = math.hypot(*(crossing.end - crossing.start)[:2])
    share = np.linspace(0.0, 1.0, max(2, math.ceil(length / 0.5)))[:, None, None]
    return cars.cover((crossing.start + share * (crossing.end - crossing.start))[..., :2]).any(axis=0)


def _car_in_front(walker: Walker, cars: _Cars) -> bool:
    """A vehicle stands or passes within the walker's next steps: nobody walks into a car."""
    if not walker.targets:
        return False
    delta = walker.targets[0][:2] - walker.position[:2]
    direction = delta / max(math.hypot(*delta), 1e-6)
    matters = cars.speeds < 1.0 if walker.pinned else np.ones(len(cars.speeds), bool)
    steps = walker.position[:2] + np.array([0.5, 1.1])[:, None, None] * direction
    return bool((cars.cover(steps) & matters).any())
