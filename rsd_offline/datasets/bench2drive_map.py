"""A town as Bench2Drive's HD map file: lines of lanes and what the lights and stop signs govern, left-handed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rsd_model.contracts import MAP_CLASSES
from rsd_offline.datasets.bench2drive_writer import town_name
from rsd_world.expert.map_lines import lane_lines
from rsd_world.roads.lane_graph import Lane
from rsd_world.roads.town import Town

SPACING = 0.1  # m between points: readers look for lines near the ego by every fiftieth
VOLUME_LENGTH = 3.0  # m before a stop line in which a vehicle counts as standing at it
TRIGGER_VOLUMES = "Trigger_Volumes"


def write_hd_map(folder: Path, town: Town) -> Path:
    """Write `<folder>/<Town>_HD_map.npz`; returns its path.

    Its `arr` holds pairs of a road's id and a dictionary of its lanes. A lane's id leads to lines with Points, each
    ((x, y, z), (roll, pitch, yaw)) in m and degrees, and Type (of MAP_CLASSES); Trigger_Volumes leads to four corners
    each, Type TrafficLight or StopSign. Colours and topology, which the public readers do not use, are not written.
    """
    roads: dict[int, dict[int | str, list[dict]]] = {}
    for label, lane, points in lane_lines(town):
        line = {"Points": _poses(points, lane.points[:, 2]), "Type": MAP_CLASSES[label]}
        roads.setdefault(lane.road, {}).setdefault(lane.opendrive_lane, []).append(line)
    governed = [("TrafficLight", lane) for light in town.lights for lane in light.lanes]
    governed += [("StopSign", lane) for sign in town.stop_signs for lane in sign.lanes]
    for kind, index in governed:
        lane = town.lanes.lanes[index]
        volume = {"Points": _volume(lane), "Type": kind}
        roads.setdefault(lane.road, {}).setdefault(TRIGGER_VOLUMES, []).append(volume)
    pairs = np.empty((len(roads), 2), object)
    for row, (road, lanes) in enumerate(roads.items()):
        pairs[row, 0], pairs[row, 1] = road, lanes
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{town_name(town)}_HD_map.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, arr=pairs)
    os.replace(partial, path)
    return path


def _poses(points: np.ndarray, heights: np.ndarray) -> list[tuple]:
    """A line (P, 2) m, map, and its heights (P,) m as poses every SPACING, in CARLA's axes."""
    line = np.column_stack([points, heights])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    stations = np.linspace(0.0, along[-1], max(2, int(np.ceil(along[-1] / SPACING)) + 1))
    x, y, z = (np.interp(stations, along, line[:, k]) for k in range(3))
    yaw = np.degrees(np.arctan2(-np.gradient(y), np.gradient(x)))
    places = np.column_stack([x, -y, z]).round(3).tolist()
    return [(tuple(place), (0.0, 0.0, turn)) for place, turn in zip(places, yaw.round(2).tolist(), strict=True)]


def _volume(lane: Lane) -> list[tuple[float, float, float]]:
    """Corners of the lane's last VOLUME_LENGTH before its end, in turn, in CARLA's axes."""
    end, yaw, half = lane.points[-1], lane.headings[-1], lane.widths[-1] / 2.0
    forward, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    places = [(0.0, 1.0), (0.0, -1.0), (-VOLUME_LENGTH, -1.0), (-VOLUME_LENGTH, 1.0)]
    corners = [end[:2] + back * forward + side * half * left for back, side in places]
    return [(float(x), float(-y), float(end[2])) for x, y in corners]
