"""Who goes first at a junction."""

from dataclasses import replace

import numpy as np
import pytest
from sim_grid_town import car_before, grid_town, plain_world

from rsd_model.contracts import Command
from rsd_model.geometry import pose_matrix
from rsd_world.actors.corridor import Leaders
from rsd_world.actors.junction_entry import JunctionEntry
from rsd_world.actors.right_of_way import Claim, RightOfWay
from rsd_world.ego_claims import EgoClaims
from rsd_world.state import LightState


@pytest.fixture(scope="module")
def town():
    return grid_town()


def claim(vehicle: int, lane: int, **fields) -> Claim:
    return replace(Claim(vehicle, lane, 5.0, 4.0, 3.0, 0.0, True, True), **fields)


def test_only_one_of_two_crossing_vehicles_gets_the_junction(town):
    rights = RightOfWay(town.lanes, ())
    lane, others = next((k, v) for k, v in rights.conflicts.items() if v)
    other = min(others)
    assert rights.decide([claim(1, lane), claim(2, other, distance=9.0)]) == {1}
    assert rights.decide([claim(2, other)]) == set()
    rights.release(1)
    assert rights.decide([claim(2, other)]) == {2}


def left_against_straight(town) -> tuple[RightOfWay, int, int]:
    """Right of way in the town, and two crossing lanes of which the left turn has to give way."""
    rights, lanes = RightOfWay(town.lanes, ()), town.lanes.lanes
    pairs = ((a, b) for a, others in rights.conflicts.items() for b in others)
    left, straight = next(
        (a, b) for a, b in pairs if lanes[a].turn is Command.LEFT and lanes[b].turn is Command.STRAIGHT
    )
    return rights, left, straight


def test_a_left_turn_waits_for_who_comes_straight_on(town):
    rights, left, straight = left_against_straight(town)
    comes = claim(2, straight, distance=20.0, speed=8.0, wants=False)
    assert rights.decide([claim(1, left), comes]) == set()
    assert rights.decide([claim(1, left), replace(comes, may_go=False)]) == {1}  # the other one has red


def test_who_has_waited_long_is_let_in_by_the_next_one_that_comes(town):
    rights, left, straight = left_against_straight(town)
    first, second = claim(2, straight, distance=0.2), claim(3, straight, distance=30.0)
    waits = claim(1, left, distance=0.4, speed=0.0, waiting=20.0)
    assert rights.decide([first]) == {2}
    assert rights.decide([waits, second]) == set()  # the stream opens for it ...
    rights.release(2)
    assert rights.decide([waits, second]) == {1}
    assert rights.decide([second]) == set()
    rights.release(1)
    assert rights.decide([second]) == {3}  # ... and closes again


def test_of_two_that_have_waited_long_the_one_who_waited_longer_goes_first(town):
    rights, left, straight = left_against_straight(town)
    longer = claim(1, left, distance=0.4, speed=0.0, waiting=40.0)
    shorter = claim(2, straight, distance=0.3, speed=0.0, waiting=13.0)
    assert rights.decide([shorter, longer]) == {1}
    rights.release(1)
    assert rights.decide([replace(longer, waiting=11.0), shorter]) == {2}


@pytest.mark.parametrize(("pace", "goes"), [(8.0, True), (0.0, False)])
def test_who_crosses_a_drivers_way_takes_no_room_and_who_stands_in_it_does(town, pace, goes):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 3.0)
    car.speed = 0.0
    world.lights.force({light.id: LightState.GREEN for light in town.lights})
    world.lights.step(0.0)
    inside = car.next_stop.s - car.s - car.half_length + 6.0  # m, the obstacle stands across the way or passes
    leaders = Leaders(np.array([inside]), np.zeros(1), np.array([pace]), np.zeros(1, int))
    gaps = JunctionEntry(town.lanes, (), world.lights).stop_gaps([car], leaders, [], [])
    assert np.isinf(gaps[0]) == goes


def test_an_ego_that_cannot_stop_any_more_has_the_junction(town):
    world = plain_world(town, 0)
    inside = [town.lanes.lanes[lane].junction >= 0 for lane in world.tracker.lanes]
    front_at_line = float(np.argmax(inside)) - 0.5 * world.snapshot.ego.size[0]
    world.lights.force({light.id: LightState.GREEN for light in town.lights})
    world.lights.step(0.0)
    for distance, speed, goes_in in ((6.0, 8.0, True), (6.0, 4.0, False), (0.5, 0.0, False)):
        position, yaw = world.tracker.pose(front_at_line - distance)
        world.set_ego(pose_matrix(position, yaw), speed)
        claims, held = EgoClaims(town.lanes, world.tracker, world.snapshot.ego.size).of(
            world.snapshot.ego, world.lights
        )
        assert bool(held) is goes_in
        assert bool(claims) is not goes_in
