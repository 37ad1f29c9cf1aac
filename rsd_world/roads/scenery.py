"""Buildings and small scenery beside the roads, placed by seed and never on a lane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon

from rsd_world.roads.surface import Surface, lane_polygon
from rsd_world.roads.town import Building, Crossing, Prop


@dataclass(frozen=True)
class Style:
    """How a town is built up."""

    width: tuple[float, float]  # m, of a house along the street
    depth: tuple[float, float]
    height: tuple[float, float]  # m, at the rim of the town
    centre_height: float  # m added in the middle of the town
    setback: tuple[float, float]  # m from the sidewalk to the facade
    gap: float  # share of plots that stay green
    styles: tuple[int, ...]  # Building.style values
    tree_spacing: float  # m along a sidewalk
    rear_setback: tuple[float, float] | None  # m from the sidewalk to a second row of houses


STYLES = {
    "brick": Style((12.0, 26.0), (10.0, 16.0), (7.0, 14.0), 16.0, (0.8, 3.0), 0.12, (0, 1, 2, 3), 15.0, (20.0, 30.0)),
    "stucco": Style((9.0, 17.0), (9.0, 13.0), (5.0, 9.0), 9.0, (2.0, 6.0), 0.25, (4, 5, 6, 7), 11.0, None),
}
_TREE_FROM_CURB = 0.7  # m
_CORNER_CLEARANCE = 9.0  # m around crossings and junctions without street trees, so that walkers and lights are seen
_STEP_OFF_CLEARANCE = 2.5  # m around the ends of a crossing without lamps
_MISSING_TREES = 0.25  # share of the street trees left out, so that rows look grown
_LAMP_SPACING = 30.0  # m
_GREEN_SPACING = 13.0  # m between trees off the street
_GREEN_REACH = 45.0  # m from the asphalt that trees are planted
_LOWEST_BRANCH_CLEARANCE = 1.2  # m from buildings to a trunk


@dataclass(frozen=True)
class _Clearings:
    trees: shapely.Geometry  # no street tree in here
    lamps: shapely.Geometry
    houses: shapely.STRtree


def place_buildings(surface: Surface, style: Style, rng: np.random.Generator) -> tuple[Building, ...]:
    """Rows of houses along the sidewalks; none overlaps asphalt, a sidewalk or another house."""
    street = shapely.union_all([surface.pavement.buffer(surface.sidewalk_width + 0.3), surface.fast.buffer(12.0)])
    shapely.prepare(street)
    placed: list[Polygon] = []
    buildings = []
    x0, y0, x1, y1 = surface.graph.bounds
    centre, reach = np.array([(x0 + x1) / 2.0, (y0 + y1) / 2.0]), max(x1 - x0, y1 - y0) / 2.0
    rows = [style.setback] if style.rear_setback is None else [style.setback, style.rear_setback]
    for setback, line in ((setback, line) for setback in rows for line in surface.sidewalks):
        for side in _building_sides(line, surface):
            for at, yaw, size in _plots(line, side, surface.sidewalk_width, setback, style, rng):
                footprint = _rectangle(at, size[0], size[1], yaw)
                if street.intersects(footprint) or any(footprint.distance(other) < 0.6 for other in placed):
                    continue
                placed.append(footprint)
                inner = 1.0 - min(1.0, float(np.linalg.norm(at - centre)) / reach)
                height = float(rng.uniform(*style.height) + style.centre_height * inner**2 * rng.uniform(0.4, 1.0))
                ground = surface.lifted(at)[0]
                buildings.append(Building(ground, (size[0], size[1], height), yaw, int(rng.choice(style.styles))))
    return tuple(buildings)


def _building_sides(line: LineString, surface: Surface) -> Iterator[float]:
    """1.0 where land (not asphalt) lies left of the line, -1.0 where right."""
    middle, ahead = line.interpolate(line.length / 2.0), line.interpolate(line.length / 2.0 + 0.5)
    step = np.array([ahead.x - middle.x, ahead.y - middle.y])
    left = np.array([-step[1], step[0]]) / max(float(np.linalg.norm(step)), 1e-6)
    for side in (1.0, -1.0):
        beyond = Point(np.array([middle.x, middle.y]) + left * side * (surface.sidewalk_width / 2.0 + 0.5))
        if not surface.pavement.contains(beyond):
            yield side


def _plots(
    line: LineString,
    side: float,
    sidewalk: float,
    setbacks: tuple[float, float],
    style: Style,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, float, tuple[float, float]]]:
    """Centre, yaw and (length, width) of one candidate house after another along a line."""
    s = float(rng.uniform(0.0, 5.0))
    while s < line.length:
        width, depth = float(rng.uniform(*style.width)), float(rng.uniform(*style.depth))
        setback = float(rng.uniform(*setbacks))
        for shrink in (1.0, 0.7):  # a narrower house fits where a wide one meets a bend
            size = (width * shrink, depth * shrink)
            middle, yaw = _along(line, s + size[0] / 2.0)
            normal = np.array([-np.sin(yaw), np.cos(yaw)]) * side
            if rng.random() >= style.gap:
                yield middle + normal * (sidewalk / 2.0 + setback + size[1] / 2.0), yaw, size
        s += width * (0.72 if rng.random() < 0.3 else 1.0) + float(rng.uniform(0.7, 3.0))


def _along(line: LineString, s: float) -> tuple[np.ndarray, float]:
    """Point (2,) and heading of a line at `s` m."""
    a, b = line.interpolate(max(0.0, s - 2.0)), line.interpolate(min(line.length, s + 2.0))
    middle = line.interpolate(s)
    return np.array([middle.x, middle.y]), float(np.arctan2(b.y - a.y, b.x - a.x))


def _rectangle(at: np.ndarray, length: float, width: float, yaw: float) -> Polygon:
    c, s = np.cos(yaw), np.sin(yaw)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([length, width]) / 2.0
    return Polygon(corners @ np.array([[c, s], [-s, c]]) + at)


def footprint(building: Building) -> Polygon:
    """Outline of a building on the ground."""
    return _rectangle(building.center[:2], building.size[0], building.size[1], building.yaw)


def place_props(
    surface: Surface,
    buildings: tuple[Building, ...],
    crossings: tuple[Crossing, ...],
    style: Style,
    rng: np.random.Generator,
) -> tuple[Prop, ...]:
    """Street trees and lamps on the sidewalks, benches by the houses, trees and bushes on open ground."""
    houses = shapely.STRtree([footprint(building) for building in buildings])
    clearings = _clearings(surface, crossings, houses)
    props = [prop for line in surface.sidewalks for prop in _street_props(line, surface, clearings, style, rng)]
    props += _green(surface, houses, rng)
    props += _road_signs(surface)
    return tuple(props)


def _clearings(surface: Surface, crossings: tuple[Crossing, ...], houses: shapely.STRtree) -> _Clearings:
    ends = shapely.MultiPoint([point[:2] for crossing in crossings for point in (crossing.start, crossing.end)])
    junctions = shapely.union_all([lane_polygon(lane) for lane in surface.graph.lanes if lane.junction >= 0])
    trees = shapely.union(ends, junctions).buffer(_CORNER_CLEARANCE)
    lamps = ends.buffer(_STEP_OFF_CLEARANCE)
    shapely.prepare([trees, lamps])
    return _Clearings(trees, lamps, houses)


def _street_props(
    line: LineString, surface: Surface, clearings: _Clearings, style: Style, rng: np.random.Generator
) -> Iterator[Prop]:
    inward = [-side for side in _building_sides(line, surface)]
    if len(inward) != 1:
        return
    half = surface.sidewalk_width / 2.0
    lamps = set(np.arange(4.0, line.length, _LAMP_SPACING).tolist())
    trees = set((np.arange(10.0, line.length, style.tree_spacing)).tolist())
    for s in sorted(lamps | trees):
        at, yaw = _along(line, s)
        to_road = np.array([-np.sin(yaw), np.cos(yaw)]) * inward[0]
        foot = at + to_road * (half - _TREE_FROM_CURB)
        kept_clear = clearings.lamps if s in lamps else clearings.trees
        if kept_clear.contains(Point(foot)) or surface.pavement.distance(Point(foot)) < 0.4:
            continue
        facing = float(np.arctan2(to_road[1], to_road[0]))
        if s in lamps:
            yield Prop("lamp", surface.lifted(foot)[0], facing, 7.0)
            continue
        if rng.random() < _MISSING_TREES:
            continue
        yield Prop("tree", surface.lifted(foot)[0], float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(5.0, 8.5)))
        bench = at - to_road * (half - 0.35)
        if rng.random() < 0.12 and len(clearings.houses.query(Point(bench).buffer(0.8), predicate="intersects")) == 0:
            yield Prop("bench", surface.lifted(bench)[0], facing, 0.9)


def _road_signs(surface: Surface) -> Iterator[Prop]:
    """A sign where each longer street begins, facing the drivers that enter it."""
    for lane in surface.graph.lanes:
        if lane.junction >= 0 or lane.right >= 0 or lane.length < 60.0:
            continue
        x, y, _, yaw = surface.graph.pose_at(lane.id, 16.0)
        to_right = np.array([np.sin(yaw), -np.cos(yaw)])
        for reach in np.arange(lane.widths[0] / 2.0 + 0.4, 9.0, 0.2):
            foot = np.array([x, y]) + to_right * reach
            if surface.pavement.distance(Point(foot)) >= 0.5:
                yield Prop("sign", surface.lifted(foot)[0], float((yaw + 2.0 * np.pi) % (2.0 * np.pi) - np.pi), 2.4)
                break


def _green(surface: Surface, houses: shapely.STRtree, rng: np.random.Generator) -> list[Prop]:
    """Trees and bushes on a jittered grid, off all asphalt, sidewalks and houses."""
    keep_off = surface.pavement.buffer(surface.sidewalk_width + 1.5)
    shapely.prepare(keep_off)
    x0, y0, x1, y1 = surface.graph.bounds
    reach = _GREEN_REACH
    props = []
    for x in np.arange(x0 - reach, x1 + reach, _GREEN_SPACING):
        for y in np.arange(y0 - reach, y1 + reach, _GREEN_SPACING):
            at = np.array([x, y]) + rng.uniform(-0.45, 0.45, 2) * _GREEN_SPACING
            kind, height = ("tree", rng.uniform(5.5, 11.0)) if rng.random() < 0.7 else ("bush", rng.uniform(0.6, 1.4))
            yaw, wanted = float(rng.uniform(-np.pi, np.pi)), rng.random() < 0.75
            spot = Point(at)
            if not wanted or keep_off.contains(spot) or surface.pavement.distance(spot) > reach:
                continue
            if len(houses.query(spot.buffer(_LOWEST_BRANCH_CLEARANCE), predicate="intersects")) == 0:
                props.append(Prop(kind, surface.lifted(at)[0], yaw, float(height)))
    return props
