"""A small hand-made town for the renderer's tests: a four-way junction with everything beside the road."""

from __future__ import annotations

from functools import partial

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import Lane, LaneGraph
from rsd_world.roads.town import Building, Crossing, ParkingSpot, Prop, StopSign, Town, TrafficLight
from rsd_world.state import ActorKind, ActorState, EgoVehicle, LightState, Snapshot, Weather

WIDTH = 3.5
HALF = 12.0  # m from the centre to the stop lines
REACH = 130.0


def _lane(
    lanes: list[Lane], start, end, left=-1, right=-1, opposite=-1, marks=("SolidSolid", "Solid"), junction=-1
) -> None:
    count = int(np.linalg.norm(np.subtract(end, start))) + 1
    points = np.column_stack([np.linspace(start, end, count), np.zeros(count)])
    lanes.append(
        Lane(
            len(lanes),
            points,
            np.full(count, WIDTH),
            (),
            (),
            left,
            right,
            opposite,
            *marks,
            left >= 0,
            right >= 0,
            junction,
            Command.LANEFOLLOW,
            13.9,
            0,
            1,
        )
    )


def _turned(turn: np.ndarray, x: float, y: float) -> list[float]:
    return (turn @ np.array([x, y])).tolist()


def _turned_up(turn: np.ndarray, x: float, y: float, z: float = 0.0) -> np.ndarray:
    return np.array([*(turn @ np.array([x, y])), z])


def small_town() -> Town:
    lanes: list[Lane] = []
    lights, crossings, sidewalks, walk_lines, buildings, props, parking, stops = [], [], [], [], [], [], [], []
    for k in range(4):
        c, s = np.round([np.cos(k * np.pi / 2), np.sin(k * np.pi / 2)])
        turn = np.array([[c, -s], [s, c]])
        at, at3 = partial(_turned, turn), partial(_turned_up, turn)
        n = len(lanes)
        _lane(lanes, at(-REACH, -1.75), at(-HALF, -1.75), right=n + 1, opposite=n + 2, marks=("SolidSolid", "Broken"))
        _lane(lanes, at(-REACH, -5.25), at(-HALF, -5.25), left=n, opposite=n + 2, marks=("Broken", "Solid"))
        _lane(lanes, at(-HALF, 1.75), at(-REACH, 1.75), right=n + 3, opposite=n, marks=("SolidSolid", "Broken"))
        _lane(lanes, at(-HALF, 5.25), at(-REACH, 5.25), left=n + 2, opposite=n, marks=("Broken", "Solid"))
        _lane(lanes, at(-HALF, -1.75), at(HALF, -1.75), marks=("None", "None"), junction=1)
        _lane(lanes, at(-HALF, -5.25), at(HALF, -5.25), marks=("None", "None"), junction=1)
        yaw = k * np.pi / 2
        lights.append(TrafficLight(10 + k, at3(HALF + 1, -8.2), yaw + np.pi, (n, n + 1), k % 2, 1))
        stops.append(StopSign(k, at3(-60, -8.0), yaw + np.pi, ()))
        crossings.append(Crossing(at3(-HALF - 4, -8.5, 0.12), at3(-HALF - 4, 8.5, 0.12), 3.0))
        for side in (-1, 1):
            outline = [
                at3(-REACH, side * 7.5),
                at3(-HALF + 2, side * 7.5),
                at3(-HALF + 2, side * 10.5),
                at3(-REACH, side * 10.5),
            ]
            sidewalks.append(np.array(outline))
            walk_lines.append(np.array([at3(-REACH, side * 9.0), at3(-HALF, side * 9.0)]))
            for i, x in enumerate(np.arange(-120, -20, 22.0)):
                size = (16.0, 12.0, 7.0 + 5.0 * ((i * 7 + k * 3) % 4))
                buildings.append(Building(at3(x, side * 19.0), size, yaw + (np.pi if side > 0 else 0.0), i + k))
                props.append(Prop("tree", at3(x + 11, side * 11.5), 0.3 * i, 6.0 + i % 3))
                props.append(Prop("lamp", at3(x + 4, side * 8.0), yaw - side * np.pi / 2, 7.0))
                props.append(
                    Prop(
                        ("bush", "bench", "sign")[i % 3],
                        at3(x + 7, side * 9.8),
                        yaw - side * np.pi / 2,
                        (1.0, 0.8, 2.6)[i % 3],
                    )
                )
        parking.append(ParkingSpot(at3(-50, -8.6), yaw, n + 1, REACH - 50))
    groups = (lanes, lights, stops, crossings, walk_lines, sidewalks, buildings, props, parking)
    return Town("small", LaneGraph(tuple(groups[0])), *(tuple(group) for group in groups[1:]))


SIZES = {
    ActorKind.CAR: (4.7, 1.85, 1.45),
    ActorKind.VAN: (5.6, 2.0, 2.4),
    ActorKind.TRUCK: (8.2, 2.5, 3.3),
    ActorKind.AMBULANCE: (6.0, 2.1, 2.7),
    ActorKind.BICYCLE: (1.8, 0.6, 1.75),
    ActorKind.PEDESTRIAN: (0.5, 0.6, 1.78),
    ActorKind.TRAFFIC_CONE: (0.4, 0.4, 0.75),
    ActorKind.BARRIER: (0.5, 1.6, 1.0),
}


def actor(number: int, kind: ActorKind, x: float, y: float, yaw: float = 0.0, **more) -> ActorState:
    size = more.pop("size", SIZES[kind])
    return ActorState(number, kind, np.array([x, y, 0.0]), yaw, size, np.zeros(2), **more)


def snapshot(actors=(), weather="clear", light=LightState.RED, time=0.0, x=-40.0, y=-1.75, yaw=0.0) -> Snapshot:
    ego = EgoVehicle(np.array([x, y, 0.0]), yaw, 5.0, 0.0, 0.0, 0.0, 0.0)
    return Snapshot(int(time * 10), time, ego, tuple(actors), {10 + k: light for k in range(4)}, Weather(weather))


def busy_street(count: int = 40) -> tuple[ActorState, ...]:
    """Actors of all kinds around the ego at (-40, -1.75)."""
    rng = np.random.default_rng(5)
    kinds = [ActorKind.CAR] * 5 + [
        ActorKind.VAN,
        ActorKind.TRUCK,
        ActorKind.BICYCLE,
        ActorKind.PEDESTRIAN,
        ActorKind.PEDESTRIAN,
    ]
    actors = []
    for i in range(count):
        kind = kinds[i % len(kinds)]
        x = -100.0 + 4.6 * (i // 2) if kind is ActorKind.PEDESTRIAN else -118.0 + 5.6 * i
        lane = (5.25, 1.75, -5.25)[i % 3]
        y = float(rng.choice([-9.0, 9.0])) if kind is ActorKind.PEDESTRIAN else lane
        yaw = 0.0 if y < 0 else np.pi
        actors.append(
            actor(
                i + 1,
                kind,
                x,
                y,
                yaw,
                color=tuple(rng.uniform(0.02, 0.7, 3)),
                phase=float(i),
                braking=i % 4 == 0,
                blinker=i % 3 - 1,
            )
        )
    return tuple(actors)
