"""People who step onto the road before the vehicle, far oftener than a town's own walkers do.

Left alone, somebody is in the vehicle's lane within 10 m in 0.8 % of the recorded frames, and at the kerb in sixteen
times as many: a network that learns from those sees people at the kerb and nobody in the lane.
"""

from __future__ import annotations

import numpy as np

from rsd_world.actors.pedestrians import Walker
from rsd_world.state import ActorKind
from rsd_world.world import World

BRAKING = 4.0  # m/s^2 that the vehicle needs at most to stop before them
NEAREST, REACH = 1.5, 11.0  # m from where it would stop
KERB = (2.6, 5.0)  # m beside the route where they start, and to which they go on the other side
LARGEST_GROUP = 4
PATIENCE = 12.0  # s after which one who is still on the way is taken out: car and walker can wait for each other
CLEARANCE = 3.5  # m from their way to the middle of any vehicle


class StagedWalkers:
    """Groups that cross the route of one drive."""

    def __init__(self, rng: np.random.Generator, per_minute: float, dt: float) -> None:
        self._rng, self._chance = rng, per_minute / 60.0 * dt
        self._crossing: list[tuple[Walker, float]] = []  # with the time in s at which it started

    def step(self, world: World) -> None:
        """Now and then let a group start; who is across becomes one of the town's walkers."""
        for walker, since in self._crossing:
            walker.pinned = bool(walker.targets)
            if walker.pinned and world.time - since > PATIENCE:
                world.pedestrians.walkers.remove(walker)
                walker.pinned = False
        self._crossing = [entry for entry in self._crossing if entry[0].pinned]
        if self._rng.random() < self._chance:
            self._stage(world)

    def _stage(self, world: World) -> None:
        rng, ego, tracker = self._rng, world.snapshot.ego, world.tracker
        stopping = ego.speed**2 / (2.0 * BRAKING)
        s = tracker.s + 0.5 * ego.size[0] + stopping + rng.uniform(NEAREST, REACH)
        side = rng.choice([-1.0, 1.0])
        start, goal = side * rng.uniform(*KERB), -side * rng.uniform(*KERB)
        if s > tracker.length or not _is_clear(world, s, start, goal):
            return
        for _ in range(rng.integers(1, LARGEST_GROUP + 1)):
            aside, behind = rng.uniform(-1.0, 1.0), side * rng.uniform(0.0, 1.5)
            place, target = (tracker.pose(s + aside, lateral)[0] for lateral in (start + behind, goal))
            pace = float(rng.uniform(0.7, 1.7))
            self._crossing.append((world.pedestrians.add(place, [target], pace, on_road=True), world.time))


def _is_clear(world: World, s: float, start: float, goal: float) -> bool:
    """Whether no vehicle stands or drives on the way across the route at `s` m."""
    way = np.array([world.tracker.pose(s, lateral)[0][:2] for lateral in np.linspace(start, goal, 5)])
    others = [a.position[:2] for a in world.snapshot.actors if a.kind is not ActorKind.PEDESTRIAN]
    if not others:
        return True
    return bool(np.linalg.norm(np.array(others)[:, None] - way, axis=2).min() > CLEARANCE)
