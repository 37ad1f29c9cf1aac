"""A recorded drive, planned on anew: ros2 launch rsd replay.launch.py bag:=drive.mcap rviz:=true

Nothing is driven: the control node is left out, the planner answers the recorded cameras. The bag's own plans are not
played.
"""

from launch.action import Action
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction

from launch import LaunchContext, LaunchDescription
from rsd_ros.launch_parts import DRIVER_ARGUMENTS, declare, driver_nodes, text, transport_settings

REPLAY_ARGUMENTS = {
    "rate": ("1.0", "speed of the replay"),
    "loop": ("false", "play again and again; the planner starts afresh each time"),
    "image_transport": ("raw", "raw or compressed, as the bag was recorded"),
}


def play(context: LaunchContext) -> Action:
    """`ros2 bag play` with the bag's time as simulation time, without what we publish ourselves."""
    command = ["ros2", "bag", "play", text(context, "bag"), "--clock", "100", "--rate", text(context, "rate")]
    if text(context, "loop").lower() in ("true", "1"):
        command.append("--loop")
    return ExecuteProcess(cmd=[*command, "--exclude-regex", "/rsd/.*|/clock|/diagnostics"], output="screen")


def nodes(context: LaunchContext) -> list[Action]:
    """The bag and the planner."""
    transport = {"image_transport": text(context, "image_transport")}
    planner, _control, rviz = driver_nodes(context, "replay.yaml", planner_overrides=transport)
    return [planner, rviz, play(context)]


def generate_launch_description() -> LaunchDescription:
    bag = DeclareLaunchArgument("bag", description="folder or file of the recording")
    arguments = declare(REPLAY_ARGUMENTS | DRIVER_ARGUMENTS)
    return LaunchDescription([bag, *arguments, *transport_settings(), OpaqueFunction(function=nodes)])
