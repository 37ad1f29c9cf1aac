"""The messages that are built beside this code; says how to build them where they are missing or out of date."""

from rsd_ros.build_messages import outdated_packages

_outdated = outdated_packages()
if _outdated:
    raise ImportError(
        f"the ROS messages of {', '.join(_outdated)} are not built, or from other definitions; run: make setup"
        " (or python -m rsd_ros.build_messages; on a ROS installation: colcon build, then source install/setup.bash)"
    )

from ackermann_msgs.msg import AckermannDrive, AckermannDriveStamped
from carla_msgs.msg import (
    CarlaActorInfo,
    CarlaActorList,
    CarlaBoundingBox,
    CarlaCollisionEvent,
    CarlaControl,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
    CarlaStatus,
    CarlaTrafficLightInfo,
    CarlaTrafficLightInfoList,
    CarlaTrafficLightStatus,
    CarlaTrafficLightStatusList,
    CarlaWorldInfo,
)
from rsd.msg import (
    CameraStatus,
    CandidateTrajectory,
    PlannedTrajectory,
    PlannerStatus,
    PredictedPath,
    RiskGrid,
    RiskObject,
    RiskObjectArray,
    StageTiming,
)
from tf2_msgs.msg import TF2Error, TFMessage

try:  # carla_msgs 1.3.0 lacks these; the leaderboard-2.0 branch and our own have them
    from carla_msgs.msg import CarlaGnssRoute, CarlaRoute, CarlaSpeedometer
except ImportError:
    CarlaGnssRoute = CarlaRoute = CarlaSpeedometer = None
