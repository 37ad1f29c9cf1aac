"""What the launch files have in common: the driver's nodes, RViz, and the settings that carry images unharmed.

Needs a ROS 2 installation: `launch` does not come with the wheels.
"""

from __future__ import annotations

import os

from launch.action import Action
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext
from rsd_model.resources import config_path
from rsd_ros import control_parameters, planner_parameters
from rsd_ros.compat.transport import transport_environment

DRIVER_ARGUMENTS = {
    "rviz": ("false", "open RViz with the cameras, the risk grid and the plan"),
    "weights": ("", "safetensors file; empty: the shipped nano weights"),
    "config": ("", "model size that the weights must fit; empty: as they say"),
    "device": ("auto", "torch device"),
    "output": ("carla", "carla, ackermann or twist"),
    "role_name": ("ego_vehicle", "the vehicle's name in topics and frames"),
}


def declare(arguments: dict[str, tuple[str, str]]) -> list[Action]:
    """Launch arguments from {name: (default, description)}."""
    return [DeclareLaunchArgument(n, default_value=d, description=text) for n, (d, text) in arguments.items()]


def transport_settings() -> list[Action]:
    """The Fast DDS profile and malloc settings; what the user has set stays."""
    return [
        SetEnvironmentVariable(name, value) for name, value in transport_environment().items() if name not in os.environ
    ]


def text(context: LaunchContext, name: str) -> str:
    """Value of a launch argument."""
    return LaunchConfiguration(name).perform(context)


def driver_nodes(
    context: LaunchContext, parameter_file: str, planner_overrides: dict[str, str] | None = None
) -> list[Action]:
    """Planner and control with the parameters of config/ros/`parameter_file`, and RViz where asked for."""
    role, file = text(context, "role_name"), str(config_path(f"ros/{parameter_file}"))
    network = {name: text(context, name) for name in ("weights", "config", "device")}
    planner = {**planner_parameters.vehicle_topics(role), **network, **(planner_overrides or {})}
    control = {"output": text(context, "output")}
    if text(context, "output") == "carla":
        control |= control_parameters.vehicle_topics(role)
    else:
        control |= {"odometry_topic": f"/carla/{role}/odometry"}
    return [
        node("planner", [file, planner], required=True),
        node("control", [file, control]),
        rviz(),
    ]


def node(name: str, parameters: list, required: bool = False) -> Node:
    """One of our nodes, named and placed as it names itself; the end of a `required` one ends the launch."""
    return Node(
        package="rsd",
        executable=f"{name}_node",
        name=name,
        namespace="/rsd",
        output="screen",
        parameters=parameters,
        on_exit=Shutdown(reason=f"{name} has ended") if required else None,
    )


def rviz() -> Node:
    """RViz with our view, where the argument `rviz` is true."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(config_path("rviz/rsd.rviz"))],
        parameters=[{"use_sim_time": True}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
