"""The planner node's parameters. The defaults fit CARLA's ROS bridge with `config/carla/bench2drive_rig.json`."""

from __future__ import annotations

from rsd_model.geometry import BENCH2DRIVE_CAMERAS
from rsd_ros.parameters import Parameter

CAMERAS = list(BENCH2DRIVE_CAMERAS)
VEHICLE = "/carla/ego_vehicle"

PLANNER_PARAMETERS = (
    Parameter("autostart", True, "configure and activate at start; false where a lifecycle manager does it"),
    Parameter("weights", "", "safetensors file; empty: what ships for `config`; random: untrained, for tests"),
    Parameter("config", "", "nano, tiny, base or a model YAML that the weights must fit; empty: as they say"),
    Parameter("device", "auto", "torch device: auto, cpu, cuda, cuda:1, ..."),
    Parameter("precision", "auto", "network precision", choices=("auto", "fp32", "fp16", "bf16")),
    Parameter("cameras", CAMERAS, "camera names in the order that the network was trained with"),
    Parameter("image_topics", [f"{VEHICLE}/{name}/image" for name in CAMERAS], "one per camera, same order"),
    Parameter(
        "camera_info_topics", [f"{VEHICLE}/{name}/camera_info" for name in CAMERAS], "one per camera"
    ),
    Parameter("image_transport", "raw", "compressed: <image topic>/compressed", choices=("raw", "compressed")),
    Parameter(
        "image_reliability", "reliable", "best_effort where drivers send so", choices=("reliable", "best_effort")
    ),
    Parameter("rig_source", "tf", "camera mounts: TF, or the Bench2Drive rig", choices=("tf", "bench2drive")),
    Parameter("base_frame", "ego_vehicle", "vehicle frame: x forward, y left, origin at its centre on the ground"),
    Parameter("map_frame", "map", "frame of the route and of the odometry's pose"),
    Parameter("odometry_topic", f"{VEHICLE}/odometry", "nav_msgs/Odometry, twist in the vehicle frame"),
    Parameter("route_topic", f"{VEHICLE}/waypoints", "nav_msgs/Path, latched: the route in the map frame"),
    Parameter("global_plan_topic", f"{VEHICLE}/global_plan", "CarlaRoute, latched: the commands; empty: none"),
    Parameter("command_topic", "", "std_msgs/Int8, RoadOption -1 or 1..6: overrides the route's command; empty: none"),
    Parameter("require_route", True, "false: without a route, plan with command LANEFOLLOW instead of standing still"),
    Parameter("stop_at_route_end", True, "bring the vehicle to a stop where the route ends"),
    Parameter("sync_policy", "deadline", "approximate: complete sets only", choices=("deadline", "approximate")),
    Parameter("sync_deadline", 0.1, "s of wall time that a set waits for a missing camera", 0.005, 5.0),
    Parameter("sync_tolerance", 0.045, "s between stamps of one set; keep it below the cameras' period", 0.0, 1.0),
    Parameter("min_valid_cameras", 4, "with fewer usable images the vehicle is brought to a stop", 1, 32),
    Parameter("camera_timeout", 0.4, "s (ROS time) without an image until a stop", 0.1, 5.0),
    Parameter("plan_timeout", 1.0, "s (ROS time) without a plan though images come, until a stop", 0.1, 60.0),
    Parameter("odometry_timeout", 0.3, "s between odometry and images beyond which nothing is planned", 0.01, 5.0),
    Parameter("max_image_age", 2.0, "s between image stamp and clock beyond which it is refused; 0: any", 0.0, 3600.0),
    Parameter("stop_deceleration", 4.0, "m/s^2 of a stop on the last good path", 0.5, 10.0),
    Parameter("emergency_brake", True, "brake fully before what the plan meets too soon to stop; wait before starting"),
    Parameter("stop_signs", True, "halt before each perceived stop line on the route, whatever the network plans"),
    Parameter("min_score", 0.3, "objects and map lines below this score are not published", 0.0, 1.0),
)  # fmt: skip


def vehicle_topics(role: str) -> dict[str, object]:
    """The planner's topic and frame parameters for the vehicle `role` of CARLA's bridge ("hero", "ego_vehicle")."""
    return {
        "image_topics": [f"/carla/{role}/{name}/image" for name in CAMERAS],
        "camera_info_topics": [f"/carla/{role}/{name}/camera_info" for name in CAMERAS],
        "odometry_topic": f"/carla/{role}/odometry",
        "route_topic": f"/carla/{role}/waypoints",
        "global_plan_topic": f"/carla/{role}/global_plan",
        "base_frame": role,
    }
