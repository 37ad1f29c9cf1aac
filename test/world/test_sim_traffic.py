import numpy as np
import pytest
from sim_grid_town import TURNS, car_before, grid_route, grid_town, plain_world

from rsd_model.contracts import Command, VehicleControl
from rsd_model.geometry import pose_matrix
from rsd_world.actors.boxes import box_corners_2d, boxes_overlap
from rsd_world.actors.catalogue import CAR
from rsd_world.actors.corridor import idm_acceleration
from rsd_world.actors.lane_path import build_path
from rsd_world.state import ActorKind, LightState
from rsd_world.world import Episode, World

STAND = VehicleControl(brake=1.0)


@pytest.fixture(scope="module")
def town():
    return grid_town()


def driven_over(world: World) -> set[tuple[int, int]]:
    """Pairs of moving actors, the ego as 0, whose boxes overlap."""
    actors = [a for a in world.snapshot.actors if not a.parked]
    ego = world.snapshot.ego
    centers = np.array([ego.position[:2], *(a.position[:2] for a in actors)])
    yaws = np.array([ego.yaw, *(a.yaw for a in actors)])
    boxes = box_corners_2d(centers, yaws, np.array([ego.size[:2], *(a.size[:2] for a in actors)]))
    ids = [0, *(a.id for a in actors)]
    on_foot = [False, *(a.kind is ActorKind.PEDESTRIAN for a in actors)]
    pairs = set()
    for i in range(len(ids)):
        for j in np.flatnonzero(boxes_overlap(boxes[i], boxes[i + 1 :])) + i + 1:
            if not (on_foot[i] and on_foot[j]):
                pairs.add((ids[i], ids[j]))
    return pairs


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_nobody_drives_through_anybody_in_a_minute_around_a_standing_ego(town, seed):
    world = plain_world(town, seed)
    moved = 0.0
    for _ in range(550):
        world.step(STAND)
        assert not driven_over(world)
        moved += np.mean([v.speed for v in world.traffic.vehicles]) * 0.1
    assert moved > 60.0  # and they do drive


def test_nobody_crosses_a_red_light(town):
    world = plain_world(town, 1)
    crossed = 0
    before = {}
    for _ in range(500):
        world.step(STAND)
        for vehicle in world.traffic.vehicles:
            lane = vehicle.path.lane_at(vehicle.s + vehicle.half_length)
            last = before.get(vehicle.id)
            if last is not None and last != lane and last in world.lights.by_lane:
                crossed += 1
                assert world.lights.of_lane(last) is not LightState.RED
            before[vehicle.id] = lane
    assert crossed >= 5


def test_vehicles_stop_at_stop_signs(town):
    world = plain_world(town, 2)
    signs = {lane for sign in town.stop_signs for lane in sign.lanes}
    slowest, crossed = {}, 0
    for _ in range(500):
        world.step(STAND)
        for vehicle in world.traffic.vehicles:
            lane = vehicle.path.lane_at(vehicle.s + vehicle.half_length)
            key = vehicle.id
            if lane in signs:
                slowest[key] = min(slowest.get(key, (lane, 99.0))[1], vehicle.speed)
                slowest[key] = (lane, slowest[key])
            elif key in slowest:
                crossed += 1
                assert slowest.pop(key)[1] < 0.2
    assert crossed >= 1


def test_lights_of_one_junction_are_never_green_for_two_groups(town):
    world = plain_world(town, 0)
    for time in np.arange(0.0, 120.0, 0.5):
        world.lights.step(time)
        for junction in {light.junction for light in town.lights}:
            green = {
                light.group
                for light in town.lights
                if light.junction == junction and world.lights.states[light.id] is not LightState.RED
            }
            assert len(green) <= 1


def test_traffic_stays_around_the_ego_and_appears_out_of_its_sight(town):
    world = plain_world(town, 4)
    known = {v.id for v in world.traffic.vehicles}
    for _ in range(300):
        world.step(STAND)
        for vehicle in world.traffic.vehicles:
            if vehicle.id not in known:
                assert np.linalg.norm(vehicle.position - world.snapshot.ego.position) > 38.0
            known.add(vehicle.id)
    distance = [np.linalg.norm(v.position - world.snapshot.ego.position) for v in world.traffic.vehicles]
    assert max(distance) < 160.0


def test_nobody_stands_at_the_start_of_the_ego(town):
    for seed in range(6):
        world = plain_world(town, seed)
        for vehicle in world.traffic.vehicles:
            assert np.linalg.norm(vehicle.position - world.snapshot.ego.position) > 20.0


def test_walkers_cross_and_drivers_let_them(town):
    world = plain_world(town, 3, pedestrians=40)
    on_road = set()
    for _ in range(550):
        world.step(STAND)
        on_road |= {w.id for w in world.pedestrians.walkers if w.on_road}
        assert not {pair for pair in driven_over(world) if on_road.intersection(pair)}
    assert on_road


def test_idm_brakes_for_what_is_near_and_is_free_otherwise():
    speed = np.array([10.0, 10.0, 0.0])
    acceleration = idm_acceleration(speed, np.full(3, 12.0), np.array([np.inf, 8.0, np.inf]), np.zeros(3))
    assert acceleration[0] > 0.3
    assert acceleration[1] < -5.0
    assert acceleration[2] > 1.5


def test_a_car_waits_behind_an_open_door_and_drives_on_when_it_closes(town):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 70.0)
    kerb = -(0.5 * 3.5 + 0.5 * CAR.size[1] - 0.25)
    parked = world.traffic.spawn(
        CAR, [car.path.lanes[0]], car.s + 30.0, 0.0, lateral=kerb, lateral_target=kerb, parked=True, pinned=True
    )
    parked.door_open = 1.0
    for _ in range(80):
        world.step(STAND)
    assert car.speed < 0.1
    assert car.s + car.half_length < parked.s + 0.6
    parked.door_open = 0.0
    for _ in range(80):
        world.step(STAND)
    assert car.s > parked.s + 5.0


@pytest.mark.parametrize(("speed", "brakes"), [(7.0, True), (2.0, False)])
def test_a_car_brakes_for_an_ego_that_comes_across_and_cannot_stop_any_more(town, speed, brakes):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 70.0)
    yaw = float(car.path.yaw[int(car.s)])
    along, across = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    beside = np.append(car.path.points[int(car.s) + 15, :2] - 6.5 * across, 0.0)
    for _ in range(20):  # the ego is held there: who lets it pass waits on
        world.set_ego(pose_matrix(beside, yaw + 0.5 * np.pi), speed)
        world.step(VehicleControl())
    assert (car.speed < 2.0) is brakes
    assert brakes or car.speed > 7.0
    assert not brakes or (car.position[:2] - beside[:2]) @ along < -3.0


def test_a_car_that_cuts_in_before_an_ego_beside_it_does_not_brake_for_where_the_ego_will_be(town):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 70.0)
    yaw = float(car.path.yaw[int(car.s)])
    right = np.array([np.sin(yaw), -np.cos(yaw)])
    car.lateral_target = -2.5
    for _ in range(20):
        behind = car.path.points[int(car.s), :2] - 5.0 * np.array([np.cos(yaw), np.sin(yaw)]) + 2.5 * right
        world.set_ego(pose_matrix(np.append(behind, 0.0), yaw), 8.0)
        world.step(VehicleControl())
        assert car.speed > 7.0


@pytest.mark.parametrize(("turned", "room"), [(0.5 * np.pi, 6.0), (0.0, 2.0)])
def test_a_car_leaves_an_ego_that_stands_across_its_way_room_to_go_on(town, turned, room):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 70.0)
    yaw = float(car.path.yaw[int(car.s)])
    place = car.s + 40.0
    world.set_ego(pose_matrix(np.append(car.path.points[int(place), :2], 0.0), yaw + turned), 0.0)
    reach = 0.5 * world.snapshot.ego.size[0 if turned == 0.0 else 1]
    for _ in range(120):
        world.step(STAND)
    assert car.speed < 0.3
    assert place - reach - car.s - car.half_length == pytest.approx(room, abs=1.2)


def test_a_car_stops_at_a_closed_gate_if_it_still_can(town):
    world = plain_world(town, 1, pedestrians=0)
    car = car_before(world, 70.0)
    lane, start = car.path.lanes[0], car.s
    world.traffic.gates = {lane: start + 30.0}
    for _ in range(80):
        world.step(STAND)
    assert car.speed < 0.1
    assert start + 24.0 < car.s + car.half_length < start + 30.0
    world.traffic.gates = {lane: car.s + car.half_length - 0.5}  # shut too late: it is past
    for _ in range(50):
        world.step(STAND)
    assert car.s > start + 30.0


def test_an_ego_that_waits_beside_its_lane_is_let_in_by_the_next_car_but_not_by_an_ambulance(town):
    inner = next(lane for lane in town.lanes.lanes if lane.junction < 0 and lane.right >= 0 and lane.length > 80.0)
    world = World(Episode(pedestrians=0, vehicles=0), town, grid_route(town, inner.id, TURNS))
    position, yaw = world.tracker.pose(50.0, -3.5)
    world.set_ego(pose_matrix(position, yaw), 0.0)
    beside = world.traffic.spawn(CAR, [inner.id], 50.0, 0.0, pinned=True, desired_speed=0.0)
    for _ in range(35):
        world.step(STAND)
    beside.desired_speed = None
    behind = world.traffic.spawn(CAR, [inner.id], 25.0, 4.0, pinned=True)
    for _ in range(90):
        world.step(STAND)
    assert beside.s > 65.0
    assert behind.speed < 0.1
    assert 43.0 < behind.s + behind.half_length < 46.5
    behind.siren = behind.assertive = True
    for _ in range(60):
        world.step(STAND)
    assert behind.s > 50.0


def test_plain_traffic_keeps_out_of_a_closed_lane_and_of_those_that_lead_nowhere_else(town):
    lanes = town.lanes.lanes
    world = plain_world(town, 0, vehicles=0, pedestrians=0)
    corner = next(k for k in lanes if k.junction >= 0 and len(lanes[k.predecessors[0]].successors) == 1)
    closed = {*corner.predecessors, corner.id, *corner.successors}
    world.traffic.avoid(corner.successors)
    assert closed <= world.traffic.avoided
    assert not closed.intersection(world.traffic.places.lane[~world.traffic.places.blocked])
    for lane in (k for k in lanes if k.id not in world.traffic.avoided):
        assert not world.traffic.avoided.issuperset(lane.successors)


def test_a_path_slows_down_ahead_of_a_curve(town):
    turn = next(lane for lane in town.lanes.lanes if lane.turn is Command.RIGHT)
    path = build_path(town.lanes, [turn.predecessors[0], turn.id, turn.successors[0]])
    line = int(path.stops[0].s)
    assert path.speed[line + 8] < 7.0
    assert path.speed[line - 15] > path.speed[line]
    assert np.all(np.diff(path.speed**2) > -3.7)
