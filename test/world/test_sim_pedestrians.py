"""When people on foot step onto a crossing."""

import numpy as np
import pytest
from sim_grid_town import grid_town

from rsd_world.actors.pedestrians import Pedestrians, crossing_lights
from rsd_world.actors.traffic_lights import TrafficLights
from rsd_world.state import EgoVehicle, LightState

TOWN = grid_town()
LIGHTS = crossing_lights(TOWN)
FREE, SIGNALLED = LIGHTS.index(None), next(k for k, light in enumerate(LIGHTS) if light is not None)


class Kerb:
    """Somebody at the kerb of a crossing, and an ego `before` m ahead of the walkers' way."""

    def __init__(self, crossing: int, before: float, speed: float = 0.0) -> None:
        place = TOWN.crossings[crossing]
        self.lights = TrafficLights(TOWN.lights, np.random.default_rng(0))
        self.people = Pedestrians(TOWN, self.lights, np.random.default_rng(0), next_id=lambda: 1)
        self.walker = self.people.add(place.start, [place.end], 1.3, crossing=crossing)
        self.walker.pinned = False  # no scenario directs it
        delta = (place.end - place.start)[:2]
        self.seconds = float(np.hypot(*delta)) / 1.3
        along = np.array([-delta[1], delta[0]]) / np.hypot(*delta)
        position = np.array([*(0.5 * (place.start + place.end)[:2] - before * along), 0.0])
        yaw = float(np.arctan2(along[1], along[0]))
        self.ego = EgoVehicle(position, yaw, speed, 0.0, 0.0, 0.0, 0.0, (4.9, 1.8, 1.5))

    def sets_out(self, steps: int = 10) -> bool:
        """Within so many steps of 0.1 s."""
        for _ in range(steps):
            self.people.step(self.ego, [], 0.1)
        return self.walker.on_road and not self.walker.waiting


@pytest.mark.parametrize(
    ("before", "speed", "sets_out"),
    [(4.0, 0.0, True), (4.0, 0.3, False), (2.0, 0.0, False), (12.0, 8.0, False), (40.0, 0.0, True)],
)
def test_people_walk_before_a_vehicle_that_stands_but_not_before_one_that_rolls_or_stands_in_their_way(
    before, speed, sets_out
):
    assert Kerb(FREE, before, speed).sets_out() is sets_out


def test_a_crossing_is_under_the_light_at_whose_line_it_lies():
    for crossing, light in zip(TOWN.crossings, LIGHTS, strict=True):
        middle = 0.5 * (crossing.start + crossing.end)[:2]
        ends = [(TOWN.lanes.lanes[i].points[-1, :2], known.id) for known in TOWN.lights for i in known.lanes]
        distance, nearest = min((float(np.hypot(*(end - middle))), known) for end, known in ends)
        assert light == (nearest if distance < 12.0 else None)
    assert len([light for light in LIGHTS if light is not None]) == len(TOWN.lights)


def test_under_a_traffic_light_people_set_out_only_at_a_red_that_lasts():
    kerb, light = Kerb(SIGNALLED, 40.0), LIGHTS[SIGNALLED]
    starts, states = [], []
    for time in np.arange(0.0, 60.0, 0.5):
        kerb.lights.step(time)
        states.append(kerb.lights.states[light])
        starts.append(kerb.sets_out(1))
        kerb.walker.on_road, kerb.walker.position = False, TOWN.crossings[SIGNALLED].start
    ends = [k for k in range(1, len(states)) if states[k - 1] is LightState.RED and states[k] is not LightState.RED]
    left = [0.5 * min([e - k for e in ends if e >= k], default=np.inf) for k in range(len(states))]
    for state, start, seconds in zip(states, starts, left, strict=True):
        if state is not LightState.RED:
            assert not start
        elif seconds < np.inf:
            assert start is bool(seconds > min(kerb.seconds, 17.0 - 4.0))
    assert any(starts)


@pytest.mark.parametrize(("state", "sets_out"), [(LightState.RED, True), (LightState.GREEN, False)])
def test_a_light_that_a_scenario_holds_is_obeyed_too(state, sets_out):
    kerb, light = Kerb(SIGNALLED, 40.0), LIGHTS[SIGNALLED]
    kerb.lights.force({light: state})
    kerb.lights.step(0.0)
    assert kerb.sets_out() is sets_out
