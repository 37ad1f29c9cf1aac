"""Our own towns: topology, geometry and furniture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsd_model.contracts import Command
from rsd_world.roads.approaches import junction_approaches
from rsd_world.roads.lane_graph import Lane
from rsd_world.roads.town import Town
from rsd_world.roads.town_storage import read_town, save_town
from rsd_world.roads.towns import load_town, town_names

BOTH = pytest.mark.parametrize("town", [load_town("alder"), load_town("birch")], ids=lambda town: town.name)


def angle_between(a: float, b: float) -> float:
    return abs((a - b + np.pi) % (2.0 * np.pi) - np.pi)


def distance_to_lanes(town: Town, points: np.ndarray) -> np.ndarray:
    """(N,) m from each point to the rim of the nearest lane; negative inside a lane."""
    found = town.lanes.nearest_many(points, max_distance=np.inf)
    half = [town.lanes.width_at(lane, s) / 2.0 for lane, s in zip(found.lanes, found.s, strict=True)]
    return found.distances - np.array(half)


def test_both_towns_are_part_of_the_package_and_an_unknown_one_lists_them() -> None:
    assert set(town_names()) >= {"alder", "birch"}
    with pytest.raises(FileNotFoundError, match="alder, birch"):
        load_town("atlantis")
    with pytest.raises(ValueError, match="import-map"):
        load_town("Town03.xodr")


@BOTH
def test_no_lane_ends_or_begins_in_nothing(town: Town) -> None:
    assert all(lane.successors and lane.predecessors for lane in town.lanes.lanes)


@BOTH
def test_a_successor_starts_where_the_lane_ends_and_in_its_direction(town: Town) -> None:
    for lane in town.lanes.lanes:
        for to in lane.successors:
            following = town.lanes.lanes[to]
            assert np.linalg.norm(following.points[0] - lane.points[-1]) < 0.1
            assert angle_between(following.headings[0], lane.headings[-1]) < 0.02
            assert abs(following.widths[0] - lane.widths[-1]) < 0.05
            assert lane.id in following.predecessors


@BOTH
def test_neighbours_name_each_other_and_lie_on_their_side(town: Town) -> None:
    for lane in town.lanes.lanes:
        if lane.left >= 0:
            neighbour = town.lanes.lanes[lane.left]
            assert neighbour.right == lane.id
            assert lateral_of(lane, neighbour.points[len(neighbour.points) // 2]) > 2.0
        if lane.opposite >= 0:
            other = town.lanes.lanes[lane.opposite]
            assert angle_between(other.headings[0] + np.pi, lane.headings[-1]) < 0.2
            assert lateral_of(lane, other.points[len(other.points) // 2]) > 2.0
        assert not lane.left_change or lane.left >= 0
        assert not lane.right_change or lane.right >= 0


def lateral_of(lane: Lane, point: np.ndarray) -> float:
    i = int(np.argmin(np.linalg.norm(lane.points - point, axis=1)))
    heading = lane.headings[i]
    return float(np.array([-np.sin(heading), np.cos(heading)]) @ (point - lane.points[i])[:2])


@BOTH
def test_points_are_about_one_metre_apart_and_turns_are_wide_enough_to_drive(town: Town) -> None:
    smallest = {Command.RIGHT: 7.0, Command.LEFT: 10.0, Command.STRAIGHT: 15.0, Command.LANEFOLLOW: 15.0}
    for lane in town.lanes.lanes:
        steps = np.diff(lane.arc_lengths)
        assert steps.min() > 0.7
        assert steps.max() < 1.3
        curvature = np.abs(np.diff(lane.headings) / steps)
        assert curvature.max() * smallest[lane.turn] <= 1.0, (lane.road, lane.turn)


@BOTH
def test_turns_are_named_by_the_change_of_heading(town: Town) -> None:
    for lane in town.lanes.lanes:
        change = lane.headings[-1] - lane.headings[0]
        if lane.junction < 0:
            assert lane.turn is Command.LANEFOLLOW
        elif lane.turn is Command.STRAIGHT:
            assert abs(change) < np.radians(35.0)
        else:
            assert (change > 0) == (lane.turn is Command.LEFT)
    assert {lane.turn for lane in town.lanes.lanes} == {
        Command.LEFT,
        Command.RIGHT,
        Command.STRAIGHT,
        Command.LANEFOLLOW,
    }


@BOTH
def test_every_lane_leads_to_every_other(town: Town) -> None:
    for links in ("successors", "predecessors"):
        reached, todo = {0}, [0]
        while todo:
            new = set(getattr(town.lanes.lanes[todo.pop()], links)) - reached
            reached |= new
            todo += new
        # a lane beside a reached one is reached by changing lanes
        missing = [lane for lane in town.lanes.lanes if lane.id not in reached]
        assert all({lane.left, lane.right} & reached for lane in missing)


@BOTH
def test_the_town_has_what_scenarios_need(town: Town) -> None:
    lanes = town.lanes.lanes
    x0, y0, x1, y1 = town.lanes.bounds
    assert 400.0 < max(x1 - x0, y1 - y0) < 650.0
    assert len({lane.junction for lane in lanes} - {-1}) >= 10
    assert any(lane.speed_limit > 20.0 and lane.length > 300.0 and lane.left_change for lane in lanes)
    assert len(town.parking) > 100
    assert len(town.crossings) > 20
    assert town.lights
    assert town.stop_signs
    uncontrolled = {lane for item in (*town.lights, *town.stop_signs) for lane in item.lanes}
    approaches = [a for group in junction_approaches(town.lanes).values() for a in group]
    assert any(not uncontrolled & set(approach.lanes) for approach in approaches), "no approach has priority"


@BOTH
def test_lights_stand_for_approach_lanes_and_face_their_drivers(town: Town) -> None:
    for light in town.lights:
        for i in light.lanes:
            lane = town.lanes.lanes[i]
            assert lane.junction < 0
            assert {town.lanes.lanes[to].junction for to in lane.successors} == {light.junction}
            assert angle_between(light.yaw, lane.headings[-1] + np.pi) < 0.1
            offset = (light.position - lane.points[-1])[:2]
            assert 9.0 < offset @ [np.cos(lane.headings[-1]), np.sin(lane.headings[-1])] < 40.0
            assert -13.0 < offset @ [-np.sin(lane.headings[-1]), np.cos(lane.headings[-1])] < -2.0  # to the right


@BOTH
def test_a_lit_junction_has_a_light_for_each_way_in(town: Town) -> None:
    approaches = junction_approaches(town.lanes)
    for junction in {light.junction for light in town.lights}:
        lit = {lane for light in town.lights if light.junction == junction for lane in light.lanes}
        assert lit == {lane for approach in approaches[junction] for lane in approach.lanes}


@BOTH
def test_lights_of_one_group_never_let_crossing_ways_meet(town: Town) -> None:
    for light in town.lights:
        for other in town.lights:
            if other.id <= light.id or other.junction != light.junction or other.group != light.group:
                continue
            assert angle_between(light.yaw, other.yaw + np.pi) < np.radians(45.0)
            assert not straight_ways_cross(town, light.lanes, other.lanes)


def straight_ways_cross(town: Town, first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    ways = []
    for lanes in (first, second):
        onward = [town.lanes.lanes[to] for lane in lanes for to in town.lanes.lanes[lane].successors]
        ways.append([lane.points[:, :2] for lane in onward if lane.turn is Command.STRAIGHT])
    return any(np.linalg.norm(a[:, None] - b[None], axis=-1).min() < 1.5 for a in ways[0] for b in ways[1])


@BOTH
def test_no_building_overlaps_a_lane(town: Town) -> None:
    for building in town.buildings:
        c, s = np.cos(building.yaw), np.sin(building.yaw)
        across = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 15), np.linspace(-0.5, 0.5, 9)), axis=-1).reshape(-1, 2)
        points = across * np.array(building.size[:2]) @ np.array([[c, s], [-s, c]]) + building.center[:2]
        assert distance_to_lanes(town, points).min() > 1.0


@BOTH
def test_no_prop_or_pole_stands_on_a_lane(town: Town) -> None:
    feet = [item.position[:2] for item in (*town.props, *town.lights, *town.stop_signs)]
    assert distance_to_lanes(town, np.array(feet)).min() > 0.3


@BOTH
def test_walkers_step_off_and_arrive_off_the_lanes_and_cross_some(town: Town) -> None:
    ends = np.array([point[:2] for crossing in town.crossings for point in (crossing.start, crossing.end)])
    assert distance_to_lanes(town, ends).min() > 0.5
    middles = np.array([(crossing.start + crossing.end)[:2] / 2.0 for crossing in town.crossings])
    assert distance_to_lanes(town, middles).max() < 0.5
    strolls = np.concatenate([line[:, :2] for line in town.sidewalks])
    assert distance_to_lanes(town, strolls).min() > 0.5


@BOTH
def test_sidewalk_pieces_are_upright_quadrilaterals_off_the_lanes(town: Town) -> None:
    quads = np.array(town.sidewalk_polygons)  # (Q, 4, 3)
    assert quads.shape[1:] == (4, 3)
    edges = np.roll(quads, -1, axis=1)[..., :2] - quads[..., :2]
    following = np.roll(edges, -1, axis=1)
    corners = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    folded = (corners < -1e-9).any(axis=1)
    assert folded.mean() < 0.01
    assert distance_to_lanes(town, quads[~folded].mean(axis=1)[:, :2]).min() > 0.5


@BOTH
def test_parking_spots_lie_beside_their_lane_and_off_all_lanes(town: Town) -> None:
    for spot in town.parking:
        x, y, _, yaw = town.lanes.pose_at(spot.lane, spot.s)
        offset = spot.position[:2] - [x, y]
        assert angle_between(yaw, spot.yaw) < 0.1
        assert -4.0 < np.array([-np.sin(yaw), np.cos(yaw)]) @ offset < -2.4
        assert abs(np.array([np.cos(yaw), np.sin(yaw)]) @ offset) < 0.3


@BOTH
def test_all_lanes_lie_on_the_asphalt(town: Town) -> None:
    triangles = town.road_triangles[:, :, :2]
    centres = np.concatenate([lane.points[::7, :2] for lane in town.lanes.lanes])
    edges = np.roll(triangles, -1, axis=1) - triangles
    for chunk in np.array_split(centres, 20):
        to_point = chunk[:, None, None] - triangles[None]
        side = edges[..., 0] * to_point[..., 1] - edges[..., 1] * to_point[..., 0]
        assert (side >= -1e-6).all(axis=-1).any(axis=-1).all()


@BOTH
def test_a_town_is_the_same_after_saving_and_loading(town: Town, tmp_path: Path) -> None:
    save_town(replace(town, wide_asphalt=True), tmp_path / "town.npz")
    loaded = read_town(tmp_path / "town.npz")
    assert loaded.name == town.name
    assert loaded.wide_asphalt
    assert not town.wide_asphalt
    for name in (
        "lights",
        "stop_signs",
        "crossings",
        "buildings",
        "props",
        "parking",
        "sidewalks",
        "sidewalk_polygons",
    ):
        ours, theirs = getattr(town, name), getattr(loaded, name)
        assert len(ours) == len(theirs)
        assert all(repr(a) == repr(b) for a, b in zip(ours, theirs, strict=True)), name
