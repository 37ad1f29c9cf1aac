"""The world node's parameters."""

from __future__ import annotations

from rsd_ros.parameters import Parameter
from rsd_world.render.weather import WEATHERS

WORLD_PARAMETERS = (
    Parameter("town", "birch", "name of a built-in town (alder, birch), or the path of an imported one"),
    Parameter("route", 0, "which of the town's routes; with a scenario: of those that suit it", 0, 10**6),
    Parameter("scenario", "", "name of a scenario; empty: plain driving"),
    Parameter("weather", "clear", "light and sight", choices=WEATHERS),
    Parameter("seed", 0, "of traffic, pedestrians, lights and the scenario's place", 0, 2**31 - 1),
    Parameter("vehicles", 30, "cars in traffic", 0, 200),
    Parameter("pedestrians", 20, "people on foot", 0, 200),
    Parameter("fixed_delta_seconds", 0.1, "s of simulation time per tick", 0.01, 0.2),
    Parameter("max_seconds", 0.0, "s of simulation time after which the drive ends anyway; 0: never", 0.0, 36000.0),
    Parameter("rig_file", "", "CARLA sensor file with the cameras; empty: the Bench2Drive rig"),
    Parameter("image_width", 400, "pixels; 0: as in the rig file", 0, 4096),
    Parameter("image_height", 225, "pixels; 0: as in the rig file", 0, 4096),
    Parameter("role_name", "ego_vehicle", "of the ego: topics lie under /carla/<role_name>, frames under <role_name>"),
    Parameter("control_timeout", 1.0, "s of wall time a tick waits for its command, as CARLA's bridge does", 0.0, 60.0),
    Parameter("driver_node", "/rsd/planner", "start when this node listens to all cameras; empty: at once"),
    Parameter("driver_timeout", 60.0, "s of wall time to wait for it, and for somebody who sends commands", 0.0, 600.0),
    Parameter("realtime_factor", 0.0, "simulation seconds per wall second at most; 0: as fast as it goes", 0.0, 100.0),
)
