"""Signal cycles: the groups of a junction are green one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rsd_world.roads.town import TrafficLight
from rsd_world.state import LightState

GREEN, YELLOW, ALL_RED = 10.0, 3.0, 2.0  # s
PHASE = GREEN + YELLOW + ALL_RED
WALK = 4.0  # s at the beginning of red, in which even those set out who take longer than it lasts


class TrafficLights:
    """All signals of a town; each junction starts its cycle at a seeded place."""

    def __init__(self, lights: Sequence[TrafficLight], rng: np.random.Generator) -> None:
        self._lights = tuple(lights)
        junctions = sorted({light.junction for light in lights})
        groups = {j: sorted({light.group for light in lights if light.junction == j}) for j in junctions}
        offsets = {j: float(rng.uniform(0.0, PHASE * len(groups[j]))) for j in junctions}
        self._order = np.array([groups[light.junction].index(light.group) for light in lights], float)
        # A junction with one group still shows red for the crossing walkers, so it gets a second, empty phase.
        self._cycle = PHASE * np.array([max(len(groups[light.junction]), 2) for light in lights], float)
        self._offset = np.array([offsets[light.junction] for light in lights])
        walk = (self._cycle - GREEN - YELLOW - WALK).tolist()
        self._walk = {light.id: left for light, left in zip(lights, walk, strict=True)}
        self._forced: dict[int, LightState] = {}
        self.by_lane = {lane: light.id for light in lights for lane in light.lanes}
        self.states: dict[int, LightState] = {}
        self.step(0.0)

    def force(self, states: Mapping[int, LightState]) -> None:
        """Hold the given lights (by id) at a state until `release`."""
        self._forced.update(states)

    def release(self) -> None:
        """Back to the cycle."""
        self._forced.clear()

    def step(self, time: float) -> None:
        """Set `states` for `time` s."""
        if not self._lights:
            return
        within = (time + self._offset - self._order * PHASE) % self._cycle
        state = np.where(within < GREEN, LightState.GREEN, LightState.RED)
        state = np.where((within >= GREEN) & (within < GREEN + YELLOW), LightState.YELLOW, state)
        self.states = {light.id: LightState(int(s)) for light, s in zip(self._lights, state, strict=True)}
        self._red_left = dict(zip(self.states, (self._cycle - within).tolist(), strict=True))
        self.states.update(self._forced)

    def may_walk(self, light: int, seconds: float) -> bool:
        """Whether people who need `seconds` may set out over the lanes of a light: red stays so long, or began."""
        if self.states[light] is not LightState.RED:
            return False
        return light in self._forced or self._red_left[light] > min(seconds, self._walk[light])

    def of_lane(self, lane: int) -> LightState | None:
        """State that governs an approach lane, None where it has no light."""
        light = self.by_lane.get(lane)
        return None if light is None else self.states[light]
