import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsd_model.geometry import BASE_TO_LIDAR, bench2drive_rig, box_corners, lidar_to_image, project_to_image
from rsd_model.losses.risk_labels import (
    footprint_distances,
    ground_contacts,
    nearest_object_risks,
    projected_object_risks,
    risk_map_target,
)

RIG = bench2drive_rig()
BASE_TO_IMAGE = lidar_to_image(RIG) @ BASE_TO_LIDAR
CAR = (10.0, 2.0, 0.75, 4.0, 2.0, 1.5, 0.0)


def boxes(*rows):
    return np.array(rows, dtype=float).reshape(-1, 7)


@settings(max_examples=80)
@given(camera=st.integers(0, 5), x=st.floats(-40, 40), y=st.floats(-40, 40))
def test_the_ground_contact_is_where_the_box_stands(camera, x, y):
    pixels, depth = project_to_image(RIG, camera, np.array([[x, y, 0.0]]))
    assume(depth[0] > 1.0)
    u, v = pixels[0]
    contact = ground_contacts(np.array([[u - 30.0, v - 80.0, u + 30.0, v]]), BASE_TO_IMAGE[[camera]])
    np.testing.assert_allclose(contact, [[x, y]], atol=1e-5)


def test_the_ground_contact_works_in_the_lidar_frame_with_the_ground_below_it():
    lidar_ground = BASE_TO_LIDAR[2, 3]  # base_link's ground seen from the LiDAR
    pixels, _ = project_to_image(RIG, 0, np.array([[12.0, 3.0, 0.0]]))
    box = np.array([[pixels[0, 0], 0.0, pixels[0, 0], pixels[0, 1]]])
    contact = ground_contacts(box, lidar_to_image(RIG)[[0]], ground_height=lidar_ground)
    np.testing.assert_allclose(contact, [[-3.0, 12.39]], atol=1e-6)  # x right, y forward, 0.39 m behind base_link


def test_a_box_above_the_horizon_touches_no_ground():
    contacts = ground_contacts(
        np.array([[700.0, 100.0, 900.0, 300.0], [700.0, 100.0, 900.0, 450.0]]), BASE_TO_IMAGE[[0, 0]]
    )
    assert np.isnan(contacts).all()


def test_the_nearest_object_within_the_radius_takes_the_score():
    objects = boxes(CAR, (10.0, -6.0, 0.75, 4.0, 2.0, 1.5, 0.0), (-20.0, 0.0, 0.75, 4.0, 2.0, 1.5, 0.0))
    points = np.array([[7.5, 2.0], [8.0, -9.0]])  # 0.5 m before the first, 2.0 m beside the second
    risks = nearest_object_risks(points, np.array([0.8, 0.3]), objects, radius=2.0)
    np.testing.assert_array_equal(risks, [0.8, 0.3, np.nan])
    risks = nearest_object_risks(points, np.array([0.8, 0.3]), objects, radius=1.0)
    np.testing.assert_array_equal(risks, [0.8, np.nan, np.nan])


def test_of_two_labels_on_one_object_the_nearer_counts_and_at_equal_distance_the_higher():
    points = np.array([[6.0, 2.0], [7.5, 2.0]])
    assert nearest_object_risks(points, np.array([0.9, 0.2]), boxes(CAR), 5.0) == pytest.approx([0.2])
    inside = np.array([[9.0, 2.0], [11.0, 2.0]])
    assert nearest_object_risks(inside, np.array([0.1, 0.6]), boxes(CAR), 5.0) == pytest.approx([0.6])


def test_labels_without_a_place_or_a_score_and_empty_scenes_leave_everything_unknown():
    points = np.array([[np.nan, np.nan], [10.0, 2.0]])
    assert np.isnan(nearest_object_risks(points, np.array([0.9, np.nan]), boxes(CAR), 5.0)).all()
    assert np.isnan(nearest_object_risks(np.zeros((0, 2)), np.zeros(0), boxes(CAR), 5.0)).all()
    assert len(nearest_object_risks(points, np.array([0.9, 0.1]), boxes(), 5.0)) == 0


def test_known_boxes_take_the_score_of_the_image_box_that_covers_their_projection():
    objects = boxes(
        (15.0, 0.0, 0.75, 4.0, 2.0, 1.5, 0.0),
        (15.0, 4.0, 0.9, 0.6, 0.6, 1.8, 0.0),
        (-15.0, 0.0, 0.75, 4.0, 2.0, 1.5, 0.0),
    )
    rectangles = []
    for camera, box in ((0, objects[0]), (0, objects[1]), (3, objects[2])):
        pixels, _ = project_to_image(RIG, camera, box_corners(box))
        rectangles.append(np.concatenate([pixels.min(0), pixels.max(0)]) + [3.0, 0.0, 3.0, 0.0])
    rectangles.append(np.array([0.0, 0.0, 50.0, 50.0]))  # a label on nothing
    cameras, scores = np.array([0, 0, 3, 0]), np.array([0.9, 0.7, 0.1, 0.5])
    risks = projected_object_risks(np.array(rectangles), cameras, scores, objects, BASE_TO_IMAGE, RIG.sizes)
    np.testing.assert_allclose(risks, [0.9, 0.7, 0.1])
    twice = projected_object_risks(
        np.array(rectangles)[[0, 0]], cameras[[0, 0]], scores[:2], objects, BASE_TO_IMAGE, RIG.sizes
    )
    np.testing.assert_array_equal(twice, [0.9, np.nan, np.nan])


def test_footprint_distance_follows_the_heading():
    turned = boxes((0.0, 0.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2))
    points = np.array([[0.0, 1.9], [0.0, 3.0], [2.0, 0.0], [4.0, 6.0]])
    np.testing.assert_allclose(footprint_distances(points, turned)[:, 0], [0.0, 1.0, 1.0, 5.0], atol=1e-12)


def test_the_dense_target_is_the_score_on_the_footprint_and_falls_off_around_it():
    x, y = np.meshgrid(np.arange(-5, 25) + 0.5, np.arange(-10, 10) + 0.5)
    values, mask = risk_map_target(np.stack([x, y], -1), boxes(CAR), np.array([0.8]), falloff=2.0, empty_is_safe=True)
    assert mask.all()
    np.testing.assert_allclose(values[(np.abs(x - 10) < 2) & (np.abs(y - 2) < 1)], 0.8, rtol=1e-6)
    np.testing.assert_allclose(values[(x == 12.5) & (y == 2.5)], 0.8 * 0.75, rtol=1e-6)
    assert not values[np.abs(x - 10) > 4].any()


def test_places_of_unscored_objects_are_unknown_and_empty_ones_known_only_if_labels_are_complete():
    x, y = np.meshgrid(np.arange(-5, 25) + 0.5, np.arange(-10, 10) + 0.5)
    cells = np.stack([x, y], -1)
    scene = boxes(CAR, (10.0, -6.0, 0.75, 4.0, 2.0, 1.5, 0.0))
    near_second = footprint_distances(cells.reshape(-1, 2), scene)[:, 1].reshape(x.shape) < 2.0
    near_first = footprint_distances(cells.reshape(-1, 2), scene)[:, 0].reshape(x.shape) < 2.0
    _, complete = risk_map_target(cells, scene, np.array([0.8, np.nan]), 2.0, empty_is_safe=True)
    np.testing.assert_array_equal(complete, ~near_second)
    _, partial = risk_map_target(cells, scene, np.array([0.8, np.nan]), 2.0, empty_is_safe=False)
    np.testing.assert_array_equal(partial, near_first)
    values, nothing = risk_map_target(cells, boxes(), np.zeros(0), 2.0, empty_is_safe=False)
    assert not nothing.any()
    assert not values.any()
