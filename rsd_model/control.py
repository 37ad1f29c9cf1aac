"""From a planned trajectory to throttle, brake and steer; the ROS control node and in-process drives share it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS, STANDSTILL, VehicleControl


@dataclass(frozen=True)
class FollowerParameters:
    """Gains and limits of `TrajectoryFollower`. The defaults suit the embedded world and CARLA's passenger cars."""

    wheelbase: float = 2.9  # m
    max_wheel_angle: float = 1.22  # rad at full steer (70 degrees, CARLA's default)
    rear_axle: float = -1.45  # m, x of the rear axle in base_link
    lookahead_seconds: float = 0.9  # aim at where the plan is after this time ...
    lookahead_min: float = 3.5  # m, ... but never nearer than this
    lookahead_max: float = 15.0  # m
    speed_horizon: float = 1.0  # s of the plan that decides the target speed
    stop_distance: float = 0.6  # m, a plan shorter than this over its 3 s means: stand still
    halt_distance: float = 3.0  # m, one that ends standing within this means, to a vehicle that drives: halt there ...
    halt_end: float = 0.2  # m/s, the speed of its last step below which it ends standing
    halt_speed: float = 0.8  # m/s from which a vehicle drives; below it creeps, and may go on creeping
    halt_brake: float = 0.2  # least brake of a halt
    halt_patience: float = 0.5  # s for which plans must drive on before a halt that was begun is given up
    full_brake: float = 7.6  # m/s^2 of brake 1
    creep_speed: float = 0.4  # m/s, the least that a plan which moves asks of a slower vehicle
    breakaway: float = 0.1  # throttle a second added to a vehicle that stands though its plan moves ...
    breakaway_max: float = 0.3  # ... up to this: drag holds it, and small throttle alone never gets it going
    kp: float = 0.35  # throttle per m/s of speed error
    ki: float = 0.06  # throttle per m/s of mean error over the window
    window: float = 2.0  # s of the integral
    brake_gain: float = 0.28  # brake per m/s of overspeed
    brake_margin: float = 0.35  # m/s of overspeed tolerated before braking
    max_throttle: float = 0.75


def target_speed(trajectory: np.ndarray, horizon: float) -> float:
    """Speed in m/s that `trajectory` (T, 2) m, base_link, one point each 0.5 s, asks for at `horizon` s."""
    points = np.vstack([np.zeros((1, 2)), trajectory])
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / PLAN_STEP_SECONDS
    middles = (np.arange(len(speeds)) + 0.5) * PLAN_STEP_SECONDS
    return float(np.interp(horizon, middles, speeds))


def aim_point(trajectory: np.ndarray, distance: float) -> np.ndarray:
    """Point (2,) m on the plan `distance` m along it from the vehicle; past its end it goes on straight."""
    points = np.vstack([np.zeros((1, 2)), trajectory])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    if along[-1] > distance:
        return np.array([np.interp(distance, along, points[:, k]) for k in range(2)])
    moving = np.flatnonzero(steps > 0.05)
    heading = points[moving[-1] + 1] - points[moving[-1]] if len(moving) else np.array([1.0, 0.0])
    return points[-1] + heading / np.linalg.norm(heading) * (distance - along[-1])


class TrajectoryFollower:
    """Pure pursuit for the steering, PI with feed-through of the plan's own speed for throttle and brake."""

    def __init__(self, parameters: FollowerParameters | None = None) -> None:
        self.parameters = parameters or FollowerParameters()
        self._errors: deque[tuple[float, float]] = deque()  # m/s and the s it held for, over the window
        self._breakaway = 0.0  # throttle
        self._halt = 0.0  # brake of a halt until it stands: a stop that is only nearly made is none at a stop sign
        self._drives_on = 0.0  # s for which plans have driven on since the last one that halts
        self._held = 0.0  # steer of the last plan that was long enough to steer by

    def reset(self) -> None:
        """Forget the integral and a stop that was begun, wheels straight: a new drive, or a jump in time."""
        self._errors.clear()
        self._breakaway = self._halt = self._drives_on = self._held = 0.0

    def full_brake(self) -> VehicleControl:
        """Full braking with the wheels as they are: what there is to do without a plan, in a curve too."""
        steer = self._held
        self.reset()
        self._held = steer
        return VehicleControl(brake=1.0, steer=steer)

    def control(self, trajectory: np.ndarray, speed: float, age: float = 0.0, period: float = 0.1) -> VehicleControl:
        """Command that follows `trajectory` (T, 2) m, base_link of the instant it was planned at.

        `speed` is the forward speed in m/s, `age` the seconds since the plan's stamp: the target speed is read that
        much further along the plan. `period`: s since the command before. Raises ValueError on values that are not
        finite.
        """
        trajectory = np.asarray(trajectory, dtype=float)
        if not (np.isfinite(trajectory).all() and np.isfinite([speed, age, period]).all()):
            raise ValueError("the trajectory follower got a trajectory, speed, age or period that is not finite")
        p = self.parameters
        steps = np.linalg.norm(np.diff(np.vstack([np.zeros((1, 2)), trajectory]), axis=0), axis=1)
        travelled = float(steps.sum())
        self._halt = self._halting(travelled, float(steps[-1]) / PLAN_STEP_SECONDS, speed, period)
        if self._halt or travelled < p.stop_distance:
            self._errors.clear()
            self._breakaway = 0.0
            if travelled < p.stop_distance:
                return VehicleControl(brake=1.0 if speed > 1.0 else 0.6, steer=self._held)
            return VehicleControl(brake=self._halt, steer=self._steer(trajectory, speed))
        wanted = target_speed(trajectory, age + p.speed_horizon)
        if speed < p.creep_speed:  # a plan that moves is begun, however soon it ends
            wanted = max(wanted, p.creep_speed)
        throttle, brake = self._pedals(wanted, speed, period)
        return VehicleControl(throttle=throttle, brake=brake, steer=self._steer(trajectory, speed))

    def _halting(self, travelled: float, end_speed: float, speed: float, period: float) -> float:
        """Brake of a halt that goes on, or that a plan of `travelled` m ending at `end_speed` m/s begins; 0: none."""
        p = self.parameters
        halts = travelled <= p.halt_distance and end_speed <= p.halt_end
        self._drives_on = 0.0 if halts else self._drives_on + period
        given_up = self._drives_on > p.halt_patience and speed > p.halt_speed
        under_way = self._halt if speed > STANDSTILL and not given_up else 0.0
        if speed < p.halt_speed or not halts:
            return under_way
        wanted = speed**2 / (2.0 * max(travelled, 0.1)) / p.full_brake
        return max(under_way, float(np.clip(wanted, p.halt_brake, 1.0)))

    def _steer(self, trajectory: np.ndarray, speed: float) -> float:
        p = self.parameters
        distance = float(np.clip(p.lookahead_seconds * max(speed, 0.0), p.lookahead_min, p.lookahead_max))
        x, y = aim_point(trajectory, distance) - np.array([p.rear_axle, 0.0])
        wheel_angle = np.arctan2(2.0 * p.wheelbase * y, x * x + y * y)
        self._held = float(np.clip(-wheel_angle / p.max_wheel_angle, -1.0, 1.0))
        return self._held

    def _pedals(self, wanted: float, speed: float, period: float) -> tuple[float, float]:
        p = self.parameters
        error = wanted - speed
        mean_error = self._mean_error(error, period)
        standing = self._breakaway + p.breakaway * period
        self._breakaway = min(standing, p.breakaway_max) if speed < STANDSTILL else 0.0
        if error < -p.brake_margin:
            self._errors.clear()
            return 0.0, float(np.clip(-p.brake_gain * (error + p.brake_margin), 0.05, 1.0))
        if wanted < 0.3:
            return 0.0, 0.5
        cruise = 0.02 * wanted  # holds speed against drag
        throttle = self._breakaway + cruise + p.kp * error + p.ki * mean_error
        return float(np.clip(throttle, 0.0, p.max_throttle)), 0.0

    def _mean_error(self, error: float, period: float) -> float:
        """Mean of the speed error in m/s over the window, with `error` as its newest value."""
        self._errors.append((error, max(period, 1e-3)))
        while len(self._errors) > 1 and sum(held for _, held in self._errors) > self.parameters.window + 1e-6:
            self._errors.popleft()
        errors, held = np.array(self._errors).T
        return float(errors @ held / held.sum())
