"""CARLA behind its ROS bridge, driven by the planner: ros2 launch rsd carla.launch.py rviz:=true

bridge:=true also starts the bridge, spawns the vehicle with the Bench2Drive cameras and publishes a route to the goal
that is set in RViz; without it the bridge is expected to run, with the sensors of config/carla/bench2drive_rig.json.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.action import Action
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription
from rsd_model.resources import config_path
from rsd_ros.launch_parts import DRIVER_ARGUMENTS, declare, driver_nodes, text, transport_settings

CARLA_ARGUMENTS = {
    "bridge": ("false", "start CARLA's bridge, vehicle and route publisher, too"),
    "host": ("localhost", "of the CARLA server"),
    "port": ("2000", "of the CARLA server"),
    "carla_town": ("Town03", "map to load"),
}


def include(package: str, file: str, arguments: dict[str, str]) -> Action:
    """A launch file of CARLA's bridge; it installs them beside its package.xml."""
    path = Path(get_package_share_directory(package)) / file
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(str(path)), launch_arguments=arguments.items())


def bridge(context: LaunchContext) -> list[Action]:
    """The bridge in lock-step at 20 Hz; it takes steps shorter than 0.1 s only, the cameras send every other tick."""
    server = {"host": text(context, "host"), "port": text(context, "port"), "timeout": "20"}
    lockstep = {
        "synchronous_mode": "True",
        "synchronous_mode_wait_for_vehicle_control_command": "True",
        "fixed_delta_seconds": "0.05",
    }
    sensors = {"objects_definition_file": str(config_path("carla/bench2drive_rig.json"))}
    route = {**server, "role_name": text(context, "role_name")}
    return [
        include(
            "carla_ros_bridge", "carla_ros_bridge.launch.py", server | lockstep | {"town": text(context, "carla_town")}
        ),
        include("carla_spawn_objects", "carla_spawn_objects.launch.py", sensors),
        include("carla_waypoint_publisher", "carla_waypoint_publisher.launch.py", route),
    ]


def nodes(context: LaunchContext) -> list[Action]:
    """Planner and control; the bridge where asked for."""
    wanted = text(context, "bridge").lower() in ("true", "1")
    return [*(bridge(context) if wanted else []), *driver_nodes(context, "carla.yaml")]


def generate_launch_description() -> LaunchDescription:
    arguments = declare(CARLA_ARGUMENTS | DRIVER_ARGUMENTS)
    return LaunchDescription([*arguments, *transport_settings(), OpaqueFunction(function=nodes)])
