import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsd_world.actors.boxes import box_corners_2d, box_outlines, boxes_overlap

place = st.floats(-4.0, 4.0)
length = st.floats(0.3, 8.0)


def corners(x, y, yaw, a, b):
    return box_corners_2d(np.array([[x, y]]), np.array([yaw]), np.array([[a, b]]))[0]


def overlap_area(first: np.ndarray, second: np.ndarray) -> float:
    """Sutherland-Hodgman clipping of one convex polygon by another, then the shoelace formula."""
    if cross(second[1] - second[0], second[2] - second[1]) < 0:
        second = second[::-1]
    polygon = list(first)
    for a, b in zip(second, np.roll(second, -1, axis=0), strict=True):
        polygon = clip(polygon, a, b)
        if not polygon:
            return 0.0
    x, y = np.array(polygon).T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def cross(u, v) -> float:
    return float(u[0] * v[1] - u[1] * v[0])


def clip(polygon, a, b):
    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        side_p, side_q = cross(b - a, p - a), cross(b - a, q - a)
        if side_p >= 0:
            kept.append(p)
        if side_p * side_q < 0:
            kept.append(p + (q - p) * side_p / (side_p - side_q))
    return kept


@given(place, place, st.floats(-3.2, 3.2), length, length, st.floats(-3.2, 3.2), length, length)
@settings(max_examples=300)
def test_overlap_of_boxes_agrees_with_the_clipped_area_of_their_polygons(x, y, yaw, a, b, other_yaw, c, d):
    first, second = corners(0.0, 0.0, other_yaw, c, d), corners(x, y, yaw, a, b)
    area = overlap_area(first, second)
    assume(area == 0.0 or area > 1e-4)
    grown = overlap_area(first, corners(x, y, yaw, a + 1e-3, b + 1e-3))
    assume((area > 0.0) == (grown > 0.0))  # not just touching
    assert boxes_overlap(first, second[None])[0] == (area > 0.0)


def test_no_boxes_give_no_overlap():
    assert boxes_overlap(corners(0, 0, 0, 4, 2), np.zeros((0, 4, 2))).shape == (0,)


def test_outline_points_lie_on_the_box():
    outline = box_outlines(np.array([[3.0, -1.0]]), np.array([0.7]), np.array([[8.0, 2.5]]))[0]
    delta = outline - [3.0, -1.0]
    local = delta @ np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    assert np.allclose(np.maximum(np.abs(local[:, 0]) / 4.0, np.abs(local[:, 1]) / 1.25), 1.0)
