"""The lane map around the ego as labelled polylines: what a map head learns to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsd_model.contracts import MAP_CLASSES
from rsd_world.roads.lane_graph import Lane
from rsd_world.roads.town import Town
from rsd_world.state import LightState

SHORTEST = 2.0  # m, shorter pieces are left out; stop lines may be shorter
_HELD = (LightState.RED, LightState.YELLOW)
_BROKEN, _SOLID, _DOUBLE, _CENTER, _LIGHT, _SIGN = range(len(MAP_CLASSES))
_MARKINGS = {"Broken": _BROKEN, "Solid": _SOLID, "SolidSolid": _DOUBLE}


@dataclass(frozen=True)
class MapLine:
    """One line of the town."""

    label: int  # index into MAP_CLASSES
    points: np.ndarray  # (P, 2) m, map
    center: np.ndarray  # (2,) m
    radius: float  # m, all points lie within it of the centre
    light: int | None = None  # id of the light whose stop line it is

    @classmethod
    def of(cls, label: int, points: np.ndarray, light: int | None = None) -> MapLine:
        """With its bounding circle."""
        center = 0.5 * (points.min(axis=0) + points.max(axis=0))
        return cls(label, points, center, float(np.linalg.norm(points - center, axis=1).max()), light)


class TownLines:
    """All lines of one town, in map coordinates; built once, cut out per frame."""

    def __init__(self, town: Town) -> None:
        lanes = (MapLine.of(label, points) for label, _, points in lane_lines(town))
        lines = [*lanes, *_stop_lines(town)]
        self._lines = lines
        self._centers = np.array([line.center for line in lines]).reshape(-1, 2)
        self._radii = np.array([line.radius for line in lines])

    def around(
        self,
        position: np.ndarray,
        yaw: float,
        lights: dict[int, LightState],
        half_extent: tuple[float, float] = (30.0, 15.0),
        points: int = 20,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lines in base_link at `position` (2,) m, `yaw` rad: (M, points, 2) m and labels (M,), nearest first.

        Cut at |x| <= half_extent[0], |y| <= half_extent[1]; a line that leaves and comes back gives several. The stop
        line of a light is there while it is red or yellow.
        """
        reach = float(np.hypot(*half_extent))
        near = np.linalg.norm(self._centers - position, axis=1) < self._radii + reach
        cos, sin = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[cos, -sin], [sin, cos]])
        pieces: list[tuple[float, int, np.ndarray]] = []
        for index in np.flatnonzero(near):
            line = self._lines[index]
            if line.light is not None and lights.get(line.light) not in _HELD:
                continue
            for piece in clip_polyline((line.points - position) @ rotation, half_extent):
                if _length(piece) >= (SHORTEST if line.label < _LIGHT else 0.5):
                    sampled = resample(piece, points)
                    pieces.append((float((sampled**2).sum(axis=1).min()), line.label, sampled))
        pieces.sort(key=lambda entry: entry[:2])
        if not pieces:
            return np.zeros((0, points, 2)), np.zeros(0, int)
        return np.stack([p for _, _, p in pieces]), np.array([label for _, label, _ in pieces])


def clip_polyline(points: np.ndarray, half_extent: tuple[float, float]) -> Iterator[np.ndarray]:
    """Pieces (P, 2) of a polyline inside the box |x| <= half_extent[0], |y| <= half_extent[1], ends on its border."""
    limit = np.asarray(half_extent)
    start, step = points[:-1], np.diff(points, axis=0)
    # Liang-Barsky for all segments at once: the share of each between the two borders of each axis.
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (-limit - start) / step, (limit - start) / step
    parallel = step == 0.0
    inside = np.abs(start) <= limit
    low = np.where(parallel, np.where(inside, -np.inf, np.inf), np.minimum(first, second)).max(axis=1)
    high = np.where(parallel, np.where(inside, np.inf, -np.inf), np.maximum(first, second)).min(axis=1)
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    piece: list[np.ndarray] = []
    for k in np.flatnonzero(low < high):
        if not piece or low[k] > 0.0:
            if len(piece) > 1:
                yield np.array(piece)
            piece = [start[k] + low[k] * step[k]]
        piece.append(start[k] + high[k] * step[k])
        if high[k] < 1.0:
            yield np.array(piece)
            piece = []
    if len(piece) > 1:
        yield np.array(piece)


def resample(points: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) points evenly spaced along a polyline (P, 2), ends kept."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    stations = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(stations, along, points[:, k]) for k in range(2)], axis=1)


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def lane_lines(town: Town) -> Iterator[tuple[int, Lane, np.ndarray]]:
    """Centres and markings of all lanes, every line once: label, lane, points (P, 2) m, map, one for each of it."""
    for lane in town.lanes.lanes:
        yield _CENTER, lane, lane.points[:, :2]
        if lane.right_marking in _MARKINGS:
            yield _MARKINGS[lane.right_marking], lane, _edge(lane, -1.0)
        # A divider belongs to two lanes: the one to its left, or the first of two that meet head-on, brings it in.
        shared = lane.left >= 0 or 0 <= lane.opposite < lane.id
        if lane.left_marking in _MARKINGS and not shared:
            yield _MARKINGS[lane.left_marking], lane, _edge(lane, 1.0)


def _edge(lane: Lane, side: float) -> np.ndarray:
    """(P, 2) m: left (+1) or right (-1) edge of a lane."""
    normal = np.stack([-np.sin(lane.headings), np.cos(lane.headings)], axis=1)
    return lane.points[:, :2] + side * 0.5 * lane.widths[:, None] * normal


def _stop_lines(town: Town) -> Iterator[MapLine]:
    for light in town.lights:
        for lane in light.lanes:
            yield MapLine.of(_LIGHT, stop_line(town.lanes.lanes[lane]), light.id)
    for sign in town.stop_signs:
        for lane in sign.lanes:
            yield MapLine.of(_SIGN, stop_line(town.lanes.lanes[lane]))


def stop_line(lane: Lane) -> np.ndarray:
    """(2, 2) m, map: from the right to the left edge at the end of an approach lane."""
    return np.stack([_edge(lane, -1.0)[-1], _edge(lane, 1.0)[-1]])
