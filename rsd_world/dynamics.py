"""How the ego answers to throttle, brake and steer: a kinematic bicycle behind first-order actuators."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rsd_model.contracts import VehicleControl
from rsd_world.state import EgoVehicle

STANDSTILL = 0.02  # m/s, below it a braked or idle vehicle stands


@dataclass(frozen=True)
class EgoParameters:
    """A saloon like the Lincoln MKZ that CARLA's leaderboard drives; values are ours, set to behave alike."""

    wheelbase: float = 2.86  # m, the pose is at its middle
    max_wheel_angle: float = math.radians(70.0)  # rad at standstill, full steer
    min_turn_radius: float = 4.0  # m of the centre, tyres scrub beyond
    # share of the wheel angle left at a speed (CARLA's steering curve)
    steering_speeds: tuple[float, ...] = (0.0, 5.6, 16.7, 33.3)  # m/s
    steering_shares: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    max_lateral_acceleration: float = 7.5  # m/s^2, then it understeers
    steer_lag: float = 0.12  # s, time constant of the steering
    max_steer_rate: float = 5.0  # 1/s, full steer to full steer in 0.4 s
    throttle_lag: float = 0.20  # s
    brake_lag: float = 0.10  # s
    full_throttle_acceleration: float = 7.0  # m/s^2 from standstill
    throttle_exponent: float = 1.75  # 0.75 throttle gives 60 % of it
    top_speed: float = 50.0  # m/s, where drive falls to zero
    reverse_top_speed: float = 8.0  # m/s
    max_braking: float = 7.6  # m/s^2, drag comes on top
    idle_drag: float = 0.35  # m/s^2, rolling and engine
    linear_drag: float = 0.045  # 1/s
    substep: float = 0.025  # s, integration step
    size: tuple[float, float, float] = (4.892, 1.837, 1.49)  # m, length, width, height


class EgoDynamics:
    """Integrates the ego; holds the actuators' state between steps."""

    def __init__(self, parameters: EgoParameters | None = None) -> None:
        self.parameters = parameters or EgoParameters()
        self.reset(np.zeros(3), 0.0, 0.0)

    def reset(self, position: np.ndarray, yaw: float, speed: float) -> None:
        """Put the vehicle at `position` (3,) m, `yaw` rad, `speed` m/s with actuators at rest."""
        self._x, self._y, self._z = (float(v) for v in position)
        self._yaw, self._speed = float(yaw), float(speed)
        self._steer = self._throttle = self._brake = 0.0
        self._state = EgoVehicle(
            np.array([self._x, self._y, self._z]), self._yaw, self._speed, 0.0, 0.0, 0.0, 0.0, self.parameters.size
        )

    @property
    def state(self) -> EgoVehicle:
        """Where the ego is now."""
        return self._state

    def set_height(self, z: float) -> None:
        """Follow the ground: z in m."""
        self._z = float(z)
        self._state = replace(self._state, position=np.array([self._x, self._y, self._z]))

    def lose_speed(self, share_left: float) -> None:
        """A contact: `share_left` of the speed remains."""
        self._speed *= share_left
        self._state = replace(self._state, speed=self._speed)

    def step(self, control: VehicleControl, dt: float) -> EgoVehicle:
        """Advance by `dt` s. Raises ValueError for a control that is not finite; clips what is out of range."""
        throttle, steer, brake = _checked(control)
        steps = max(1, round(dt / self.parameters.substep))
        start_speed, start_yaw = self._speed, self._yaw
        for _ in range(steps):
            self._actuate(throttle, steer, brake, dt / steps)
            self._integrate(control, dt / steps)
        yaw_rate = (self._yaw - start_yaw) / dt
        self._yaw = math.remainder(self._yaw, 2.0 * math.pi)
        self._state = EgoVehicle(
            position=np.array([self._x, self._y, self._z]),
            yaw=self._yaw,
            speed=self._speed,
            acceleration=(self._speed - start_speed) / dt,
            lateral_acceleration=self._speed * yaw_rate,
            yaw_rate=yaw_rate,
            wheel_angle=self.wheel_angle(self._steer, self._speed),
            size=self.parameters.size,
        )
        return self._state

    def wheel_angle(self, steer: float, speed: float) -> float:
        """Road-wheel angle in rad, left positive, of a steer command (right positive) at `speed` m/s."""
        p = self.parameters
        share = float(np.interp(abs(speed), p.steering_speeds, p.steering_shares))
        return -steer * share * p.max_wheel_angle

    def drive_acceleration(self, throttle: float, speed: float) -> float:
        """Acceleration in m/s^2 that `throttle` gives at `speed` m/s, before drag."""
        p = self.parameters
        return p.full_throttle_acceleration * throttle**p.throttle_exponent * max(0.0, 1.0 - speed / p.top_speed)

    def _actuate(self, throttle: float, steer: float, brake: float, dt: float) -> None:
        p = self.parameters
        change = (steer - self._steer) * (1.0 - math.exp(-dt / p.steer_lag))
        self._steer += min(max(change, -p.max_steer_rate * dt), p.max_steer_rate * dt)
        self._throttle += (throttle - self._throttle) * (1.0 - math.exp(-dt / p.throttle_lag))
        self._brake += (brake - self._brake) * (1.0 - math.exp(-dt / p.brake_lag))

    def _integrate(self, control: VehicleControl, dt: float) -> None:
        p = self.parameters
        speed = self._speed
        drive = 0.0 if self._brake > 0.5 else self.drive_acceleration(self._throttle, abs(speed))
        if control.reverse:
            drive = -drive * max(0.0, 1.0 + min(speed, 0.0) / p.reverse_top_speed)
        resistance = p.max_braking * (1.0 if control.hand_brake else self._brake)
        resistance += p.idle_drag + p.linear_drag * abs(speed)
        moved = speed + drive * dt
        held = resistance * dt
        self._speed = (
            0.0 if abs(moved) <= max(held, STANDSTILL * (drive == 0.0)) else moved - math.copysign(held, moved)
        )
        self._move(0.5 * (speed + self._speed), dt)

    def _move(self, speed: float, dt: float) -> None:
        curvature = self._curvature(speed)
        half = 0.5 * self.parameters.wheelbase
        slip = math.asin(min(max(curvature * half, -0.95), 0.95))
        yaw = self._yaw + 0.5 * speed * curvature * dt
        self._x += speed * math.cos(yaw + slip) * dt
        self._y += speed * math.sin(yaw + slip) * dt
        self._yaw += speed * curvature * dt

    def _curvature(self, speed: float) -> float:
        """Curvature of the centre's path, 1/m, left positive."""
        p = self.parameters
        tangent = math.tan(self.wheel_angle(self._steer, speed))
        slip = math.atan(0.5 * tangent)
        curvature = math.cos(slip) * tangent / p.wheelbase
        limit = 1.0 / p.min_turn_radius
        if abs(speed) > 1.0:
            limit = min(limit, p.max_lateral_acceleration / speed**2)
        return min(max(curvature, -limit), limit)


def _checked(control: VehicleControl) -> tuple[float, float, float]:
    values = (control.throttle, control.steer, control.brake)
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"vehicle control is not finite: throttle, steer, brake = {values}")
    throttle, steer, brake = values
    return min(max(throttle, 0.0), 1.0), min(max(steer, -1.0), 1.0), min(max(brake, 0.0), 1.0)
