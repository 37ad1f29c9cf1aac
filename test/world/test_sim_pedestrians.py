"""When people on foot step onto a crossing."""

import numpy as np
import pytest
from sim_grid_town import grid_town

from rsd_world.actors.pedestrians import Pedestrians
from rsd_world.state import EgoVehicle


def steps_off(before: float, speed: float) -> bool:
    """Whether somebody at the kerb sets out within a second; an ego drives `before` m ahead of the walkers' way."""
    town = grid_town()
    crossing = town.crossings[0]
    people = Pedestrians(town, np.random.default_rng(0), next_id=lambda: 1)
    walker = people.add(crossing.start, [crossing.end], 1.3, crossing=0)
    walker.pinned = False  # no scenario directs it
    way = (crossing.end - crossing.start)[:2] / np.linalg.norm((crossing.end - crossing.start)[:2])
    along = np.array([-way[1], way[0]])
    middle = 0.5 * (crossing.start + crossing.end)[:2]
    position = np.array([*(middle - before * along), 0.0])
    ego = EgoVehicle(position, float(np.arctan2(along[1], along[0])), speed, 0.0, 0.0, 0.0, 0.0, (4.9, 1.8, 1.5))
    for _ in range(10):
        people.step(ego, [], 0.1)
    return walker.on_road and not walker.waiting


@pytest.mark.parametrize(
    ("before", "speed", "sets_out"),
    [(4.0, 0.0, True), (4.0, 0.3, False), (2.0, 0.0, False), (12.0, 8.0, False), (40.0, 0.0, True)],
)
def test_people_walk_before_a_vehicle_that_stands_but_not_before_one_that_rolls_or_stands_in_their_way(
    before, speed, sets_out
):
    assert steps_off(before, speed) is sets_out
