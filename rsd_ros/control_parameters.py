"""The control node's parameters. The defaults fit CARLA's ROS bridge and the embedded world."""

from __future__ import annotations

from rsd_model.control import FollowerParameters
from rsd_ros.parameters import Parameter

VEHICLE = "/carla/ego_vehicle"
OUTPUTS = ("carla", "ackermann", "twist")
DEFAULT_TOPICS = {"carla": f"{VEHICLE}/vehicle_control_cmd", "ackermann": "~/ackermann_cmd", "twist": "~/cmd_vel"}
_FOLLOWER = FollowerParameters()

CONTROL_PARAMETERS = (
    Parameter("trajectory_topic", "/rsd/planner/trajectory", "rsd/PlannedTrajectory to follow"),
    Parameter("odometry_topic", f"{VEHICLE}/odometry", "nav_msgs/Odometry; every message is answered by one command"),
    Parameter("output", "carla", "CarlaEgoVehicleControl, AckermannDriveStamped or TwistStamped", choices=OUTPUTS),
    Parameter("command_topic", "", "topic of the command; empty: the usual one of `output`"),
    Parameter("vehicle_info_topic", f"{VEHICLE}/vehicle_info", "CarlaEgoVehicleInfo for the wheel angle; empty: none"),
    Parameter("agent_status_topic", "", "latched std_msgs/Bool that CARLA's leaderboard waits for; empty: none"),
    Parameter("map_frame", "map", "frame of the odometry's pose"),
    Parameter("lockstep", True, "wait for the plan of a tick before answering it; false on a real vehicle"),
    Parameter("trajectory_wait", 0.8, "s of wall time to wait for that plan; CARLA waits 1 s for us", 0.0, 10.0),
    Parameter("stale_after", 0.5, "s (ROS time) after which a plan is no longer followed: full braking", 0.1, 5.0),
    Parameter("odometry_timeout", 0.5, "s (ROS time) without odometry until full braking", 0.05, 5.0),
    Parameter("wheelbase", _FOLLOWER.wheelbase, "m", 0.5, 10.0),
    Parameter("rear_axle", _FOLLOWER.rear_axle, "m, x of the rear axle in the vehicle frame", -5.0, 0.0),
    Parameter("max_wheel_angle", _FOLLOWER.max_wheel_angle, "rad at full steer; vehicle_info overrides it", 0.1, 1.57),
    Parameter(
        "lookahead_seconds", _FOLLOWER.lookahead_seconds, "steer for where the plan is after this time", 0.1, 3.0
    ),
    Parameter("lookahead_min", _FOLLOWER.lookahead_min, "m, but never nearer than this", 0.5, 20.0),
    Parameter("speed_horizon", _FOLLOWER.speed_horizon, "s of the plan that decides the target speed", 0.1, 3.0),
    Parameter("kp", _FOLLOWER.kp, "throttle per m/s of speed error", 0.0, 5.0),
    Parameter("ki", _FOLLOWER.ki, "throttle per m/s of mean speed error", 0.0, 5.0),
    Parameter("max_throttle", _FOLLOWER.max_throttle, "largest throttle", 0.0, 1.0),
)
FOLLOWER_FIELDS = (
    "wheelbase", "rear_axle", "max_wheel_angle", "lookahead_seconds", "lookahead_min", "speed_horizon", "kp", "ki",
    "max_throttle",
)  # fmt: skip


def vehicle_topics(role: str) -> dict[str, object]:
    """The control node's topic parameters for the vehicle `role` of CARLA's bridge ("hero", "ego_vehicle")."""
    return {
        "odometry_topic": f"/carla/{role}/odometry",
        "vehicle_info_topic": f"/carla/{role}/vehicle_info",
        "command_topic": f"/carla/{role}/vehicle_control_cmd",
        "agent_status_topic": f"/carla/{role}/status",
    }
