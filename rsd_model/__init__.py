"""The planner network, its inference and the contracts of the project. Knows no ROS and no dataset."""
