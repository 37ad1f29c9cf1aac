import numpy as np
import pytest
from sim_driver import follow_route
from sim_grid_town import grid_route, grid_town

from rsd_model.contracts import Command, VehicleControl
from rsd_model.geometry import pose_matrix
from rsd_world.infractions import InfractionKind
from rsd_world.roads.lane_graph import Route
from rsd_world.state import LightState
from rsd_world.world import Episode, World

STAND = VehicleControl(brake=1.0)
EMPTY = {"vehicles": 0, "pedestrians": 0}


@pytest.fixture(scope="module")
def town():
    return grid_town()


def first_lane(town, two_lanes: bool = True) -> int:
    return next(x.id for x in town.lanes.lanes if x.junction < 0 and x.right < 0 and (x.left >= 0) == two_lanes)


def world_on(town, turns=(Command.STRAIGHT,), first=None, **fields) -> World:
    first = first_lane(town) if first is None else first
    return World(Episode(**{**EMPTY, **fields}), town, grid_route(town, first, turns))


def kinds(world: World) -> list[InfractionKind]:
    return [i.kind for i in world.infractions if i.kind is not InfractionKind.MIN_SPEED]


def snapshots_equal(a, b) -> bool:
    same = a.time == b.time and a.lights == b.lights and np.array_equal(a.ego.position, b.ego.position)
    same &= (a.ego.yaw, a.ego.speed) == (b.ego.yaw, b.ego.speed) and len(a.actors) == len(b.actors)
    return same and all(
        x.id == y.id
        and np.array_equal(x.position, y.position)
        and (x.yaw, x.phase, x.color) == (y.yaw, y.phase, y.color)
        for x, y in zip(a.actors, b.actors, strict=True)
    )


@pytest.mark.parametrize("scenario", [None, "ParkingCutIn"])
def test_same_episode_and_controls_give_the_same_snapshots_bit_for_bit(scenario):
    worlds = [World(Episode("alder", route=3, seed=11, scenario=scenario)) for _ in range(2)]
    for _ in range(150):
        a, b = (world.step(follow_route(world, 8.0)) for world in worlds)
        assert snapshots_equal(a, b)


def test_another_seed_gives_another_drive():
    a, b = (World(Episode("alder", seed=seed)) for seed in (1, 2))
    assert not snapshots_equal(a.snapshot, b.snapshot)


def test_a_route_that_is_followed_to_its_end_is_completed(town):
    world = world_on(town)
    while not world.done and world.time < 60.0:
        world.step(follow_route(world, 8.0))
    assert world.outcome == "completed"
    assert world.progress == 1.0


def test_an_ego_that_stands_for_a_minute_is_blocked(town):
    world = world_on(town)
    for _ in range(605):
        world.step(STAND)
    assert world.outcome == "blocked"
    assert kinds(world) == [InfractionKind.BLOCKED]


def test_more_than_30_m_off_the_route_ends_the_drive(town):
    world = world_on(town)
    position, yaw = world.tracker.pose(40.0, 29.0)
    world.set_ego(pose_matrix(position, yaw + np.pi / 2), 5.0)
    while not world.done and world.time < 5.0:
        world.step(VehicleControl(throttle=0.5))
    assert world.outcome == "off_route"
    assert InfractionKind.ROUTE_DEVIATION in kinds(world)


def test_a_drive_that_takes_too_long_times_out(town):
    world = world_on(town, dt=0.2)
    forward = 0
    while not world.done and world.time < 300.0:
        forward += 1
        world.step(VehicleControl(throttle=0.4, reverse=forward % 40 < 20))
    assert world.outcome == "timeout"
    assert InfractionKind.ROUTE_TIMEOUT in kinds(world)


def run_over_line(world: World, state: LightState | None) -> None:
    line = next(k for k, lane in enumerate(world.tracker.lanes) if world.town.lanes.lanes[lane].junction >= 0)
    position, yaw = world.tracker.pose(line - 12.0)
    world.set_ego(pose_matrix(position, yaw), 8.0)
    if state is not None:
        world.lights.force({light.id: state for light in world.town.lights})
    for _ in range(30):
        world.step(follow_route(world, 8.0))


def lane_towards(town, signs: bool) -> int:
    if signs:
        return town.stop_signs[0].lanes[0]
    return next(lane for light in town.lights for lane in light.lanes)


@pytest.mark.parametrize(("state", "fault"), [(LightState.RED, True), (LightState.GREEN, False)])
def test_a_red_light_counts_once_when_its_line_is_crossed(town, state, fault):
    world = world_on(town, first=lane_towards(town, signs=False))
    run_over_line(world, state)
    assert kinds(world).count(InfractionKind.RED_LIGHT) == int(fault)


def test_a_stop_sign_that_is_driven_past_counts(town):
    world = world_on(town, first=lane_towards(town, signs=True))
    run_over_line(world, None)
    assert kinds(world) == [InfractionKind.STOP_SIGN]


def test_a_stop_before_the_line_satisfies_the_stop_sign(town):
    world = world_on(town, first=lane_towards(town, signs=True))
    line = next(k for k, lane in enumerate(world.tracker.lanes) if town.lanes.lanes[lane].junction >= 0)
    position, yaw = world.tracker.pose(line - 4.0)
    world.set_ego(pose_matrix(position, yaw), 0.0)
    for _ in range(5):
        world.step(STAND)
    for _ in range(50):
        world.step(follow_route(world, 6.0))
    assert kinds(world) == []


def test_driving_into_a_tree_is_one_static_collision(town):
    world = world_on(town)
    tree = town.props[0]
    world.set_ego(pose_matrix(tree.position - [8.0, 0.0, 0.0], 0.0), 8.0)
    for _ in range(20):
        world.step(VehicleControl(throttle=0.3))
    assert kinds(world).count(InfractionKind.COLLISION_STATIC) == 1


def test_contact_with_a_parked_car_slows_the_ego_and_counts_once(town):
    world = world_on(town)
    car = world.parked[0]
    heading = np.array([np.cos(car.yaw), np.sin(car.yaw), 0.0])
    world.set_ego(pose_matrix(car.position - 7.0 * heading, car.yaw), 6.0)
    for _ in range(15):
        world.step(VehicleControl(throttle=0.2))
    assert kinds(world).count(InfractionKind.COLLISION_VEHICLE) == 1
    assert world.snapshot.ego.speed < 5.0


def test_the_oncoming_lane_counts_as_outside_with_its_share_of_the_way(town):
    world = world_on(town, first=first_lane(town, two_lanes=False))
    position, yaw = world.tracker.pose(5.0, 3.5)
    world.set_ego(pose_matrix(position, yaw), 8.0)
    for _ in range(30):
        world.step(VehicleControl(throttle=0.3))
    entry = next(i for i in world.infractions if i.kind is InfractionKind.OUTSIDE_LANES)
    assert entry.percentage == pytest.approx(100.0)


def test_the_neighbour_lane_of_the_same_direction_is_no_fault(town):
    world = world_on(town)
    position, yaw = world.tracker.pose(5.0, 3.5)
    world.set_ego(pose_matrix(position, yaw), 8.0)
    for _ in range(30):
        world.step(VehicleControl(throttle=0.3))
    assert InfractionKind.OUTSIDE_LANES not in kinds(world)


def test_the_command_is_announced_15_m_before_the_junction_and_lasts_to_its_end(town):
    turn = next(lane for lane in town.lanes.lanes if lane.turn is Command.RIGHT)
    world = world_on(town, turns=(Command.RIGHT,), first=turn.predecessors[0])
    inside = np.flatnonzero([town.lanes.lanes[lane].junction >= 0 for lane in world.tracker.lanes])
    expected = {inside[0] - 17: Command.LANEFOLLOW, inside[0] - 14: Command.RIGHT, inside[-1]: Command.RIGHT}
    for s, command in {**expected, inside[-1] + 2: Command.LANEFOLLOW}.items():
        position, yaw = world.tracker.pose(float(s))
        world.set_ego(pose_matrix(position, yaw), 0.0)
        assert world.command() is command


def test_the_route_ahead_starts_at_the_ego_and_is_spaced_by_a_metre(town):
    world = world_on(town)
    position, yaw = world.tracker.pose(20.3, 0.8)
    world.set_ego(pose_matrix(position, yaw), 0.0)
    ahead = world.route_ahead(30.0)
    assert ahead[0] == pytest.approx([0.0, -0.8], abs=1e-6)
    assert np.linalg.norm(np.diff(ahead, axis=0), axis=1) == pytest.approx(1.0, abs=0.01)
    assert len(ahead) == 31


def test_the_record_holds_the_motion_in_map_axes(town):
    world = world_on(town, turns=(Command.LEFT,))
    while not world.done and world.time < 60.0:
        world.step(follow_route(world, 7.0))
    record = world.record()
    velocity = np.gradient(record.location, record.dt, axis=0)[:, :2]
    acceleration = np.gradient(velocity, record.dt, axis=0)
    assert np.abs(acceleration - record.acceleration[:, :2])[5:-5].mean() < 0.5
    assert np.cross(record.right_vector, record.forward_vector)[:, 2] == pytest.approx(1.0)
    assert record.completion == 1.0
    assert 0.0 < record.junction_progress < 1.0
    assert len(record.time) == len(record.location) == world.frame


def test_twenty_checkpoints_compare_the_pace_with_the_traffic():
    world = World(Episode("alder", route=2, seed=3))
    while not world.done:
        world.step(follow_route(world, 8.0))
    checkpoints = [i for i in world.infractions if i.kind is InfractionKind.MIN_SPEED]
    assert 15 <= len(checkpoints) <= 20
    assert all(i.percentage >= 0.0 for i in checkpoints)


def test_every_actor_tells_its_path():
    world = World(Episode("alder", route=2, seed=3))
    for actor in world.snapshot.actors:
        path = world.actor_path(actor.id)
        assert path.shape[1] == 2
        assert np.linalg.norm(path[0] - actor.position[:2]) < 1.5
    with pytest.raises(KeyError, match="no actor 65000"):
        world.actor_path(65000)


@pytest.mark.parametrize("field", [{"dt": 0.0}, {"vehicles": -1}, {"seed": -3}])
def test_a_wrong_episode_is_refused_with_its_field(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Episode(**field)


def test_a_route_of_its_own_is_used(town):
    route = grid_route(town, first_lane(town), (Command.STRAIGHT,))
    assert isinstance(World(Episode(**EMPTY), town, route).route, Route)
