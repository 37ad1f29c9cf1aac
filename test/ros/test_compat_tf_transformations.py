"""Rotations: the same suite for the real tf_transformations and for ours."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rsd_ros.compat import tf_transformations as tft

ANGLES = st.tuples(st.floats(-3.0, 3.0), st.floats(-1.5, 1.5), st.floats(-3.0, 3.0))


@given(ANGLES)
def test_quaternions_are_x_y_z_w_of_roll_pitch_yaw(angles):
    expected = Rotation.from_euler("xyz", angles)
    found = Rotation.from_quat(tft.quaternion_from_euler(*angles))
    assert (expected.inv() * found).magnitude() < 1e-9


@given(ANGLES)
def test_angles_survive_the_way_through_quaternion_and_matrix(angles):
    quaternion = tft.quaternion_from_euler(*angles)
    np.testing.assert_allclose(tft.euler_from_quaternion(quaternion), angles, atol=1e-6)
    np.testing.assert_allclose(tft.euler_from_matrix(tft.quaternion_matrix(quaternion)), angles, atol=1e-6)
    np.testing.assert_allclose(tft.quaternion_matrix(quaternion), tft.euler_matrix(*angles), atol=1e-9)
    same_rotation = abs(np.dot(tft.quaternion_from_matrix(tft.euler_matrix(*angles)), quaternion))
    assert abs(same_rotation - 1.0) < 1e-9


@given(ANGLES, ANGLES)
def test_products_turn_by_the_second_factor_first(first, second):
    a, b = tft.quaternion_from_euler(*first), tft.quaternion_from_euler(*second)
    product = tft.concatenate_matrices(tft.quaternion_matrix(a), tft.quaternion_matrix(b))
    np.testing.assert_allclose(tft.quaternion_matrix(tft.quaternion_multiply(a, b)), product, atol=1e-9)
    np.testing.assert_allclose(
        tft.quaternion_matrix(tft.quaternion_inverse(a)), tft.inverse_matrix(tft.quaternion_matrix(a)), atol=1e-9
    )


def test_slerp_takes_the_short_way():
    start, end = tft.quaternion_from_euler(0, 0, 0.0), -tft.quaternion_from_euler(0, 0, 1.0)
    yaw = tft.euler_from_quaternion(tft.quaternion_slerp(start, end, 0.25))[2]
    np.testing.assert_allclose(yaw, 0.25, atol=1e-9)


def test_a_translation_survives_the_way_there_and_back():
    np.testing.assert_allclose(tft.translation_from_matrix(tft.translation_matrix([1, 2, 3])), [1, 2, 3])
