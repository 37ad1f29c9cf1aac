"""The ground: asphalt, and the sidewalks along its edges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from rsd_world.roads.import_lanes import ImportedRoads
from rsd_world.roads.lane_graph import Lane, LaneGraph

FAST_ROAD = 23.0  # m/s; faster roads get no sidewalk, crossing or parking, unless the file gives them a sidewalk
_SLIVER = 0.3  # m, gaps between lanes up to twice this are closed
_CORNER_RADIUS = 4.0  # m, of the kerb where two roads meet
_CORNER_REACH = 10.0  # m around a junction's lanes within which corners are rounded
_SMALLEST_ISLAND = 150.0  # m^2; smaller holes in the asphalt are paved
_NARROWEST_ISLAND = 10.0  # m; narrower land between two carriageways gets no sidewalk
_SHORTEST_SIDEWALK = 15.0  # m
_SIDEWALK_QUAD = 8.0  # m, longest piece of sidewalk


@dataclass(frozen=True)
class Surface:
    """Paved area and sidewalk centre lines, in the plane."""

    pavement: BaseGeometry
    fast: BaseGeometry  # asphalt of fast roads
    fast_roads: frozenset[int]  # OpenDRIVE road ids
    sidewalks: tuple[LineString, ...]
    sidewalk_width: float  # m
    graph: LaneGraph

    def heights(self, xy: np.ndarray) -> np.ndarray:
        """(N,) m, height of the road nearest to each point (N, 2)."""
        return self.graph.nearest_many(xy, max_distance=np.inf).heights

    def lifted(self, xy: np.ndarray) -> np.ndarray:
        """(N, 3) points on the ground."""
        xy = np.asarray(xy, float).reshape(-1, 2)
        return np.column_stack([xy, self.heights(xy)])


def build_surface(roads: ImportedRoads, sidewalk_width: float, with_sidewalk: frozenset[int] = frozenset()) -> Surface:
    """Unite all paved lanes and run sidewalks along the edges; `with_sidewalk`: roads that have one at any speed."""
    strips = [strip_polygon(strip.points, strip.widths) for strip in roads.strips]
    united = shapely.union_all(strips).buffer(_SLIVER).buffer(-_SLIVER)
    inside = [shape for shape, strip in zip(strips, roads.strips, strict=True) if strip.junction >= 0]
    corners = united.buffer(_CORNER_RADIUS, quad_segs=6).buffer(-_CORNER_RADIUS, quad_segs=6)
    near_junctions = shapely.union_all(inside).buffer(_CORNER_REACH) if inside else Polygon()
    pavement = _without_small_holes(united.union(corners.intersection(near_junctions))).simplify(0.03)
    fast_lanes = [lane for lane in roads.graph.lanes if _is_fast(lane) and lane.road not in with_sidewalk]
    fast_roads = frozenset(lane.road for lane in fast_lanes)
    fast = shapely.union_all([lane_polygon(lane) for lane in fast_lanes]) if fast_lanes else Polygon()
    sidewalks = tuple(_sidewalk_lines(pavement, fast, sidewalk_width))
    return Surface(pavement, fast, fast_roads, sidewalks, sidewalk_width, roads.graph)


def _is_fast(lane: Lane) -> bool:
    return lane.speed_limit > FAST_ROAD and lane.junction < 0


def lane_polygon(lane: Lane) -> Polygon:
    """The area of one lane in the plane."""
    return strip_polygon(lane.points, lane.widths)


def strip_polygon(points: np.ndarray, widths: np.ndarray) -> BaseGeometry:
    """The area within half a width of a centre line (P, 2 or 3) m."""
    steps = np.gradient(points[:, :2], axis=0)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1) / np.linalg.norm(steps, axis=1, keepdims=True)
    offset = normals * np.maximum(widths, 0.02)[:, None] / 2.0
    outline = np.concatenate([points[:, :2] + offset, (points[:, :2] - offset)[::-1]])
    return shapely.make_valid(Polygon(outline))


def polygons(geometry: BaseGeometry) -> list[Polygon]:
    """The polygons of any geometry."""
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [part for part in getattr(geometry, "geoms", ()) if isinstance(part, Polygon)]


def lines(geometry: BaseGeometry) -> list[LineString]:
    """The lines of any geometry, touching ones joined."""
    if isinstance(geometry, MultiLineString):
        geometry = shapely.line_merge(geometry)
    if isinstance(geometry, LineString):
        return [] if geometry.is_empty else [LineString(geometry.coords)]
    return [LineString(part.coords) for part in getattr(geometry, "geoms", ()) if isinstance(part, LineString)]


def _without_small_holes(area: BaseGeometry) -> MultiPolygon:
    kept = []
    for part in polygons(area):
        holes = [ring for ring in part.interiors if Polygon(ring).area >= _SMALLEST_ISLAND]
        kept.append(Polygon(part.exterior, holes))
    return MultiPolygon(kept)


def _sidewalk_lines(pavement: BaseGeometry, fast: BaseGeometry, width: float) -> Iterable[LineString]:
    offset = width / 2.0 + 0.1
    keep_out = fast.buffer(width + 4.0) if not fast.is_empty else Polygon()
    for part in polygons(pavement):
        rings = [Polygon(part.exterior).buffer(offset, quad_segs=6)]
        blocks = [Polygon(ring) for ring in part.interiors]
        roomy = [block for block in blocks if not block.buffer(-_NARROWEST_ISLAND / 2.0).is_empty]
        rings += [block.buffer(-offset, quad_segs=6) for block in roomy]
        for ring in (polygon.exterior for area in rings for polygon in polygons(area)):
            for line in lines(ring.difference(keep_out).difference(pavement.buffer(offset - 0.3))):
                if line.length >= _SHORTEST_SIDEWALK:
                    yield line.simplify(0.05)


def road_triangles(surface: Surface) -> np.ndarray:
    """(T, 3, 3) m, the asphalt as triangles whose corners lie on the road."""
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(surface.pavement.segmentize(15.0)))
    corners = np.array([np.array(triangle.exterior.coords)[:3] for triangle in triangles])  # (T, 3, 2)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    corners[area < 0] = corners[area < 0][:, ::-1]  # counter-clockwise seen from above
    unique, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    return surface.lifted(unique)[inverse.reshape(-1)].reshape(-1, 3, 3)


def sidewalk_paths(surface: Surface) -> tuple[np.ndarray, ...]:
    """Centre lines (V, 3) m that walkers stroll along, points 4 m apart at most."""
    return tuple(surface.lifted(np.array(line.segmentize(4.0).coords)) for line in surface.sidewalks)


def sidewalk_quads(surface: Surface) -> tuple[np.ndarray, ...]:
    """Sidewalks as quadrilaterals (4, 3) m, counter-clockwise, none on the asphalt by more than its rim."""
    quads = []
    for line in surface.sidewalks:
        points = np.array(line.segmentize(_SIDEWALK_QUAD).coords)
        left, right = _offsets(points, surface.sidewalk_width / 2.0)
        outline = np.stack([right[:-1], right[1:], left[1:], left[:-1]], axis=1)  # (Q, 4, 2)
        quads.append(surface.lifted(outline.reshape(-1, 2)).reshape(-1, 4, 3))
    return tuple(quad for group in quads for quad in group)


def _offsets(points: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Lines `distance` m left and right of a polyline, mitred at its corners."""
    steps = np.diff(points, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    closed = np.allclose(points[0], points[-1])
    before = np.vstack([steps[-1:] if closed else steps[:1], steps])
    after = np.vstack([steps, steps[:1] if closed else steps[-1:]])
    normals = np.stack([-(before + after)[:, 1], (before + after)[:, 0]], axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    mitre = normals / np.maximum(length, 1e-6) * (distance / np.maximum(length / 2.0, 0.6))
    return points + mitre, points - mitre
