"""The embedded world, driven by the planner: ros2 launch rsd sim.launch.py town:=birch route:=3 rviz:=true"""

from launch.action import Action
from launch.actions import OpaqueFunction

from launch import LaunchContext, LaunchDescription
from rsd_ros.launch_parts import DRIVER_ARGUMENTS, declare, driver_nodes, node, text, transport_settings

WORLD_ARGUMENTS = {
    "town": ("birch", "alder, birch, or the path of an imported town"),
    "route": ("0", "which of the town's routes"),
    "scenario": ("", "name of a scenario; empty: plain driving"),
    "weather": ("clear", "clear, overcast, rain, fog, dusk, night"),
    "seed": ("0", "of traffic and scenario"),
    "image_width": ("400", "pixels"),
    "image_height": ("225", "pixels"),
    "realtime_factor": ("1.0", "simulation seconds per wall second at most; 0: as fast as it goes"),
}
NUMBERS = {"route": int, "seed": int, "image_width": int, "image_height": int, "realtime_factor": float}


def nodes(context: LaunchContext) -> list[Action]:
    """World, planner and control; the launch ends with the drive."""
    values = {name: NUMBERS.get(name, str)(text(context, name)) for name in WORLD_ARGUMENTS}
    world = node("world", [{**values, "role_name": text(context, "role_name")}], required=True)
    return [world, *driver_nodes(context, "sim.yaml")]


def generate_launch_description() -> LaunchDescription:
    arguments = declare(WORLD_ARGUMENTS | DRIVER_ARGUMENTS)
    return LaunchDescription([*arguments, *transport_settings(), OpaqueFunction(function=nodes)])
