"""ROS 2 nodes of RSD: planner, control, world and recorder. The only package that imports rclpy."""
