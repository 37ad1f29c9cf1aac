"""The pictures must agree with the geometry that the rest of the project computes with."""

from __future__ import annotations

import numpy as np
import pytest
from render_town import actor, snapshot

from rsd_model.geometry import bench2drive_rig, box_corners, project_to_image
from rsd_world.state import ActorKind

RIG = bench2drive_rig(400, 225)
CAMERAS = range(6)


def ahead_of(camera: int, distance: float, left: float) -> np.ndarray:
    """(2,) base_link: a place on the ground in view of a camera."""
    axis, origin = RIG.cam_to_base[camera][:2, 2], RIG.cam_to_base[camera][:2, 3]
    return origin + distance * axis + left * np.array([-axis[1], axis[0]])


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(("distance", "left"), [(8.0, 0.0), (6.5, 2.0), (9.0, -2.5)])
def test_a_cone_lies_where_its_projection_says(full_renderer, camera, distance, left):
    x, y = ahead_of(camera, distance, left)
    cone = actor(513, ActorKind.TRAFFIC_CONE, x, y, 0.3, size=(1.0, 1.0, 1.5))
    frame = full_renderer.render(snapshot([cone], x=0.0, y=0.0))
    rows, columns = np.nonzero(frame.instance[camera] == 513)
    slab, _ = project_to_image(RIG, camera, box_corners(np.array([x, y, 0.02, 1.0, 1.0, 0.05, 0.3])))
    tip, _ = project_to_image(RIG, camera, np.array([[x, y, 1.5]]))
    assert abs(columns.min() - slab[:, 0].min()) < 1.0
    assert abs(columns.max() + 1 - slab[:, 0].max()) < 1.0
    assert abs(rows.max() + 1 - slab[:, 1].max()) < 1.0
    assert abs(rows.min() - tip[0, 1]) < 1.0


@pytest.mark.parametrize("camera", CAMERAS)
def test_depth_of_the_road_is_that_of_a_plane_at_camera_height(full_renderer, camera):
    frame = full_renderer.render(snapshot(x=0.0, y=0.0))
    row, column = 190, 205
    intrinsics = RIG.intrinsics[camera]
    expected = 1.6 * intrinsics[1, 1] / (row + 0.5 - intrinsics[1, 2])
    assert frame.depth[camera, row, column] == pytest.approx(expected, rel=0.01)


def test_depth_of_a_box_face_is_its_distance(full_renderer):
    van = actor(7, ActorKind.VAN, 20.0, 0.0)
    frame = full_renderer.render(snapshot([van], x=0.0, y=0.0))
    hit = frame.depth[0][frame.instance[0] == 7]
    assert hit.min() == pytest.approx(20.0 - 2.8 - 0.8, abs=0.05)


def test_sky_has_infinite_depth_and_no_instance(full_renderer):
    frame = full_renderer.render(snapshot(x=0.0, y=0.0))
    assert np.isinf(frame.depth[0, 0, 200])
    assert frame.instance.max() == 0


def test_every_actor_box_contains_its_pixels(full_renderer):
    for i, kind in enumerate(ActorKind):
        thing = actor(300 + i, kind, 10.0, 0.5, 0.4, phase=0.3)
        frame = full_renderer.render(snapshot([thing], x=0.0, y=0.0))
        rows, columns = np.nonzero(frame.instance[0] == 300 + i)
        length, width, height = thing.size
        grown = np.array([10.0, 0.5, height / 2, length + 0.35, width + 0.3, height + 0.1, 0.4])
        pixels, _ = project_to_image(RIG, 0, box_corners(grown))
        assert len(rows) > 20, kind
        assert columns.min() >= pixels[:, 0].min() - 1, kind
        assert columns.max() <= pixels[:, 0].max() + 1, kind
        assert rows.min() >= pixels[:, 1].min() - 1, kind


def test_ids_above_one_byte_come_back_whole(full_renderer):
    cars = [actor(i, ActorKind.TRAFFIC_CONE, 8.0, y) for i, y in ((255, -2.0), (256, 0.0), (65535, 2.0))]
    frame = full_renderer.render(snapshot(cars, x=0.0, y=0.0))
    assert set(np.unique(frame.instance[0])) == {0, 255, 256, 65535}


def test_an_open_door_widens_the_vehicle_to_its_left(full_renderer):
    spans = []
    for opened in (0.0, 1.0):
        car = actor(9, ActorKind.CAR, 12.0, -3.0, door_open=opened)
        columns = np.nonzero(full_renderer.render(snapshot([car], x=0.0, y=0.0)).instance[0] == 9)[1]
        spans.append(columns.min())
    assert spans[1] < spans[0] - 5
