"""A small grid town for the simulation's tests: nine junctions, lights at every second one, else stop signs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rsd_model.contracts import Command
from rsd_world.actors.catalogue import CAR
from rsd_world.actors.vehicle import Vehicle
from rsd_world.roads.lane_graph import Lane, LaneGraph, Route
from rsd_world.roads.town import Building, Crossing, ParkingSpot, Prop, StopSign, Town, TrafficLight
from rsd_world.world import Episode, World

SPACING, RADIUS, WIDTH = 120.0, 16.0, 3.5
COLUMNS, ROWS = 3, 3
SIDES = ((1, 0), (0, 1), (-1, 0), (0, -1))
TURNS = (Command.LEFT, Command.STRAIGHT, Command.RIGHT, Command.STRAIGHT)


def grid_town() -> Town:
    """Rows run with two lanes each way, columns with one."""
    lanes, incoming, outgoing = _edge_lanes()
    lights, signs = [], []
    for node in range(COLUMNS * ROWS):
        _connect(lanes, incoming[node], outgoing[node], node)
        for side, approach in incoming[node].items():
            _control(lights, signs, lanes, node, side, approach)
    lanes = _link(lanes)
    crossings, sidewalks, parking = _roadside(lanes, incoming)
    return Town(
        "grid", LaneGraph(tuple(lanes)), tuple(lights), tuple(signs), crossings, sidewalks, (), _buildings(),
        (Prop("tree", np.array([30.0, 12.0, 0.0]), 0.0, 6.0),), parking,
    )  # fmt: skip


def grid_route(town: Town, first: int, turns: tuple[Command, ...]) -> Route:
    """A route from lane `first` on, taking one of `turns` at each junction."""
    lanes, wanted = [first], list(turns)
    graph = town.lanes
    while True:
        options = graph.lanes[lanes[-1]].successors
        if graph.lanes[lanes[-1]].junction >= 0:
            lanes.append(options[0])
            continue
        if not wanted:
            break
        turn = wanted.pop(0)
        lanes.append(next((i for i in options if graph.lanes[i].turn == turn), options[0]))
    points = [graph.lanes[i].points[(1 if k else 0) :] for k, i in enumerate(lanes)]
    counts = [len(p) for p in points]
    commands = np.repeat([int(graph.lanes[i].turn) for i in lanes], counts)
    return Route(np.concatenate(points), commands, np.repeat(lanes, counts))


def _center(node: int) -> np.ndarray:
    return np.array([(node % COLUMNS) * SPACING, (node // COLUMNS) * SPACING])


def _edge_lanes():
    lanes: list[Lane] = []
    incoming = {n: {} for n in range(COLUMNS * ROWS)}
    outgoing = {n: {} for n in range(COLUMNS * ROWS)}
    for node in range(COLUMNS * ROWS):
        for side, (dx, dy) in enumerate(SIDES):
            column, row = node % COLUMNS + dx, node // COLUMNS + dy
            if not (0 <= column < COLUMNS and 0 <= row < ROWS):
                continue
            count = 2 if dy == 0 else 1
            ids = [len(lanes) + k for k in range(count)]
            lanes += [_edge_lane(node, side, k, ids) for k in range(count)]
            outgoing[node][side] = ids
            incoming[row * COLUMNS + column][(side + 2) % 4] = ids
    return lanes, incoming, outgoing


def _edge_lane(node: int, side: int, k: int, ids: list[int]) -> Lane:
    direction = np.array(SIDES[side], float)
    right = np.array([direction[1], -direction[0]])
    s = np.arange(RADIUS, SPACING - RADIUS + 0.5, 1.0)
    xy = _center(node) + s[:, None] * direction + (k + 0.5) * WIDTH * right
    many = len(ids) > 1
    return Lane(
        ids[k], np.column_stack([xy, np.zeros(len(xy))]), np.full(len(xy), WIDTH), (), (),
        ids[k - 1] if k else -1, ids[k + 1] if k + 1 < len(ids) else -1, -1,
        "Broken" if k else "Solid", "Solid" if k + 1 == len(ids) else "Broken", bool(k), k + 1 < len(ids),
        -1, Command.LANEFOLLOW, 13.9 if many else 8.33, node * 4 + side, -(k + 1),
    )  # fmt: skip


def _connect(lanes, incoming, outgoing, node) -> None:
    for side, entries in incoming.items():
        for other, exits in outgoing.items():
            if other == side:
                continue
            turn = {1: Command.LEFT, 2: Command.STRAIGHT, 3: Command.RIGHT}[(side - other) % 4]
            pairs = {
                Command.LEFT: [(entries[0], exits[0])],
                Command.RIGHT: [(entries[-1], exits[-1])],
                Command.STRAIGHT: list(zip(entries, exits, strict=False)),
            }[turn]
            if len(outgoing) == 2:  # a corner: every lane goes round it
                pairs = [(a, exits[min(k, len(exits) - 1)]) for k, a in enumerate(entries)]
            for a, b in pairs:
                lanes.append(_connector(lanes, a, b, node, turn))


def _connector(lanes, a, b, node, turn) -> Lane:
    start, end = lanes[a].points[-1, :2], lanes[b].points[0, :2]
    before = start - lanes[a].points[-2, :2]
    after = lanes[b].points[1, :2] - end
    reach = 0.55 * np.linalg.norm(end - start)
    t = np.linspace(0.0, 1.0, 30)[:, None]
    handles = (start, start + before * reach, end - after * reach, end)
    if turn == Command.STRAIGHT:
        handles = (start, start + (end - start) / 3, start + (end - start) * 2 / 3, end)
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    xy = sum(w * h for w, h in zip(weights, handles, strict=True))
    return Lane(
        len(lanes), np.column_stack([xy, np.zeros(len(xy))]), np.full(len(xy), WIDTH), (b,), (a,), -1, -1, -1,
        "None", "None", False, False, node, turn, 8.33, 1000 + node, -1,
    )  # fmt: skip


def _control(lights, signs, lanes, node, side, approach) -> None:
    direction = -np.array(SIDES[side], float)
    yaw = float(np.arctan2(-direction[1], -direction[0]))
    place = np.append(lanes[approach[-1]].points[-1, :2] + 3.5 * np.array([direction[1], -direction[0]]), 0.0)
    if node % 2 == 0:
        lights.append(TrafficLight(100 + len(lights), place, yaw, tuple(approach), side % 2, node))
    elif side % 2 == 1:
        signs.append(StopSign(500 + len(signs), place, yaw, tuple(approach)))


def _link(lanes: list[Lane]) -> list[Lane]:
    forward = {lane.id: set(lane.successors) for lane in lanes}
    backward = {lane.id: set(lane.predecessors) for lane in lanes}
    for lane in lanes:
        for successor in lane.successors:
            backward[successor].add(lane.id)
        for predecessor in lane.predecessors:
            forward[predecessor].add(lane.id)
    opposite = {lane.road: lane.id for lane in lanes if lane.opendrive_lane == -1 and lane.junction < 0}
    return [
        replace(
            lane,
            successors=tuple(sorted(forward[lane.id])),
            predecessors=tuple(sorted(backward[lane.id])),
            opposite=_opposite(lane, opposite),
        )
        for lane in lanes
    ]


def _opposite(lane: Lane, inner: dict[int, int]) -> int:
    if lane.junction >= 0:
        return -1
    node, side = divmod(lane.road, 4)
    dx, dy = SIDES[side]
    other = (node // COLUMNS + dy) * COLUMNS + node % COLUMNS + dx
    return inner[other * 4 + (side + 2) % 4]


def _roadside(lanes, incoming):
    crossings, sidewalks, parking = [], [], []
    for lane in lanes:
        if lane.junction >= 0 or lane.right >= 0:
            continue
        direction = lane.points[1] - lane.points[0]
        right = np.array([direction[1], -direction[0], 0.0])
        sidewalks.append(lane.points[::5] + right * 5.5)
        yaw = float(np.arctan2(direction[1], direction[0]))
        for s in range(20, 70, 8):
            parking.append(ParkingSpot(lane.points[s] + right * (WIDTH / 2 + 1.1), yaw, lane.id, float(s)))
    for approaches in incoming.values():
        for ids in approaches.values():
            inner, outer = lanes[ids[0]], lanes[ids[-1]]
            direction = inner.points[1] - inner.points[0]
            right = np.array([direction[1], -direction[0], 0.0])
            start = outer.points[-1] + direction * 3.0 + right * (WIDTH / 2 + 1.5)
            width = len(ids) * WIDTH * 2 + 3.0
            crossings.append(Crossing(start, start - right * width, 3.0))
    return tuple(crossings), tuple(sidewalks), tuple(parking)


def _buildings():
    half = SPACING / 2
    return tuple(
        Building(np.array([half + i * SPACING, half + j * SPACING, 0.0]), (60.0, 60.0, 12.0), 0.0, 0)
        for i in range(COLUMNS - 1)
        for j in range(ROWS - 1)
    )


def plain_world(town, seed: int, **fields) -> World:
    rightmost = [lane.id for lane in town.lanes.lanes if lane.junction < 0 and lane.right < 0]
    route = grid_route(town, rightmost[seed % len(rightmost)], TURNS)
    return World(Episode(seed=seed, **fields), town, route)


def car_before(world: World, room: float) -> Vehicle:
    """The only car, `room` m before the end of an approach lane on which nothing else is."""
    world.traffic.vehicles.clear()
    lane = world.town.lanes.lanes[world.town.lanes.lanes[world.tracker.lane].opposite]
    return world.traffic.spawn(CAR, [lane.id], lane.length - room, 8.0)
