from types import SimpleNamespace

import numpy as np
import pytest

from rsd_offline.training.signals import GO, STOP, signal_heads, town_signals
from rsd_world.expert.map_lines import TownLines
from rsd_world.roads.towns import load_town
from rsd_world.state import LightState

EPISODE = SimpleNamespace(about={"town": "alder"})
NUMBER = 3  # of a traffic light of that town


def frame_before(light, distance, states):
    """What a vehicle `distance` m before that light's stop line records."""
    signals = town_signals("alder")
    facing, line = signals.facing[light], signals.lines[light]
    position = line[:2] + distance * facing
    yaw = np.arctan2(-facing[1], -facing[0])
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = [*position, line[2]]
    points, labels = TownLines(load_town("alder")).around(position, yaw, states)
    return SimpleNamespace(pose=pose, map_points=points, map_labels=labels)


def distances_to_own_heads(frame, heads):
    """(S,) m from each of `heads`, base_link, to the nearer head of light NUMBER."""
    places = heads @ frame.pose[:3, :3].T + frame.pose[:3, 3]
    return np.linalg.norm(places[:, None] - town_signals("alder").heads[NUMBER], axis=2).min(axis=1)


@pytest.mark.parametrize(("state", "label"), [("RED", STOP), ("YELLOW", STOP), ("GREEN", GO)])
def test_the_light_ahead_says_what_it_said_when_it_was_recorded(state, label):
    lights = [light for light in load_town("alder").lights if light.lanes]
    frame = frame_before(NUMBER, 12.0, {light.id: LightState[state] for light in lights})
    heads, labels = signal_heads(EPISODE, frame)
    own = distances_to_own_heads(frame, heads) < 1e-6
    assert own.sum() == 2
    assert (labels[own] == label).all()
    assert (heads[own, 0] > 12.0).all()


@pytest.mark.parametrize("distance", [40.0, -60.0])
def test_a_light_beyond_the_recorded_lines_or_seen_from_behind_is_not_asked(distance):
    frame = frame_before(NUMBER, distance, {})
    assert (distances_to_own_heads(frame, signal_heads(EPISODE, frame)[0]) > 1.0).all()


def test_an_episode_that_names_no_town_has_no_signals():
    frame = SimpleNamespace(pose=np.eye(4), map_points=np.zeros((0, 20, 2)), map_labels=np.zeros(0, int))
    assert len(signal_heads(SimpleNamespace(about={}), frame)[0]) == 0
