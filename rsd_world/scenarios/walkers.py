"""People who step onto the road in front of the ego."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.catalogue import CHILD_SIZE, PEDESTRIAN_SIZE, Blueprint
from rsd_world.actors.pedestrians import Walker
from rsd_world.scenarios.base import EMERGENCY_BRAKE, TRAFFIC_SIGNS, Scenario, Stage
from rsd_world.scenarios.places import RouteView
from rsd_world.state import ActorKind

BLOCKER = Blueprint(ActorKind.VAN, (5.35, 2.00, 2.30))
KERB = 1.1  # m from the lane's edge to the middle of what is parked beside it


def meets_ego(stage: Stage, distance: float, walk: float, pace: float, nearest: float) -> bool:
    """Whoever starts now, and has `walk` m at `pace` m/s to the ego's lane, gets there with the ego."""
    speed = stage.ego.speed
    return distance > -2.0 and speed > 1.0 and distance < max(speed * walk / pace, nearest)


class PedestrianCrossing(Scenario):
    """Three people step onto a marked crossing as the ego comes."""

    name = "PedestrianCrossing"
    abilities = (EMERGENCY_BRAKE, TRAFFIC_SIGNS)

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Marked crossings on the route."""
        return [s for s, _ in view.crossings()]

    def prepare(self, stage: Stage) -> None:
        """The three wait at the kerb, on the side nearer to the ego's lane or the other."""
        index = next(k for s, k in stage.view.crossings() if s == self.trigger_s)
        crossing = stage.town.crossings[index]
        ends = (crossing.start, crossing.end) if stage.rng.random() < 0.5 else (crossing.end, crossing.start)
        self._axis = (ends[1] - ends[0]) / np.linalg.norm((ends[1] - ends[0])[:2])
        self._pace = float(stage.rng.uniform(1.3, 1.7))
        along_road = np.array([-self._axis[1], self._axis[0], 0.0])
        self._walkers: list[Walker] = []
        for k, (aside, behind) in enumerate(((0.0, 0.0), (0.8, 0.5), (-0.8, 1.2))):
            place = ends[0] + aside * along_road - behind * self._axis
            target = ends[1] + aside * along_road + (1.0 + 0.3 * k) * self._axis
            walker = stage.pedestrians.add(place, [target], self._pace, waiting=True)
            self._walkers.append(walker)
        self.key_actors = tuple(w.id for w in self._walkers)
        lane_point = stage.view.tracker.pose(self.trigger_s)[0]
        self._walk = float((lane_point - ends[0])[:2] @ self._axis[:2])

    def should_start(self, stage: Stage) -> bool:
        """The first of them would be in the ego's lane when the ego is there."""
        return meets_ego(stage, stage.distance_to(self.trigger_s), self._walk, self._pace, 7.0)

    def start(self, stage: Stage) -> None:
        """They walk."""
        for walker in self._walkers:
            walker.waiting, walker.on_road = False, True

    def is_over(self, stage: Stage) -> bool:
        """The ego has passed, or all are across."""
        return super().is_over(stage) or not any(w.targets for w in self._walkers)

    def finish(self, stage: Stage) -> None:
        """Who is across strolls on."""
        for walker in self._walkers:
            walker.pinned = bool(walker.targets)


class DynamicObjectCrossing(Scenario):
    """A walker steps out from behind a parked van."""

    name = "DynamicObjectCrossing"
    abilities = (EMERGENCY_BRAKE,)

    @classmethod
    def places(cls, view: RouteView) -> list[float]:
        """Stretches of the rightmost lane; beside parking spots where the route has them."""
        places = view.clear_places((view.right < 0) & (view.limit < 15.0), 14.0, 12.0)
        spots = [p for p in view.town.parking if p.lane in set(view.lanes.tolist())]
        if not spots:
            return places
        points = np.array([p.position[:2] for p in spots])
        centers = {s: view.tracker.pose(s)[0][:2] for s in places}
        beside = [s for s in places if np.linalg.norm(points - centers[s], axis=1).min() < 5.0]
        return beside or places

    def prepare(self, stage: Stage) -> None:
        """The van stands at the kerb; the walker is hidden by its front."""
        width = stage.town.lanes.width_at(int(stage.view.lanes[int(self.trigger_s)]), 1.0)
        self._kerb = 0.5 * width + KERB
        stage.clear_parked(self.trigger_s, 12.0)
        van_s = self.trigger_s - 0.5 * BLOCKER.size[0] - 0.9
        self._van = stage.spawn_on_route(
            BLOCKER, van_s, 0.0, lateral=-self._kerb, lateral_target=-self._kerb, parked=True
        )
        child = stage.rng.random() < 0.4
        start, _ = stage.view.tracker.pose(self.trigger_s, -self._kerb)
        goal, _ = stage.view.tracker.pose(self.trigger_s, 0.5 * width + 5.5)
        self._pace = float(stage.rng.uniform(1.1, 1.35))
        self._walker = stage.pedestrians.add(
            start, [goal], self._pace, waiting=True, size=CHILD_SIZE if child else PEDESTRIAN_SIZE
        )
        self.key_actors = (self._walker.id, self._van.id)

    def should_start(self, stage: Stage) -> bool:
        """The walker would be just past the middle of the lane when the ego is there."""
        return meets_ego(stage, stage.distance_to(self.trigger_s), self._kerb + 0.3, self._pace, 9.0)

    def start(self, stage: Stage) -> None:
        """The walker goes."""
        self._walker.waiting, self._walker.on_road = False, True
