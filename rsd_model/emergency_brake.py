"""Emergency brake: a plan that meets a detected object sooner than the vehicle could stop gives way to full braking.

A network that imitates has hardly ever seen the second before a collision. What it then still sees is enough to brake:
the vehicle on its plan and every object at its velocity, as oriented boxes, over the time that braking takes.
A slow vehicle waits instead, for a while, while its plan starts into an object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rsd_model.contracts import (
    OBJECT_CLASSES,
    PLAN_STEP_SECONDS,
    PLAN_STEPS,
    STANDSTILL,
    DetectedObjects,
    PlannerOutput,
)
from rsd_model.stop_plan import stopping_trajectory

TIME_STEP = 0.1  # s between the instants that are compared
FORGETS = 1.0  # s without an object in the way, after which it would wait for the next one again
MOVES = 0.02  # m in TIME_STEP from which on a plan has a heading
_PEDESTRIAN = OBJECT_CLASSES.index("pedestrian")


@dataclass(frozen=True)
class EmergencyBrakeSettings:
    """When it brakes. The defaults suit a passenger car and the shipped weights."""

    deceleration: float = 7.0  # m/s^2 of full braking ...
    relied_on: float = 5.0  # m/s^2 ... and as much of it as the decision to brake relies on
    reaction: float = 0.3  # s until the brakes hold
    min_score: float = 0.15  # of an object
    evidence: float = 0.5  # sum of the scores of what plans in a row meet, before it brakes or waits ...
    most: float = 0.25  # ... and the most that one plan adds: a single flickering detection is none
    least_speed: float = 2.0  # m/s, below it no braking is begun, but waited
    start: float = 1.5  # s to contact, sooner than which a slow vehicle waits ...
    patience: float = 20.0  # s, ... for so long before what is seen well, ...
    sure: float = 0.4  # ... in the mean; recorded: from 0.35 on five of six were real, of the others a third
    doubt: float = 5.0  # s, ... and for so long before the others: the vehicle must get on
    release: float = 0.25  # s without contact ahead, after which it lets go
    length: float = 4.9  # m, of the vehicle
    width: float = 2.0  # m
    nearer: float = 0.5  # m, all around, that what does not walk may be nearer than it is seen
    stray: float = 0.5  # m/s at which people may walk into the way; the network hardly sees that they walk ...
    walk: float = 1.3  # m/s at which they may set out before a slow vehicle ...
    glance: float = 2.0  # s, for which it waits to see whether they do


class EmergencyBrake:
    """Checks one plan after another of one drive."""

    def __init__(self, settings: EmergencyBrakeSettings | None = None) -> None:
        self.settings = settings or EmergencyBrakeSettings()
        self.reset()

    def reset(self) -> None:
        """A new drive begins, or time has jumped."""
        self._evidence, self._until = 0.0, -np.inf
        self._met: list[tuple[float, float]] = []  # stamps and scores of what has kept a slow vehicle waiting

    def check(self, output: PlannerOutput, speed: float) -> PlannerOutput:
        """The output as it is, or a stop on its path with `stop_reason` saying why; `speed` in m/s.

        `emergency` is set where it brakes fully, not where a slow vehicle waits.
        """
        settings = self.settings
        slow = speed < settings.least_speed
        braking_time = settings.reaction + 0.5 * speed / settings.relied_on
        horizon = max(braking_time, settings.start) if slow else braking_time
        seconds, index = first_contact(output.trajectory, output.objects, horizon, settings)
        longest = settings.patience
        if slow and index is None:
            seconds, index = first_contact(output.trajectory, output.objects, horizon, settings, setting_out=True)
            longest = settings.glance
        score = 0.0 if index is None else float(output.objects.scores[index])
        self._evidence = 0.0 if index is None else self._evidence + min(score, settings.most)
        confirmed = self._evidence >= settings.evidence
        if speed >= STANDSTILL and (output.stamp <= self._until or (confirmed and not slow)):
            if index is not None:
                self._until = output.stamp + settings.release
            return self._stopped(output, speed, seconds, index, emergency=True)
        self._until = -np.inf
        if slow and confirmed and self._is_patient(output.stamp, score, longest):
            return self._stopped(output, speed, seconds, index, emergency=False)
        return output

    def _is_patient(self, stamp: float, score: float, longest: float) -> bool:
        """Whether a slow vehicle waits on, at most `longest` s; asked while its plan meets an object of `score`."""
        if self._met and stamp - self._met[-1][0] > FORGETS:
            self._met = []
        self._met.append((stamp, score))
        sure = np.mean(self._met, axis=0)[1] >= self.settings.sure
        return stamp - self._met[0][0] <= (longest if sure else min(longest, self.settings.doubt))

    def _stopped(
        self, output: PlannerOutput, speed: float, seconds: float, index: int | None, emergency: bool
    ) -> PlannerOutput:
        reason = "emergency brake" if emergency else "waits"
        if index is not None:
            name, away = OBJECT_CLASSES[output.objects.labels[index]], np.hypot(*output.objects.boxes[index, :2])
            reason += f": {name.replace('_', ' ')} {away:.1f} m away, contact in {seconds:.1f} s"
        trajectory = stopping_trajectory(output.trajectory, speed, self.settings.deceleration)
        return replace(output, trajectory=trajectory, stop_reason=reason, emergency=emergency)


def first_contact(
    trajectory: np.ndarray,
    objects: DetectedObjects,
    horizon: float,
    settings: EmergencyBrakeSettings,
    setting_out: bool = False,
) -> tuple[float, int | None]:
    """Seconds until the vehicle on `trajectory` (6, 2) m, base_link, touches an object, and which; (inf, None): none.

    Objects keep their velocity; vehicles may be a little nearer than seen, people stray from it in any direction. With
    `setting_out` those before the bumper may set out at a walk. What is behind the vehicle's middle is left to it:
    braking helps against none of that. One that is centred on the vehicle itself is none.
    """
    times = np.arange(0.0, horizon + 1e-6, TIME_STEP)
    own = np.array([settings.length, settings.width])
    on_it = (np.abs(objects.boxes[:, :2]) < 0.5 * own).all(axis=1)
    ahead = (objects.scores >= settings.min_score) & (objects.boxes[:, 0] > 0.0) & ~on_it
    places, yaws = _along(trajectory, times)
    boxes = objects.boxes[ahead]
    centres = boxes[None, :, :2] + times[:, None, None] * objects.velocities[ahead]
    on_foot = objects.labels[ahead] == _PEDESTRIAN
    strays = np.where(setting_out & (boxes[:, 0] > 0.5 * settings.length), settings.walk, settings.stray)
    margins = np.where(on_foot, strays * times[:, None], settings.nearer)
    sizes = boxes[:, 3:5] + 2.0 * margins[..., None]
    touch = boxes_touch(places[:, None], yaws[:, None], own, centres, boxes[:, 6], sizes)
    if not touch.any():
        return np.inf, None
    first = int(touch.any(axis=1).argmax())
    return float(times[first]), int(np.flatnonzero(ahead)[touch[first].argmax()])


def _along(trajectory: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2) m and (T,) rad of a vehicle that follows the plan; standing it looks ahead."""
    points = np.vstack([np.zeros((1, 2)), trajectory])
    at = np.arange(PLAN_STEPS + 1) * PLAN_STEP_SECONDS
    places = np.stack([np.interp(times, at, points[:, k]) for k in range(2)], axis=1)
    steps = np.diff(places, axis=0, prepend=places[:1])
    moves = np.hypot(steps[:, 0], steps[:, 1]) > MOVES
    return places, np.where(moves, np.arctan2(steps[:, 1], steps[:, 0]), 0.0)


def boxes_touch(
    centre_a: np.ndarray,
    yaw_a: np.ndarray,
    size_a: np.ndarray,
    centre_b: np.ndarray,
    yaw_b: np.ndarray,
    size_b: np.ndarray,
) -> np.ndarray:
    """Whether oriented rectangles overlap: centres (..., 2) m, yaws (...) rad, full sizes (..., 2) m, broadcast.

    Separating axes: those of either rectangle (Gottschalk et al., SIGGRAPH 1996).
    """
    delta, turn = centre_b - centre_a, yaw_b - yaw_a
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))

    def near(yaw: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        forward = np.abs(delta[..., 0] * np.cos(yaw) + delta[..., 1] * np.sin(yaw))
        left = np.abs(delta[..., 1] * np.cos(yaw) - delta[..., 0] * np.sin(yaw))
        reach_forward = 0.5 * (own[..., 0] + other[..., 0] * cos + other[..., 1] * sin)
        reach_left = 0.5 * (own[..., 1] + other[..., 0] * sin + other[..., 1] * cos)
        return (forward < reach_forward) & (left < reach_left)

    return near(yaw_a, size_a, size_b) & near(yaw_b, size_b, size_a)
