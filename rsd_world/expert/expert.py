"""The privileged rule-based driver: a plan from any state of the world.

It sees all actors and knows where they mean to go. Way: the route, shifted around what blocks it, and a bicycle
rolled out to and along it from where the ego is. Speed: IDM behind what is on that way, stops before lights, signs and
whatever will cross. The plan is that motion, so it is what the ego can drive, also back to the route from beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS, PLAN_STEPS, VehicleControl
from rsd_world.dynamics import EgoParameters
from rsd_world.expert.avoidance import (
    BEHIND,
    BEYOND_END,
    PASSING_SPEED,
    WAITING_TO_CHANGE,
    LateralPlan,
    LateralPlanner,
)
from rsd_world.expert.making_room import siren_behind
from rsd_world.expert.occupancy import occupancies
from rsd_world.expert.path_following import STEP, DrivenPath, follow, way_back
from rsd_world.expert.prediction import TIMES, Prediction, give_way_assumed, predict_actors
from rsd_world.expert.route_reference import RouteReference
from rsd_world.expert.speed_plan import LINE_GAP, Hold, JunctionSpan, SpeedPlan, SpeedPlanner, speed_limits
from rsd_world.expert.tight_turn import body_is_clear, passed_at_once
from rsd_world.state import ActorKind, EgoVehicle, LightState

if TYPE_CHECKING:
    from rsd_world.world import World

YELLOW_BRAKING = 3.2  # m/s^2, who cannot stop with it drives on at yellow
RED_BRAKING = 7.0  # m/s^2, and at red
CENTRE_GAP = 0.4  # m before a line: the centre has not crossed it, which is what counts
# A stop well inside the rule's zone, whose lines lie up to 0.7 m on.
SIGN_ZONE = 4.0  # m of the front before its line in which a stop counts
WALKER_BRAKING = 4.0  # m/s^2 with which the ego could still stop for a walker that steps out
PASSING_DIFFERENCE = 3.5  # m/s faster than a vehicle on the next lane
PATIENCE = 15.0  # s of standing, after which narrower gaps between crossing vehicles will do
TIGHT_SPEED = 3.2  # m/s, below it the ego may turn at full lock
SIREN_SPEED = 5.0  # m/s while an emergency vehicle comes from behind
PLAN_TIMES = PLAN_STEP_SECONDS * np.arange(1, PLAN_STEPS + 1)


@dataclass(frozen=True)
class ExpertPlan:
    """What the expert would do now."""

    trajectory: np.ndarray  # (6, 2) m, base_link, at 0.5 .. 3 s
    control: VehicleControl  # for this tick
    target_speed: float  # m/s, one second from now
    reason: str
    leading: int | None  # id of the actor that decides the speed


class Expert:
    """Plans for one world; remembers at which signs it has stopped and what it passes. The world stays as it is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reference = RouteReference(world.town, world.route)
        length, width, _ = world.snapshot.ego.size
        self._half_length, self._half_width = 0.5 * length, 0.5 * width
        self._lateral = LateralPlanner(self._reference, self._half_width, self._half_length)
        self._stopped_at: set[float] = set()  # arc lengths of stop lines
        self._parameters = EgoParameters()
        self._s = 0.0
        self._moved_at = world.time  # s

    def plan(self) -> ExpertPlan:
        """The plan from the world's present state."""
        world, ego = self._world, self._world.snapshot.ego
        speed = max(ego.speed, 0.0)
        self._s, aside = self._reference.project(ego.position[:2], world.progress * self._reference.end)
        predictions = predict_actors(world, 60.0 + 2.0 * speed)
        length = min(max(6.0 * speed + 15.0, 35.0), 130.0)
        traffic = world.snapshot.actors
        cells = int(length) + BEHIND + 14
        lateral = self._lateral.plan(self._s, aside, speed, predictions, traffic, cells, world.time)
        if lateral.passing and abs(aside) > 0.5:  # who comes the other way sees the ego and brakes
            predictions = give_way_assumed(world, predictions, self._oncoming(predictions))
        path, passed = self._path(ego, lateral, aside, speed, length), frozenset()
        if lateral.passing and speed < TIGHT_SPEED:
            path, passed = self._round_what_is_close(ego, lateral, path, predictions, length)
        limits = speed_limits(path, self._road_limit(path), self._caps(path, lateral, predictions))
        reach = self._reference.end - self._s + self._half_length + BEYOND_END
        others = [p for p in predictions if p.actor.id not in passed]
        occupied = occupancies(path, others, self._half_width, reach)
        self._moved_at = world.time if speed > 0.5 or world.time < self._moved_at else self._moved_at
        planner = SpeedPlanner(path, limits, self._half_length, world.time - self._moved_at < PATIENCE)
        speeds = planner.plan(speed, occupied, self._holds(speed, lateral), self._junction())
        return self._answer(ego, path, speeds, lateral)

    def _path(self, ego: EgoVehicle, lateral: LateralPlan, aside: float, speed: float, length: float) -> DrivenPath:
        ahead = lateral.first + np.arange(len(lateral.offset)) - self._s
        offset = lateral.offset + way_back(aside - float(np.interp(0.0, ahead, lateral.offset)), ahead, speed)
        return self._along(ego, lateral.first, offset, speed, length)

    def _along(self, ego: EgoVehicle, first: int, offset: np.ndarray, speed: float, length: float) -> DrivenPath:
        """The way to and along the reference with these offsets from index `first` on."""
        ref, span = self._reference, slice(first, first + len(offset))
        line = ref.points[span] + offset[:, None] * ref.normals[span]
        begin = max(int(self._s) - first - 3, 0)
        curvature = math.tan(ego.wheel_angle) / self._parameters.wheelbase
        return follow(ego.position[:2], ego.yaw, line[begin:], speed, length, curvature)

    def _round_what_is_close(
        self, ego: EgoVehicle, lateral: LateralPlan, path: DrivenPath, predictions: list[Prediction], length: float
    ) -> tuple[DrivenPath, frozenset[int]]:
        """A tight path where the smooth one touches what it passes, and the ids that its body is known to clear."""
        passed = frozenset().union(*(b.actors for b in lateral.passing))
        obstacles = [p for p in predictions if p.actor.id in passed]
        if not occupancies(path, obstacles, self._half_width):
            return path, frozenset()
        tight = self._along(ego, lateral.first, passed_at_once(lateral), max(ego.speed, 0.0), length)
        clear = body_is_clear(tight, obstacles, (ego.size[0], ego.size[1]))
        return (tight, passed) if clear else (path, frozenset())

    def _road_limit(self, path: DrivenPath) -> np.ndarray:
        index = self._s + STEP * np.arange(len(path.points))
        return self._reference.limit[np.minimum(index.astype(int), len(self._reference.limit) - 1)]

    def _caps(self, path: DrivenPath, lateral: LateralPlan, predictions: list[Prediction]) -> list[tuple[float, float]]:
        """(m along the path, m/s): slower past obstacles, near walkers and with a siren behind."""
        caps = [(max(b.start - self._s - 2.0, 0.0), PASSING_SPEED) for b in lateral.passing]
        caps += [(max(b.end - self._s, 0.0), PASSING_SPEED) for b in lateral.passing]
        if siren_behind(self._reference, self._s, predictions) is not None:
            caps += [(s, SIREN_SPEED) for s in (4.0, 12.0, 20.0, 30.0)]
        if lateral.reason == WAITING_TO_CHANGE:  # slower than those beside, or they stay beside
            caps.append((6.0, 0.7 * float(self._reference.limit[int(self._s)])))
        caps += self._caps_beside(path, predictions)
        walkers = [p for p in predictions if p.actor.kind is ActorKind.PEDESTRIAN]
        if walkers:
            places, aside, _ = path.project(np.stack([p.actor.position[:2] for p in walkers]))
            for walker, s, d in zip(walkers, places.tolist(), aside.tolist(), strict=True):
                if self._half_length < s < 45.0 and self._may_step_out(path, walker, d):
                    gap = max(s - self._half_length - 1.5, 0.0)
                    reaction = 0.4 * WALKER_BRAKING
                    safe = math.sqrt(reaction**2 + 2.0 * WALKER_BRAKING * gap) - reaction
                    caps.append((max(s - self._half_length - 6.0, 0.0), max(min(safe, 5.0), 3.5)))
        return caps

    def _caps_beside(self, path: DrivenPath, predictions: list[Prediction]) -> list[tuple[float, float]]:
        """Slower vehicles on the next lane of the same direction are not passed much faster: they may cut in."""
        moving = [p for p in predictions if not p.standing and p.actor.kind is not ActorKind.PEDESTRIAN]
        if not moving:
            return []
        places, aside, course = path.project(np.stack([p.actor.position[:2] for p in moving]))
        caps = []
        for p, s, d, yaw in zip(moving, places.tolist(), aside.tolist(), course.tolist(), strict=True):
            same = math.cos(p.actor.yaw - yaw) > 0.8
            if same and 2.0 < s < 50.0 and 2.0 < abs(d) < 4.5 and p.actor.kind is not ActorKind.BICYCLE:
                caps.append((max(s - 9.0, 0.0), p.speed + PASSING_DIFFERENCE))
        return caps

    def _oncoming(self, predictions: list[Prediction]) -> set[int]:
        heading = float(self._reference.yaw[int(self._s)])
        return {p.actor.id for p in predictions if math.cos(p.actor.yaw - heading) < -0.7}

    def _may_step_out(self, path: DrivenPath, walker: Prediction, aside: float) -> bool:
        if abs(aside) > 9.0 or len(walker.path) < 2:
            return False
        _, way, _ = path.project(walker.path[:14])
        return bool(np.abs(way).min() < self._half_width + 0.5) and abs(aside) > self._half_width

    def _holds(self, speed: float, lateral: LateralPlan) -> list[Hold]:
        holds = []
        if lateral.wait_before is not None:
            holds.append(Hold(max(lateral.wait_before - self._s, self._half_length), math.inf, lateral.reason))
        for line in self._reference.stop_lines:
            room = line.s - self._s - CENTRE_GAP
            if room < 0.0 or room > 80.0:
                continue
            reason = self._line_reason(line.s, line.light, line.sign, room, speed)
            if reason:
                holds.append(Hold(line.s - self._s - LINE_GAP, math.inf, reason))
        return holds

    def _line_reason(self, s: float, light: int | None, sign: int | None, room: float, speed: float) -> str:
        """Why to stop at a line, `room` m before the centre is over it: who is too far still stops, on the line."""
        needed = speed**2 / (2.0 * max(room, 0.05))
        if light is not None:
            state = self._world.snapshot.lights.get(light, LightState.OFF)
            if state is LightState.RED and (needed < RED_BRAKING or speed < 1.0):
                return "red light"
            if state is LightState.YELLOW and (needed < YELLOW_BRAKING or speed < 1.0):
                return "yellow light"
        if sign is not None:
            if room + CENTRE_GAP - self._half_length < SIGN_ZONE and speed < 0.1:  # of the front
                self._stopped_at.add(s)
            if s not in self._stopped_at and needed < RED_BRAKING:
                return "stop sign"
        return ""

    def _junction(self) -> JunctionSpan:
        for line in self._reference.stop_lines:
            if line.exit_s > self._s:
                return JunctionSpan(line.s - self._s, line.exit_s - self._s, line.light is None)
        return JunctionSpan(None, 0.0, False)

    def _answer(self, ego: EgoVehicle, path: DrivenPath, speeds: SpeedPlan, lateral: LateralPlan) -> ExpertPlan:
        travelled = np.interp(PLAN_TIMES, TIMES, speeds.s)
        delta = path.at(travelled) - ego.position[:2]
        cos, sin = math.cos(ego.yaw), math.sin(ego.yaw)
        trajectory = np.stack([delta[:, 0] * cos + delta[:, 1] * sin, delta[:, 1] * cos - delta[:, 0] * sin], axis=1)
        target = float(np.interp(1.0, TIMES, speeds.speed))
        reason = speeds.reason
        if reason == "following the route" and lateral.reason:
            reason = lateral.reason
        control = self._control(ego, path, speeds, target)
        return ExpertPlan(trajectory, control, target, reason, speeds.actor)

    def _control(self, ego: EgoVehicle, path: DrivenPath, speeds: SpeedPlan, target: float) -> VehicleControl:
        p, speed = self._parameters, max(ego.speed, 0.0)
        # The wheels answer late: aim at the curvature a moment ahead.
        index = min(1 + int(0.15 * speed / STEP), len(path.curvature) - 1)
        angle = math.atan(float(path.curvature[index]) * p.wheelbase)
        share = float(np.interp(speed, p.steering_speeds, p.steering_shares))
        steer = min(max(-angle / (p.max_wheel_angle * share), -1.0), 1.0)
        if target < 0.25 and speed < 0.6:
            return VehicleControl(steer=steer, brake=0.6)
        drag = p.idle_drag + p.linear_drag * speed
        wanted = speeds.acceleration + drag
        if wanted < 0.0:
            return VehicleControl(steer=steer, brake=min(-wanted / p.max_braking, 1.0))
        full = p.full_throttle_acceleration * max(1.0 - speed / p.top_speed, 0.1)
        return VehicleControl(steer=steer, throttle=min((wanted / full) ** (1.0 / p.throttle_exponent), 0.75))
