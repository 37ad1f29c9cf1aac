"""Heads of the traffic lights that a recorded frame shows, and what they say: read back from its map lines.

A light that holds traffic has its stop line among the frame's map lines; one whose stop line would be there and is not
says go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rsd_model.contracts import MAP_CLASSES
from rsd_model.geometry import transform_points
from rsd_offline.datasets.episode_store import DriveFrame, Episode
from rsd_world.roads.signal_heads import head_offsets
from rsd_world.roads.towns import load_town

RECORDED = np.array([27.0, 13.0])  # m, |x|, |y| of a stop line's middle within which it is surely among the map lines
SAME_LINE = 3.0  # m between the middles of an approach's lane ends and of its stop line
STOP, GO = 0, 1


@dataclass(frozen=True)
class Signals:
    """The L traffic lights of a town that control lanes, in map coordinates."""

    heads: np.ndarray  # (L, 2, 3) m, centres of the head on the pole and of the one over the lanes
    facing: np.ndarray  # (L, 2) unit vectors in which the lamps shine
    lines: np.ndarray  # (L, 3) m, middles of the stop lines


@lru_cache(maxsize=4)
def town_signals(name: str) -> Signals:
    """Signals of the town of that name."""
    town = load_town(name)
    lights = [light for light in town.lights if light.lanes]
    lines = [np.mean([town.lanes.lanes[i].points[-1] for i in light.lanes], axis=0) for light in lights]
    heads = [[light.position + offset for offset in head_offsets(town, light)] for light in lights]
    facing = [(np.cos(light.yaw), np.sin(light.yaw)) for light in lights]
    return Signals(np.reshape(heads, (-1, 2, 3)), np.reshape(facing, (-1, 2)), np.reshape(lines, (-1, 3)))


def signal_heads(episode: Episode, frame: DriveFrame) -> tuple[np.ndarray, np.ndarray]:
    """Centres (S, 3) m, base_link, of the heads that face the vehicle, and labels (S,): STOP (red or yellow) or GO.

    None of an episode that names no town.
    """
    if "town" not in episode.about:
        return np.zeros((0, 3)), np.zeros(0, np.int64)
    signals, to_base = town_signals(episode.about["town"]), np.linalg.inv(frame.pose)
    lines = transform_points(to_base, signals.lines)[:, :2]
    towards = ((frame.pose[:2, 3] - signals.heads[:, 0, :2]) * signals.facing).sum(axis=1) > 0.0
    shown = towards & (np.abs(lines) <= RECORDED).all(axis=1)
    held = frame.map_points[frame.map_labels == MAP_CLASSES.index("TrafficLight")].mean(axis=1)
    stops = (np.linalg.norm(lines[shown, None] - held[None], axis=2) < SAME_LINE).any(axis=1)
    heads = transform_points(to_base, signals.heads[shown].reshape(-1, 3))
    return heads, np.repeat(np.where(stops, STOP, GO), 2)
