"""Vehicle control as the messages of CARLA, Ackermann drives and twist-driven bases. Pure functions, no graph.

CARLA's steer is a share of the wheel angle, positive to the RIGHT; the other two count positive to the left.
"""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped

from rsd_model.contracts import VehicleControl
from rsd_ros.compat.messages import AckermannDriveStamped, CarlaEgoVehicleControl, CarlaEgoVehicleInfo
from rsd_ros.conversions import InvalidInput


def check_control(control: VehicleControl) -> VehicleControl:
    """The control, or InvalidInput where it is not finite or out of CARLA's ranges."""
    for name, low in (("throttle", 0.0), ("brake", 0.0), ("steer", -1.0)):
        value = getattr(control, name)
        if not (math.isfinite(value) and low <= value <= 1.0):
            raise InvalidInput(f"control: {name} {value} is outside {low:g} .. 1")
    return control


def carla_message(control: VehicleControl, stamp: Time) -> CarlaEgoVehicleControl:
    """CARLA's command; the leaderboard ignores one whose stamp is not the tick's."""
    message = CarlaEgoVehicleControl(
        throttle=float(control.throttle), steer=float(control.steer), brake=float(control.brake)
    )
    message.header.stamp = stamp
    message.hand_brake, message.reverse = control.hand_brake, control.reverse
    return message


def control_of(message: CarlaEgoVehicleControl) -> VehicleControl:
    """A received command; raises InvalidInput out of range."""
    return check_control(
        VehicleControl(message.throttle, message.steer, message.brake, message.hand_brake, message.reverse)
    )


def ackermann_message(
    control: VehicleControl, speed: float, max_wheel_angle: float, stamp: Time, frame: str
) -> AckermannDriveStamped:
    """Wheel angle, left positive, and the target `speed` m/s; acceleration 0 leaves the way there to the drive."""
    message = AckermannDriveStamped()
    message.header.stamp, message.header.frame_id = stamp, frame
    message.drive.steering_angle = -control.steer * max_wheel_angle
    message.drive.speed = float(speed)
    return message


def twist_message(
    control: VehicleControl, speed: float, max_wheel_angle: float, wheelbase: float, stamp: Time, frame: str
) -> TwistStamped:
    """Forward `speed` m/s and the yaw rate, left positive, of a bicycle with that wheel angle."""
    message = TwistStamped()
    message.header.stamp, message.header.frame_id = stamp, frame
    message.twist.linear.x = float(speed)
    message.twist.angular.z = speed * math.tan(-control.steer * max_wheel_angle) / wheelbase
    return message


def max_wheel_angle_of(info: CarlaEgoVehicleInfo) -> float:
    """Rad at full steer: the smallest of the steered wheels; raises InvalidInput where that is no wheel angle."""
    angles = [wheel.max_steer_angle for wheel in info.wheels if wheel.max_steer_angle != 0.0]
    if not angles or not all(math.isfinite(angle) and 0.1 <= angle <= math.pi / 2.0 for angle in angles):
        raise InvalidInput(f"vehicle_info: max_steer_angle {angles} is no wheel angle in rad (0.1 .. 1.57)")
    return min(angles)
