"""ROS 2 nodes of RSD: planner, control, world and recorder. The only package that imports rclpy."""

import os
import sys

if os.path.isdir(os.path.join(sys.prefix, "share", "ament_index")):
    # ROS from wheels: the Python environment is the ament prefix, and no setup file says so.
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
