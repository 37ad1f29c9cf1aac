"""Road works that close the ego's lane."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.catalogue import BARRIER_SIZE, CAR, CONE_SIZE
from rsd_world.actors.vehicle import Vehicle
from rsd_world.scenarios.base import OVERTAKING, Scenario, Stage, release_vehicle
from rsd_world.scenarios.places import RouteView, place_on_lane
from rsd_world.state import ActorKind

LENGTH = 10.0  # m of closed lane
MEETING = 75.0  # m beyond the works, where an oncoming car starts
GATE = 20.0  # m beyond the works, where oncoming drivers let the ego go first
WAITED = 6.0  # s that the ego stands before the works, until they do
STANDING = 0.5  # m/s
BACK_IN_LANE = 1.0  # m beside the route
RETURN = 30.0  # m beyond the works, by which the ego must be back


class ConstructionObstacle(Scenario):
    """Cones and a barrier close the ego's lane; the way past leads over the lane to the left."""

    name = "ConstructionObstacle"
    abilities = (OVERTAKING,)

    def __init__(self) -> None:
        super().__init__()
        self._oncoming: Vehicle | None = None
        self._waited = 0.0  # s

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Fairly straight stretches with a lane to the left, of either direction."""
        suits = (view.left >= 0) | ((view.right < 0) & (view.opposite >= 0))
        return view.clear_places(suits & (view.limit < 20.0) & (view.curvature < 0.03), 22.0, 35.0)

    def prepare(self, stage: Stage) -> None:
        """A taper of cones, the barrier, and cones along the works."""
        s, side = self.trigger_s, 1.45
        stage.clear_parked(s + 0.5 * LENGTH, 22.0)
        stage.close_to_traffic(0.0, s + LENGTH, 40.0)
        for k in range(4):
            stage.add_prop(ActorKind.TRAFFIC_CONE, CONE_SIZE, s - 6.0 + 2.0 * k, -1.5 + 0.95 * k)
        barrier = stage.add_prop(ActorKind.BARRIER, BARRIER_SIZE, s + 1.0, 0.0)
        for along in np.arange(2.0, LENGTH + 0.1, 2.0):
            stage.add_prop(ActorKind.TRAFFIC_CONE, CONE_SIZE, s + along, side)
        self.key_actors = (barrier.id,)

    def should_start(self, stage: Stage) -> bool:
        """The ego is 50 m away."""
        return stage.distance_to(self.trigger_s) < 50.0

    def start(self, stage: Stage) -> None:
        """The ego may use the other lane; on a two-way road somebody comes along it."""
        self.ego_may_leave_lane = True
        if (lane := self._opposite(stage)) >= 0:
            self._oncoming = self._meet(stage, lane)
            self.key_actors += (self._oncoming.id,)

    def evolve(self, stage: Stage, dt: float) -> None:
        """Oncoming drivers stop beyond the works for an ego that is on their lane, or has waited long enough."""
        before = self.trigger_s - stage.tracker.s
        self._waited += dt if stage.ego.speed < STANDING and 0.0 < before < 30.0 else 0.0
        passing = stage.tracker.lateral > 0.6 and before < 25.0
        if (lane := self._opposite(stage)) < 0:
            return
        if passing or self._waited > WAITED:
            beyond = stage.view.tracker.pose(self.trigger_s + LENGTH + GATE)[0]
            stage.traffic.gates = {lane: place_on_lane(stage.town.lanes, lane, beyond)}
        else:
            stage.traffic.gates.clear()

    def is_over(self, stage: Stage) -> bool:
        """The ego is past the works and back in its lane, or has had the way to get there."""
        beyond = stage.tracker.s - self.trigger_s - LENGTH
        return beyond > 12.0 and (abs(stage.tracker.lateral) < BACK_IN_LANE or beyond > RETURN)

    def finish(self, stage: Stage) -> None:
        """The oncoming car drives on as traffic."""
        if self._oncoming is not None and self._oncoming in stage.traffic.vehicles:
            release_vehicle(self._oncoming)

    def _opposite(self, stage: Stage) -> int:
        """The oncoming lane that the way past uses, -1 = the next lane has the ego's direction."""
        k = int(self.trigger_s)
        return -1 if stage.view.left[k] >= 0 else int(stage.view.opposite[k])

    def _meet(self, stage: Stage, lane: int) -> Vehicle:
        graph = stage.town.lanes
        works = stage.view.tracker.pose(self.trigger_s)[0]
        s = place_on_lane(graph, lane, works) - MEETING
        while s < 5.0 and graph.lanes[lane].predecessors:
            before = graph.lanes[lane].predecessors[0]
            if graph.lanes[before].junction >= 0:
                break
            lane, s = before, s + graph.length(before)
        return stage.traffic.spawn(CAR, [lane], max(s, 4.0), 6.0, pinned=True)
