"""Pace and end of a drive: slower than traffic, blocked, off the route, out of time, done."""

from __future__ import annotations

import numpy as np

from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.rules.moment import Moment

CHECKPOINTS = 20  # per route
BLOCKED_SPEED, BLOCKED_TIME = 0.1, 60.0  # m/s, s
MAX_DEVIATION = 30.0  # m
TIME_LIMIT = 200.0  # s, Bench2Drive's 4000 ticks at 20 Hz
SLOWEST = 2.0  # m/s, longer routes get the time that this mean speed takes


class PaceRule:
    """At each twentieth of the route: the ego's mean speed against that of the traffic around, since the last one."""

    def __init__(self) -> None:
        self._next = 1
        self._start()

    def check(self, moment: Moment) -> list[Infraction]:
        """The checkpoints passed in this step (none where there was no moving traffic)."""
        if moment.traffic_speed is not None:
            self._ego.append(moment.ego.speed)
            self._traffic.append(moment.traffic_speed)
        if moment.tracker.completion < self._next / CHECKPOINTS:
            return []
        self._next = int(moment.tracker.completion * CHECKPOINTS + 1e-9) + 1
        traffic = float(np.mean(self._traffic)) if self._traffic else 0.0
        share = 100.0 * float(np.mean(self._ego)) / traffic if traffic > 0.01 else None
        self._start()
        if share is None:
            return []
        detail = f"mean speed is {share:.2f}% of the surrounding traffic's"
        return [Infraction(InfractionKind.MIN_SPEED, moment.time, moment.ego.position, detail, share)]

    def _start(self) -> None:
        self._ego: list[float] = []
        self._traffic: list[float] = []


class EndRule:
    """Decides when and how the drive ends."""

    def __init__(self, route_length: float) -> None:
        self.time_limit = max(TIME_LIMIT, route_length / SLOWEST)
        self._still = 0.0

    def check(self, moment: Moment) -> tuple[str, list[Infraction]]:
        """The outcome ("running" while it goes on) and the infraction that goes with it."""
        self._still = self._still + moment.dt if abs(moment.ego.speed) < BLOCKED_SPEED else 0.0
        if moment.tracker.completion >= 1.0:
            return "completed", []
        if self._still > BLOCKED_TIME:
            return "blocked", [self._infraction(moment, InfractionKind.BLOCKED, f"stood for {BLOCKED_TIME:.0f} s")]
        if moment.tracker.distance(moment.ego.position) > MAX_DEVIATION:
            detail = f"more than {MAX_DEVIATION:.0f} m off the route"
            return "off_route", [self._infraction(moment, InfractionKind.ROUTE_DEVIATION, detail)]
        if moment.time > self.time_limit:
            detail = f"not done after {self.time_limit:.0f} s"
            return "timeout", [self._infraction(moment, InfractionKind.ROUTE_TIMEOUT, detail)]
        return "running", []

    @staticmethod
    def _infraction(moment: Moment, kind: InfractionKind, detail: str) -> Infraction:
        return Infraction(kind, moment.time, moment.ego.position, detail)
