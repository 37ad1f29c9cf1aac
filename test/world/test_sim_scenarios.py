import numpy as np
import pytest
from sim_driver import follow_route

from rsd_model.contracts import VehicleControl
from rsd_model.geometry import pose_matrix
from rsd_world.infractions import InfractionKind
from rsd_world.roads.towns import load_town
from rsd_world.scenarios import scenario_catalogue
from rsd_world.scenarios.catalogue import build_scenario, suitable_routes
from rsd_world.world import Episode, World

REQUIRED = {
    "PedestrianCrossing", "DynamicObjectCrossing", "ParkingCutIn", "HardBreakRoute", "VehicleOpensDoorTwoWays",
    "ConstructionObstacle", "NonSignalizedJunctionLeftTurn", "SignalizedJunctionRightTurn", "YieldToEmergencyVehicle",
    "HighwayCutIn",
}  # fmt: skip
NAMES = [info.name for info in scenario_catalogue()]
BLIND_SPEED = {"HighwayCutIn": 14.0}  # m/s


def time_to_collision(world: World) -> float:
    """s until the ego touches the nearest key actor, if both keep their velocity; inf = they part."""
    ego = world.snapshot.ego
    velocity = ego.speed * np.array([np.cos(ego.yaw), np.sin(ego.yaw)])
    times = [np.inf]
    for actor in world.snapshot.actors:
        if actor.id not in world.scenario.key_actors:
            continue
        delta = actor.position[:2] - ego.position[:2]
        distance = float(np.hypot(*delta))
        closing = float((velocity - actor.velocity) @ delta) / max(distance, 1e-6)
        if closing > 0.1:
            times.append(max(distance - 0.5 * (ego.size[0] + actor.size[0]), 0.0) / closing)
    return min(times)


def start_near(world: World) -> None:
    """Begin 80 m before the conflict, so that a test does not drive the whole route."""
    position, yaw = world.tracker.pose(max(world.scenario.trigger_s - 80.0, 0.0))
    world.set_ego(pose_matrix(position, yaw), 6.0)


@pytest.mark.parametrize("town", ["alder", "birch"])
@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_is_dangerous_for_a_blind_driver(name, town):
    world = World(Episode(town, route=2, scenario=name, seed=1, vehicles=10, pedestrians=5))
    start_near(world)
    started, nearest = False, np.inf
    while not (world.done or world.scenario.finished) and world.time < 60.0:
        world.step(follow_route(world, BLIND_SPEED.get(name, 8.3)))
        started |= world.scenario.active
        nearest = min(nearest, time_to_collision(world)) if world.scenario.active else nearest
    shown = {actor.id for actor in world.snapshot.actors}
    blamed = [
        i
        for i in world.infractions
        if i.actor in world.scenario.key_actors or i.kind is InfractionKind.COLLISION_STATIC
    ]
    assert started
    assert world.scenario.key_actors
    assert blamed or nearest < 2.0
    assert shown.intersection(world.scenario.key_actors)


def test_the_catalogue_holds_the_ten_of_bench2drive_with_their_abilities():
    infos = {info.name: info for info in scenario_catalogue()}
    assert infos.keys() >= REQUIRED
    known = {"Overtaking", "Merging", "Emergency_Brake", "Give_Way", "Traffic_Signs"}
    assert {ability for info in infos.values() for ability in info.abilities} == known
    assert all(info.description for info in infos.values())


def test_an_unknown_scenario_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"'Earthquake'.*HardBreakRoute"):
        build_scenario("Earthquake")


@pytest.mark.parametrize("town", ["alder", "birch"])
def test_every_scenario_has_several_places_in_each_town(town):
    for name in NAMES:
        assert suitable_routes(load_town(town), name) >= 3, name


@pytest.mark.parametrize("name", ["ConstructionObstacle", "VehicleOpensDoorTwoWays"])
def test_the_ego_may_leave_its_lane_only_while_an_obstacle_is_passed(name):
    world = World(Episode("alder", route=2, scenario=name, seed=1, vehicles=0, pedestrians=0))
    start_near(world)
    assert not world.scenario.ego_may_leave_lane
    while not world.scenario.active:
        world.step(follow_route(world, 8.0))
    assert world.scenario.ego_may_leave_lane
    while not world.scenario.finished:
        world.step(follow_route(world, 8.0))
    assert not world.scenario.ego_may_leave_lane


def test_oncoming_drivers_let_an_ego_go_that_has_waited_before_the_works():
    world = World(Episode("alder", route=1, scenario="ConstructionObstacle", seed=14, vehicles=0, pedestrians=0))
    position, yaw = world.tracker.pose(world.scenario.trigger_s - 20.0)
    world.set_ego(pose_matrix(position, yaw), 0.0)
    for _ in range(90):
        world.step(VehicleControl(brake=1.0))
    assert world.traffic.gates
    world.scenario._end(world._stage)
    assert not world.traffic.gates


def test_a_car_cuts_in_with_a_gap_also_before_an_ego_that_speeds_up_from_the_start():
    world = World(Episode("birch", route=3, scenario="HighwayCutIn", seed=43, vehicles=0, pedestrians=0))
    while not world.scenario.active:
        assert not world.scenario.finished
        world.step(follow_route(world, 9.0))
    assert world.scenario._gap(world._stage) > 4.0


def test_a_driver_who_outpaces_the_car_that_should_cut_in_is_left_alone():
    world = World(Episode("birch", route=3, scenario="HighwayCutIn", seed=43, vehicles=0, pedestrians=0))
    while not world.scenario.finished:
        assert not world.scenario.active
        world.step(follow_route(world, 14.0))


def test_a_walker_behind_a_van_leaves_time_to_brake_from_30_kmh():
    for route in range(4):
        world = World(
            Episode("alder", route=route, scenario="DynamicObjectCrossing", seed=route, vehicles=0, pedestrians=0)
        )
        start_near(world)
        walker, van = world.scenario.key_actors
        while not world.scenario.active:
            world.step(follow_route(world, 8.33))
        side = -world.scenario._kerb + 1.0  # m, the van's flank: here the walker comes into sight
        while lateral_of(world, walker) < side:
            world.step(follow_route(world, 8.33))
        distance = world.scenario.trigger_s - world.tracker.s - 0.5 * world.snapshot.ego.size[0]
        reaction, braking = 0.5 * 8.33, 8.33**2 / (2 * 6.0)
        assert distance > reaction + braking, van


def lateral_of(world: World, actor: int) -> float:
    state = next(a for a in world.snapshot.actors if a.id == actor)
    point, yaw = world.tracker.pose(world.scenario.trigger_s)
    delta = state.position[:2] - point[:2]
    return float(delta[1] * np.cos(yaw) - delta[0] * np.sin(yaw))
