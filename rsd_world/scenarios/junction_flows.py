"""Streams of cars with right of way that the ego's turn crosses or joins."""

from __future__ import annotations

import numpy as np

from rsd_model.contracts import Command
from rsd_world.actors.catalogue import CAR
from rsd_world.actors.right_of_way import conflicting_lanes
from rsd_world.actors.vehicle import Vehicle
from rsd_world.scenarios.base import MERGING, TRAFFIC_SIGNS, Scenario, Stage, release_vehicle
from rsd_world.scenarios.places import JunctionPass, RouteView
from rsd_world.state import LightState

NOTICE = 60.0  # m before the junction, where the stream begins
HEADWAY = 2.6  # s between the cars of the stream
CARS = 4
FLOW_SPEED = 8.0  # m/s
MIN_APPROACH = 30.0  # m of lane that the stream needs before the junction


class _JunctionFlow(Scenario):
    """At one junction of the route a stream of cars comes that does not wait for the ego."""

    turn: Command
    signalized: bool
    merges = False  # the stream shares the ego's exit

    def __init__(self) -> None:
        super().__init__()
        self._cars: list[Vehicle] = []
        self._pass: JunctionPass
        self._flow_lane = -1
        self._sent = 0
        self._freed = False  # the stream does not time itself any more

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Junctions where the route turns this way and a stream can come."""
        return [p.line for p in view.junctions() if p.line > NOTICE and cls._suits(view, p)]

    @classmethod
    def _suits(cls, view: RouteView, found: JunctionPass) -> bool:
        signalized = found.approach in {lane for light in view.town.lights for lane in light.lanes}
        return found.turn is cls.turn and signalized is cls.signalized and bool(cls._flows(view, found))

    @classmethod
    def _flows(cls, view: RouteView, found: JunctionPass) -> list[int]:
        """Crossing lanes for the stream: straight on, crossing or joining the ego's."""
        graph = view.graph
        flows = []
        for lane in conflicting_lanes(graph, found.crossing):
            other = graph.lanes[lane]
            joins = set(other.successors) & set(graph.lanes[found.crossing].successors)
            straight = other.turn is Command.STRAIGHT
            long_enough = other.predecessors and graph.length(other.predecessors[0]) > MIN_APPROACH
            if straight and long_enough and bool(joins) is cls.merges:
                flows.append(lane)
        return flows

    def prepare(self, stage: Stage) -> None:
        """Find the stream's lane: for a left turn the oncoming one."""
        self._pass = next(p for p in stage.view.junctions() if p.line == self.trigger_s)
        flows = self._flows(stage.view, self._pass)
        graph = stage.town.lanes
        own = graph.pose_at(self._pass.approach, graph.length(self._pass.approach))[3]
        against = [np.cos(graph.pose_at(lane, 0.0)[3] - own) for lane in flows]
        self._flow_lane = flows[int(np.argmin(against))]
        stage.traffic.avoid(graph.lanes[self._flow_lane].predecessors)
        stage.close_to_traffic(max(self.trigger_s - 60.0, 0.0), self._pass.exit, 30.0)

    def should_start(self, stage: Stage) -> bool:
        """The ego comes near the junction."""
        return stage.distance_to(self.trigger_s) < NOTICE

    def start(self, stage: Stage) -> None:
        """Lights, where there are some, are green for both."""
        self._send(stage)
        if self.signalized:
            self._set_lights(stage)

    def evolve(self, stage: Stage, dt: float) -> None:
        """The first car times itself to meet the ego; the others follow at their headway."""
        pace = self._pace(stage)
        for car in self._cars:
            car.desired_speed = pace
        if self._sent < CARS and self._has_room(stage):
            self._send(stage)

    def is_over(self, stage: Stage) -> bool:
        """The ego is through the junction."""
        return stage.tracker.s > self._pass.exit + 8.0

    def finish(self, stage: Stage) -> None:
        """The stream becomes traffic, the lights take up their cycle."""
        stage.lights.release()
        for car in self._cars:
            release_vehicle(car)

    def _pace(self, stage: Stage) -> float:
        """m/s of the stream: such that its first car meets the ego, as long as the ego comes on."""
        way = self._way_left(self._cars[0])
        ego_way = self._conflict_s() - stage.tracker.s
        waits = stage.ego.speed < 2.0 and stage.distance_to(self.trigger_s) < 15.0
        if way < 10.0 or waits or self._freed:
            self._freed = True
            return FLOW_SPEED
        return float(np.clip(way / max(ego_way / max(stage.ego.speed, 5.0), 0.5), 3.0, 1.6 * FLOW_SPEED))

    def _send(self, stage: Stage) -> None:
        self._graph = stage.town.lanes
        approach = self._graph.lanes[self._flow_lane].predecessors[0]
        onward = [approach, self._flow_lane, *self._graph.lanes[self._flow_lane].successors[:1]]
        car = stage.traffic.spawn(
            CAR, onward, self._start_s(), 0.8 * FLOW_SPEED, pinned=True, assertive=True, yields_to_ego=False
        )
        car.desired_speed = FLOW_SPEED
        self._cars.append(car)
        self._sent += 1
        self.key_actors = tuple(v.id for v in self._cars)

    def _has_room(self, stage: Stage) -> bool:
        """The last car is a headway away, and nobody stands where the next one appears."""
        entry = self._entry()
        away = [float(np.hypot(*(v.position[:2] - entry))) for v in stage.traffic.vehicles]
        return min(away) > 7.0 and np.hypot(*(self._cars[-1].position[:2] - entry)) > HEADWAY * FLOW_SPEED

    def _start_s(self) -> float:
        approach = self._graph.lanes[self._flow_lane].predecessors[0]
        return max(self._graph.length(approach) - 65.0, 4.0)

    def _entry(self) -> np.ndarray:
        approach = self._graph.lanes[self._flow_lane].predecessors[0]
        return np.array(self._graph.pose_at(approach, self._start_s())[:2])

    def _way_left(self, car: Vehicle) -> float:
        if self._flow_lane not in car.path.lanes:
            return 0.0
        k = car.path.lanes.index(self._flow_lane)
        rest = (0.05 if self.merges else 0.5) * self._graph.length(self._flow_lane)
        return float(car.path.ends[k]) - rest - car.s

    def _conflict_s(self) -> float:
        share = 0.95 if self.merges else 0.6
        return self._pass.line + share * (self._pass.exit - self._pass.line)

    def _set_lights(self, stage: Stage) -> None:
        approaches = {self._pass.approach, *self._graph.lanes[self._flow_lane].predecessors}
        junction = self._graph.lanes[self._pass.crossing].junction
        states = {
            light.id: LightState.GREEN if approaches.intersection(light.lanes) else LightState.RED
            for light in stage.town.lights
            if light.junction == junction
        }
        stage.lights.force(states)


class NonSignalizedJunctionLeftTurn(_JunctionFlow):
    """The ego turns left at a junction without lights, across oncoming cars."""

    name = "NonSignalizedJunctionLeftTurn"
    abilities = (MERGING, TRAFFIC_SIGNS)
    turn, signalized = Command.LEFT, False


class SignalizedJunctionRightTurn(_JunctionFlow):
    """The ego turns right at lights and joins a stream from the left."""

    name = "SignalizedJunctionRightTurn"
    abilities = (MERGING, TRAFFIC_SIGNS)
    turn, signalized, merges = Command.RIGHT, True, True


class SignalizedJunctionLeftTurn(_JunctionFlow):
    """The ego turns left at green lights, across oncoming cars that have green too."""

    name = "SignalizedJunctionLeftTurn"
    abilities = (MERGING, TRAFFIC_SIGNS)
    turn, signalized = Command.LEFT, True


class NonSignalizedJunctionRightTurn(_JunctionFlow):
    """The ego turns right at a junction without lights and joins a stream from the left."""

    name = "NonSignalizedJunctionRightTurn"
    abilities = (MERGING, TRAFFIC_SIGNS)
    turn, signalized, merges = Command.RIGHT, False, True
