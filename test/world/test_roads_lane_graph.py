"""Lane graph: search, geometry, storage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import Lane, LaneGraph, LaneLocation
from rsd_world.roads.lane_index import HEADING_WEIGHT, point_headings
from rsd_world.roads.storage import MapFileError, lanes_to_arrays
from rsd_world.roads.towns import load_town

GRAPH = load_town("alder").lanes
coordinates = st.floats(-300.0, 300.0)


def straight_lane(number: int = 0, **changes: object) -> Lane:
    points = np.stack([np.arange(11.0), np.zeros(11), np.zeros(11)], axis=1)
    lane = Lane(
        id=number, points=points, widths=np.full(11, 3.5), successors=(), predecessors=(), left=-1, right=-1,
        opposite=-1,
        left_marking="Broken", right_marking="Solid", left_change=False, right_change=False, junction=-1,
        turn=Command.LANEFOLLOW, speed_limit=10.0, road=1, opendrive_lane=-1,
    )  # fmt: skip
    return replace(lane, **changes)


def brute_force(xy: np.ndarray, yaw: float | None) -> tuple[float, float]:
    """Least cost over all segments of all lanes, and the distance there."""
    best = (np.inf, np.inf)
    for lane in GRAPH.lanes:
        a, step = lane.points[:-1, :2], np.diff(lane.points[:, :2], axis=0)
        share = np.clip(((xy - a) * step).sum(1) / (step * step).sum(1), 0.0, 1.0)
        squared = ((xy - a - share[:, None] * step) ** 2).sum(1)
        turned = 0.0 if yaw is None else 1.0 - np.cos(np.arctan2(step[:, 1], step[:, 0]) - yaw)
        cost = squared + 2.0 * HEADING_WEIGHT**2 * turned
        i = int(np.argmin(cost))
        best = min(best, (float(cost[i]), float(np.sqrt(squared[i]))))
    return best


@settings(max_examples=40)
@given(coordinates, coordinates)
def test_nearest_agrees_with_brute_force(x: float, y: float) -> None:
    found = GRAPH.nearest_many(np.array([[x, y]]), max_distance=1e3)
    assert found.distances[0] == pytest.approx(brute_force(np.array([x, y]), None)[1], abs=1e-6)


@settings(max_examples=40)
@given(coordinates, coordinates, st.floats(-np.pi, np.pi))
def test_nearest_with_heading_agrees_with_brute_force(x: float, y: float, yaw: float) -> None:
    xy = np.array([[x, y]])
    found = GRAPH.nearest_many(xy, np.array([yaw]), max_distance=1e3)
    pose = GRAPH.poses_at(int(found.lanes[0]), found.s)[0]
    cost = found.distances[0] ** 2 + 2.0 * HEADING_WEIGHT**2 * (1.0 - np.cos(pose[3] - yaw))
    assert cost <= brute_force(xy[0], yaw)[0] + 1.0  # a chord's heading and the one along the lane differ a little


@settings(max_examples=60)
@given(st.integers(0, len(GRAPH.lanes) - 1), st.floats(0.02, 0.98), st.floats(-1.5, 1.5))
def test_a_place_on_a_lane_is_found_again(lane: int, share: float, lateral: float) -> None:
    place = LaneLocation(lane, share * GRAPH.length(lane), lateral)
    yaw = GRAPH.pose_at(lane, place.s)[3]
    found = GRAPH.nearest(GRAPH.position(place), yaw)
    assert found is not None
    point = GRAPH.position(place)
    foot = GRAPH.position(LaneLocation(found.lane, found.s, 0.0))
    # inside a junction another lane may be as near; none that is farther away may win
    assert np.linalg.norm(foot - point) < abs(lateral) + 0.1
    if GRAPH.lanes[lane].junction < 0:
        assert np.linalg.norm(GRAPH.position(found) - point) < 0.1
        assert found.lane == lane
        assert found.lateral == pytest.approx(lateral, abs=0.05)


def test_nearest_is_none_where_no_lane_is_near() -> None:
    assert GRAPH.nearest(np.array([5000.0, 0.0])) is None
    assert GRAPH.nearest_many(np.array([[5000.0, 0.0]])).lanes[0] == -1


def test_lateral_is_positive_to_the_left() -> None:
    graph = LaneGraph((straight_lane(),))
    place = graph.nearest(np.array([5.2, 1.0]))
    assert place == LaneLocation(0, pytest.approx(5.2), pytest.approx(1.0))
    assert graph.nearest(np.array([5.2, -1.0])).lateral == pytest.approx(-1.0)


@given(st.floats(6.0, 200.0), st.sampled_from([-1.0, 1.0]), st.floats(-np.pi, np.pi))
def test_headings_are_exact_on_arcs(radius: float, side: float, start: float) -> None:
    angles = np.arange(0.0, 12.0) / radius
    headings = start + side * angles
    points = np.stack([side * radius * np.sin(headings), -side * radius * np.cos(headings)], axis=1)
    error = point_headings(points) - headings
    assert np.abs(error - np.round(error / (2 * np.pi)) * 2 * np.pi).max() < 1e-6


def test_pose_is_held_to_the_ends_of_a_lane() -> None:
    graph = LaneGraph((straight_lane(),))
    assert graph.pose_at(0, -5.0) == pytest.approx((0.0, 0.0, 0.0, 0.0))
    assert graph.pose_at(0, 50.0) == pytest.approx((10.0, 0.0, 0.0, 0.0))


def test_save_and_load_give_the_same_graph(tmp_path: Path) -> None:
    GRAPH.save(tmp_path / "graph.npz")
    loaded = LaneGraph.load(tmp_path / "graph.npz")
    assert len(loaded.lanes) == len(GRAPH.lanes)
    for ours, theirs in zip(GRAPH.lanes, loaded.lanes, strict=True):
        for name in Lane.__dataclass_fields__:
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_the_file_holds_no_pickled_object(tmp_path: Path) -> None:
    GRAPH.save(tmp_path / "graph.npz")
    with np.load(tmp_path / "graph.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def broken_file(path: Path, **changes: np.ndarray | None) -> Path:
    arrays = lanes_to_arrays([straight_lane()]) | {"format_version": np.array(1)}
    arrays |= {name: value for name, value in changes.items() if value is not None}
    np.savez(path, **{name: value for name, value in arrays.items() if changes.get(name, value) is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lane_left": None}, "'lane_left' is missing"),
        ({"lane_successors": np.array([7]), "lane_successors_offsets": np.array([0, 1])}, "links to lane 7"),
        ({"lane_left": np.array([3])}, "links to lane 3"),
        ({"lane_points": np.full((11, 3), np.nan)}, "not finite"),
        ({"lane_points": np.zeros((11, 3))}, "repeats a point"),
        ({"lane_points_offsets": np.array([0, 5])}, "do not cut"),
        ({"lane_turn": np.array([9])}, "no Command"),
        ({"lane_left_marking": np.array(["Dotted"])}, "'Dotted'"),
        ({"lane_road": np.array([1, 2])}, "2 entries for 1 lanes"),
        ({"format_version": np.array(99)}, "format 99"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, changes: dict, message: str) -> None:
    path = broken_file(tmp_path / "broken.npz", **changes)
    with pytest.raises(MapFileError, match=message) as error:
        LaneGraph.load(path)
    assert "broken.npz" in str(error.value)


def test_a_file_that_is_no_npz_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(MapFileError, match="text"):
        LaneGraph.load(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError, match="none"):
        LaneGraph.load(tmp_path / "none.npz")
