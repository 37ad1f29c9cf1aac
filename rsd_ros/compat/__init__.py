"""What a ROS installation has and the ROS wheels lack: the real package where importable, else a small implementation.

Use it as `from rsd_ros.compat import cv_bridge, message_filters, tf2_ros, tf_transformations` and
`from rsd_ros.compat.messages import RiskGrid`.
"""
