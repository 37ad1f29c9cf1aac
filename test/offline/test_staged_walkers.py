import numpy as np

from rsd_model.contracts import VehicleControl
from rsd_offline.datasets.staged_walkers import PATIENCE, StagedWalkers
from rsd_world.state import ActorKind
from rsd_world.world import Episode, World

EPISODE = Episode(town="alder", route=3, seed=3, vehicles=0, pedestrians=0)
STAND = VehicleControl(brake=1.0)


def drive(walkers, world, seconds):
    """Lateral places (m, left of the route) and distances before the front of all people, step by step."""
    seen = []
    for _ in range(round(seconds / world.episode.dt)):
        walkers.step(world)
        world.step(STAND)
        ego = world.snapshot.ego
        people = [a for a in world.snapshot.actors if a.kind is ActorKind.PEDESTRIAN]
        delta = np.array([a.position[:2] - ego.position[:2] for a in people]).reshape(-1, 2)
        cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
        seen.append(np.column_stack([delta @ [cos, sin] - 0.5 * ego.size[0], delta @ [-sin, cos]]))
    return seen


def test_groups_step_onto_the_road_before_the_vehicle_and_cross_its_lane():
    seen = np.concatenate(drive(StagedWalkers(np.random.default_rng(0), 60.0, 0.1), World(EPISODE), 20.0))
    assert len(seen) > 100
    assert (np.abs(seen[:, 1]) < 0.9).any()
    before = np.abs(seen[:, 1]) < 0.9
    assert (seen[before, 0] > 0.0).all()


def test_nobody_is_staged_where_no_rate_is_set():
    assert not np.concatenate(drive(StagedWalkers(np.random.default_rng(0), 0.0, 0.1), World(EPISODE), 5.0)).size


def test_who_waits_for_the_vehicle_for_good_is_taken_out():
    world, walkers = World(EPISODE), StagedWalkers(np.random.default_rng(0), 60.0, 0.1)
    drive(walkers, world, 10.0)
    staged = list(world.pedestrians.walkers)
    assert staged
    for walker in staged:
        walker.waiting = True
    walkers._chance = 0.0  # nobody new
    drive(walkers, world, PATIENCE)
    left = {walker.id for walker in world.pedestrians.walkers if walker.pinned}
    assert not left & {walker.id for walker in staged}
