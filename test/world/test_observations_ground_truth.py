"""Ground truth for perception: frames, visibility, and map lines cut to the range."""

from __future__ import annotations

import numpy as np
import pytest
from expert_stage import Stage
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_model.contracts import MAP_CLASSES, OBJECT_CLASSES
from rsd_world.expert.map_lines import clip_polyline, resample
from rsd_world.expert.observations import NOT_RENDERED, observe
from rsd_world.state import ActorKind, LightState

EXTENT = (30.0, 15.0)


@pytest.fixture
def stage():
    return Stage("alder", route=0)


def test_an_object_ahead_left_is_at_positive_x_and_y_with_its_velocity_over_ground(stage):
    stage.place_ego(20.0, turn=0.4, speed=5.0)
    ego = stage.snapshot.ego
    stage.add_actor(ActorKind.VAN, 20.0, 0.0, size=(5.0, 2.0, 2.4))
    c, s = np.cos(ego.yaw), np.sin(ego.yaw)
    forward, left = np.array([c, s, 0.0]), np.array([-s, c, 0.0])
    from dataclasses import replace

    stage.actors[0] = replace(
        stage.actors[0],
        position=ego.position + 8 * forward + 3 * left,
        yaw=ego.yaw + 0.3,
        velocity=(2 * forward + left)[:2],
    )
    stage._snap()
    seen = observe(stage)
    assert seen.boxes[0] == pytest.approx([8.0, 3.0, 1.2, 5.0, 2.0, 2.4, 0.3])
    assert seen.velocities[0] == pytest.approx([2.0, 1.0])
    assert OBJECT_CLASSES[seen.labels[0]] == "van"
    assert seen.pixels[0] == NOT_RENDERED


def test_pixels_are_counted_over_all_cameras_and_what_is_hidden_counts_zero(stage):
    a = stage.add_actor(ActorKind.CAR, 10.0, 0.0)
    b = stage.add_actor(ActorKind.PEDESTRIAN, 20.0, 3.0, size=(0.5, 0.5, 1.7))
    stage.add_actor(ActorKind.CAR, 200.0, 0.0)
    instance = np.zeros((2, 4, 4), np.uint16)
    instance[0, :2] = a.id
    instance[1, 0, 0] = a.id
    seen = observe(stage, instance)
    assert dict(zip(seen.ids.tolist(), seen.pixels.tolist(), strict=True)) == {a.id: 9, b.id: 0}
    assert seen.visible.tolist() == [True, False]


def test_map_lines_lie_within_the_range_and_the_ego_lane_centre_is_at_the_ego(stage):
    stage.place_ego(30.0)
    seen = observe(stage, map_half_extent=EXTENT, line_points=11)
    assert seen.map_points.shape[1:] == (11, 2)
    assert (np.abs(seen.map_points) <= np.array(EXTENT) + 1e-6).all()
    centers = seen.map_points[seen.map_labels == MAP_CLASSES.index("Center")]
    ahead = [line for line in centers if abs(line[:, 1]).min() < 0.1 and line[0, 0] < 1.0 and line[-1, 0] > 1.0]
    assert ahead, "a centre line runs through the ego in driving direction"


def test_lane_edges_are_half_a_lane_beside_the_centre(stage):
    stage.place_ego(30.0)
    lane = stage.town.lanes.lanes[stage.tracker.lane]
    seen = observe(stage)
    edges = seen.map_points[seen.map_labels < MAP_CLASSES.index("Center")].reshape(-1, 2)
    beside = np.abs(edges[np.abs(edges[:, 0]) < 2.0][:, 1])
    assert np.abs(beside - lane.widths[0] / 2).min() < 0.1


def test_a_stop_line_is_there_while_its_light_is_red_or_yellow():
    counts = {}
    for state in (LightState.RED, LightState.YELLOW, LightState.GREEN):
        stage = Stage("alder", route=0, lights=state)
        light = stage.town.lights[0]
        x, y, _, yaw = stage.town.lanes.pose_at(light.lanes[0], stage.town.lanes.length(light.lanes[0]) - 10.0)
        stage.dynamics.reset(np.array([x, y, 0.0]), yaw, 0.0)
        stage._snap()
        seen = observe(stage)
        lines = seen.map_points[seen.map_labels == MAP_CLASSES.index("TrafficLight")]
        counts[state] = len(lines)
        if len(lines):
            across = lines[np.abs(lines[:, :, 1]).max(axis=1).argmin()]
            assert across[:, 0] == pytest.approx(10.0, abs=0.6)
    assert counts[LightState.RED] == counts[LightState.YELLOW] > 0
    assert counts[LightState.GREEN] == 0


def test_no_divider_appears_twice(stage):
    for s in (10.0, 60.0, 120.0):
        stage.place_ego(s)
        seen = observe(stage)
        for label in range(3):
            lines = seen.map_points[seen.map_labels == label]
            both = np.concatenate([lines, lines[:, ::-1]])
            for k, line in enumerate(lines):
                same = np.abs(both - line).max(axis=(1, 2)) < 0.3
                assert same.sum() == 1, f"line {k} of class {MAP_CLASSES[label]} is there twice"


coordinate = st.floats(-40.0, 40.0, allow_nan=False, width=32)


@settings(max_examples=60)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=8, unique=True))
def test_clipped_pieces_lie_in_the_box_and_keep_all_that_was_inside(points):
    line = np.array(points)
    pieces = list(clip_polyline(line, EXTENT))
    for piece in pieces:
        assert (np.abs(piece) <= np.array(EXTENT) + 1e-6).all()
    shares = np.linspace(0.0, 1.0, 400)
    dense = np.concatenate([a + shares[:, None] * (b - a) for a, b in zip(line[:-1], line[1:], strict=True)])
    steps = np.linalg.norm(np.diff(dense, axis=0), axis=1)
    middle = 0.5 * (dense[1:] + dense[:-1])
    inside = steps[(np.abs(middle) <= np.array(EXTENT)).all(axis=1)].sum()
    kept = sum(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum() for piece in pieces)
    assert kept == pytest.approx(inside, abs=1.0 + 0.01 * len(line))


def test_resampling_keeps_ends_and_spaces_evenly():
    sampled = resample(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]]), 5)
    assert sampled[0].tolist() == [0.0, 0.0]
    assert sampled[-1].tolist() == [3.0, 1.0]
    assert sampled[1].tolist() == [1.0, 0.0]
