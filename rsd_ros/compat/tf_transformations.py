"""tf_transformations: quaternions as (x, y, z, w), angles in radians, 4x4 matrices."""

try:
    from tf_transformations import *  # noqa: F403
except ImportError:
    from rsd_ros.compat.fallback.tf_transformations import *  # noqa: F403
