"""tf_transformations: quaternions as (x, y, z, w), angles in radians, 4x4 matrices."""

try:
    from tf_transformations import (
        concatenate_matrices,
        euler_from_matrix,
        euler_from_quaternion,
        euler_matrix,
        inverse_matrix,
        quaternion_from_euler,
        quaternion_from_matrix,
        quaternion_inverse,
        quaternion_matrix,
        quaternion_multiply,
        quaternion_slerp,
        translation_from_matrix,
        translation_matrix,
    )
except ImportError:
    from rsd_ros.compat.fallback.tf_transformations import (
        concatenate_matrices,
        euler_from_matrix,
        euler_from_quaternion,
        euler_matrix,
        inverse_matrix,
        quaternion_from_euler,
        quaternion_from_matrix,
        quaternion_inverse,
        quaternion_matrix,
        quaternion_multiply,
        quaternion_slerp,
        translation_from_matrix,
        translation_matrix,
    )
