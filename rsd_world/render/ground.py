"""Meshes of everything flat: roads with their markings, stop lines, crossings, sidewalks, terrain."""

from __future__ import annotations

import numpy as np
from panda3d import core
from scipy.spatial import ConvexHull, cKDTree

from rsd_world.render.mesh import Mesh, Rgb, facets, fan, merge, welded
from rsd_world.roads.lane_graph import Lane
from rsd_world.roads.town import Crossing, Town

ASPHALT: Rgb = (0.085, 0.086, 0.090)
GRASS: Rgb = (0.070, 0.125, 0.030)
PAVING: Rgb = (0.30, 0.29, 0.27)
KERB: Rgb = (0.42, 0.41, 0.39)
KERB_HEIGHT = 0.10  # m
GUTTER = 0.5  # m of asphalt beside the outer lane
SEGMENT = 6.0  # m, longest piece of a straight ribbon
TERRAIN_CELL = 50.0  # m
TERRAIN_MARGIN = 180.0  # m around the roads
_MARKINGS = {"None": 0, "Broken": 1, "Solid": 2, "SolidSolid": 3}


def _thinned(points: np.ndarray) -> np.ndarray:
    """Indices of the points that a ribbon needs: few on straights, all where it bends."""
    step = np.diff(points, axis=0)
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-6)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    slope = step[:, 2] / length
    keep, last = [0], 0
    for i in range(1, len(points) - 1):
        bend = abs(heading[i] - heading[last]) + abs(slope[i] - slope[last])
        if bend > 0.06 or length[last : i + 1].sum() > SEGMENT:
            keep.append(i)
            last = i
    return np.array([*keep, len(points) - 1])


def left_normals(points: np.ndarray) -> np.ndarray:
    """(P, 3) horizontal unit vectors to the left of a polyline (P, 3)."""
    tangent = np.gradient(points[:, :2], axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.column_stack([-tangent[:, 1], tangent[:, 0], np.zeros(len(points))])


def lane_edges(lane: Lane) -> tuple[np.ndarray, np.ndarray]:
    """Left and right edge (P, 3) m of a lane."""
    half = lane.widths[:, None] / 2.0 * left_normals(lane.points)
    return lane.points + half, lane.points - half


def ribbon(left: np.ndarray, right: np.ndarray, color: Rgb, data: np.ndarray | None = None) -> Mesh:
    """A strip between two edges (P, 3) m in driving direction, normals up; `data` is (P, 2, 4) for left and right."""
    n = len(left)
    position = np.stack([left, right], axis=1).reshape(-1, 3)
    i = 2 * np.arange(n - 1)[:, None]
    triangles = np.concatenate([i + [0, 1, 3], i + [0, 3, 2]])
    values = np.zeros((2 * n, 4)) if data is None else data.reshape(-1, 4)
    return Mesh(position, np.tile([0.0, 0.0, 1.0], (2 * n, 1)), np.tile(color, (2 * n, 1)), values, triangles)


def _marking_code(lane: Lane) -> int:
    left = _MARKINGS.get(lane.left_marking, 0)
    if left and lane.left < 0 and lane.opposite >= 0:
        left += 4
    return left + 8 * _MARKINGS.get(lane.right_marking, 0)


def _reference(lanes: tuple[Lane, ...], lane: Lane) -> Lane:
    """The lane of this road along which dashes are counted, so that both sides of a line agree."""
    for _ in range(16):
        if lane.left < 0:
            break
        lane = lanes[lane.left]
    return lanes[min(lane.id, lane.opposite)] if lane.opposite >= 0 else lane


def _distance_along(points: np.ndarray, reference: Lane) -> np.ndarray:
    """(P,) m along `reference` of the places on it nearest to points (P, 3)."""
    path = reference.points[:, :2]
    step = np.diff(path, axis=0)
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-6)
    nearest = np.minimum(cKDTree(path).query(points[:, :2])[1], len(path) - 2)
    along = ((points[:, :2] - path[nearest]) * step[nearest]).sum(axis=1) / length[nearest]
    return np.concatenate([[0.0], np.cumsum(length)])[nearest] + along


def _lane_mesh(lane: Lane, reference: Lane) -> Mesh:
    keep = _thinned(lane.points)
    left, right = (edge[keep] for edge in lane_edges(lane))
    s = _distance_along(lane.points[keep], reference)
    width = lane.widths[keep]
    data = np.zeros((len(keep), 2, 4))
    data[:, :, 0] = s[:, None]
    data[:, 1, 1] = width
    data[:, :, 2] = width[:, None]
    data[:, :, 3] = _marking_code(lane)
    return ribbon(left, right, ASPHALT, data)


def _junction_fills(town: Town) -> list[Mesh]:
    """Asphalt below the connecting lanes of each junction, between them."""
    fills = []
    members: dict[int, list[np.ndarray]] = {}
    for lane in town.lanes.lanes:
        if lane.junction >= 0:
            members.setdefault(lane.junction, []).extend(lane_edges(lane))
    for edges in members.values():
        points = np.concatenate(edges)
        hull = points[ConvexHull(points[:, :2]).vertices]
        hull[:, 2] = points[:, 2].mean() if np.ptp(points[:, 2]) < 0.3 else points[:, 2].min()
        fills.append(fan(hull - [0.0, 0.0, 0.02], ASPHALT))
    return fills


def _gutters(town: Town) -> list[Mesh]:
    """Asphalt beside the outer edge of each outer lane; wide where cars park."""
    parking = np.array([spot.position for spot in town.parking]).reshape(-1, 3)
    tree = cKDTree(parking[:, :2]) if len(parking) else None
    strips = []
    for lane in town.lanes.lanes:
        if lane.right >= 0 or lane.junction >= 0:
            continue
        keep = _thinned(lane.points)
        edge, out = lane_edges(lane)[1][keep], -left_normals(lane.points)[keep]
        reach = np.full(len(keep), GUTTER)
        if tree is not None:
            near, _ = tree.query(edge[:, :2] + 1.2 * out[:, :2])
            reach[near < 5.0] = 2.7
        outer = edge + out * reach[:, None]
        strips.append(ribbon(edge - [0, 0, 0.01], outer - [0, 0, 0.01], ASPHALT))
    return strips


def _divided(triangles: np.ndarray) -> np.ndarray:
    """Triangles (T, 3, 3) m halved at their longest edges, which neighbours share, until none exceeds SEGMENT."""
    while True:
        edges = np.linalg.norm((np.roll(triangles, -1, axis=1) - triangles)[..., :2], axis=-1)
        large = edges.max(axis=1) > SEGMENT
        if not large.any():
            return triangles
        parts, k = triangles[large], edges[large].argmax(axis=1)
        rows = np.arange(len(parts))
        a, b, c = (parts[rows, (k + i) % 3] for i in range(3))
        middle = 0.5 * (a + b)
        halves = [np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)]
        triangles = np.concatenate([triangles[~large], *halves])


def _surface(town: Town) -> Mesh:
    """All asphalt of the town, a little below its lanes."""
    position = _divided(town.road_triangles).reshape(-1, 3)
    road = np.concatenate([lane.points for lane in town.lanes.lanes])
    position[:, 2] = road[cKDTree(road[:, :2]).query(position[:, :2])[1], 2] - 0.03
    n = len(position)
    up, color = np.tile([0.0, 0.0, 1.0], (n, 1)), np.tile(ASPHALT, (n, 1))
    return Mesh(position, up, color, np.zeros((n, 4)), np.arange(n).reshape(-1, 3))


def road_mesh(town: Town) -> Mesh:
    """Asphalt with lane markings."""
    every = town.lanes.lanes
    lanes = [_lane_mesh(lane, _reference(every, lane)) for lane in every]
    below = [_surface(town)] if town.wide_asphalt else [*_junction_fills(town), *_gutters(town)]
    return merge([*below, *lanes])


def _across(lane: Lane, back: float, length: float) -> np.ndarray:
    """(4, 3) corners of a bar across the end of a lane, `back` m before it and `length` m along it."""
    end, before = lane.points[-1], lane.points[max(len(lane.points) - 4, 0)]
    along = (end - before) / max(float(np.linalg.norm(end - before)), 1e-6)
    side = np.array([-along[1], along[0], 0.0]) * (lane.widths[-1] / 2.0 - 0.1)
    near, far = end - along * (back + length), end - along * back
    return np.array([near - side, far - side, far + side, near + side]) + [0.0, 0.0, 0.012]


def _zebra(crossing: Crossing, kerb: float) -> Mesh:
    walk = crossing.end - crossing.start
    length = float(np.linalg.norm(walk[:2]))
    walk = walk / max(length, 1e-6)
    side = np.array([-walk[1], walk[0], 0.0]) * crossing.width / 2.0
    lift = np.array([0.0, 0.0, 0.014 - kerb])
    corners = np.array([crossing.start - side, crossing.end - side, crossing.end + side, crossing.start + side]) + lift
    mesh = facets(corners, ASPHALT, (0.0, 0.5, 1.0, 0.0))
    return mesh.with_data(0, np.array([0.0, length, length, 0.0]))


def paint_mesh(town: Town) -> Mesh:
    """Zebra crossings and stop lines, a little above the road."""
    controlled = {i for light in town.lights for i in light.lanes} | {i for sign in town.stop_signs for i in sign.lanes}
    lines = [facets(_across(town.lanes.lanes[i], 0.2, 0.5), ASPHALT) for i in sorted(controlled)]
    road = cKDTree(np.concatenate([lane.points for lane in town.lanes.lanes])[:, :2])
    heights = np.concatenate([lane.points[:, 2] for lane in town.lanes.lanes])
    zebras = []
    for crossing in town.crossings:
        middle = (crossing.start + crossing.end) / 2.0
        zebras.append(_zebra(crossing, max(float(middle[2] - heights[road.query(middle[:2])[1]]), 0.0)))
    return merge([*lines, *zebras])


def _triangulated(polygon: np.ndarray) -> np.ndarray:
    triangulator = core.Triangulator()
    for x, y, _ in polygon:
        triangulator.add_polygon_vertex(triangulator.add_vertex(float(x), float(y)))
    triangulator.triangulate()
    count = triangulator.get_num_triangles()
    corners = (triangulator.get_triangle_v0, triangulator.get_triangle_v1, triangulator.get_triangle_v2)
    return np.array([[corner(i) for corner in corners] for i in range(count)], int).reshape(-1, 3)


def _outline(polygon: np.ndarray, ground: float) -> np.ndarray:
    """Counter-clockwise ring (V, 3) of a sidewalk's top; `ground` is the height of the road beside it."""
    ring = np.asarray(polygon, float)
    if np.allclose(ring[0], ring[-1]):
        ring = ring[:-1]
    x, y = ring[:, 0], ring[:, 1]
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()
    ring = (ring if area > 0 else ring[::-1]).copy()
    if ring[:, 2].mean() - ground < 0.03:
        ring[:, 2] += KERB_HEIGHT
    return ring


def _top(ring: np.ndarray) -> Mesh:
    n = len(ring)
    triangles = np.array([[0, 1, 2], [0, 2, 3]]) if n == 4 else _triangulated(ring)
    data = np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
    return Mesh(ring, np.tile([0.0, 0.0, 1.0], (n, 1)), np.tile(PAVING, (n, 1)), data, triangles)


def _kerbs(rings: list[np.ndarray], road: np.ndarray, tree: cKDTree) -> Mesh:
    """Kerb stones along the edges that face the road; edges that two sidewalks share have none."""
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    middle = (start + end)[:, :2] / 2.0
    along = (end - start)[:, :2]
    outward = np.column_stack([along[:, 1], -along[:, 0]]) / np.maximum(
        np.linalg.norm(along, axis=1, keepdims=True), 1e-9
    )
    distance, nearest = tree.query(middle)
    faces_road = ((road[nearest, :2] - middle) * outward).sum(axis=1) > 0.5 * distance
    shared = cKDTree(middle).query(middle, k=2)[0][:, 1] < 0.05
    keep = faces_road & ~shared
    start, end = start[keep], end[keep]
    inward = np.column_stack([-0.16 * outward[keep], np.zeros(keep.sum())])
    low, lift = np.array([0.0, 0.0, KERB_HEIGHT + 0.08]), np.array([0.0, 0.0, 0.006])
    walls = facets(np.stack([start - low, end - low, end, start], axis=1), KERB)
    rims = facets(np.stack([start + lift, end + lift, end + inward + lift, start + inward + lift], axis=1), KERB)
    return merge([walls, rims])


def paving_mesh(town: Town) -> Mesh:
    """Sidewalks and their kerbs."""
    if not town.sidewalk_polygons:
        return merge([])
    road = np.concatenate([lane.points for lane in town.lanes.lanes])
    tree = cKDTree(road[:, :2])
    rings = []
    for polygon in town.sidewalk_polygons:
        ground = float(np.mean(road[tree.query(np.asarray(polygon)[:, :2])[1], 2]))
        rings.append(_outline(polygon, ground))
    return welded(merge([*map(_top, rings), _kerbs(rings, road, tree)]))


def terrain_mesh(town: Town) -> Mesh:
    """Grass under and around everything, following the height of the roads."""
    points = np.concatenate([lane.points for lane in town.lanes.lanes])
    low, high = points[:, :2].min(axis=0) - TERRAIN_MARGIN, points[:, :2].max(axis=0) + TERRAIN_MARGIN
    flat = np.ptp(points[:, 2]) < 0.3
    cell = TERRAIN_CELL if flat else 6.0
    nx, ny = (np.ceil((high - low) / cell).astype(int) + 1).tolist()
    grid = np.stack(np.meshgrid(np.arange(nx), np.arange(ny), indexing="ij"), axis=-1).reshape(-1, 2) * cell + low
    distance, index = cKDTree(points[:, :2]).query(grid, k=8)
    drop = 0.06 if flat else 0.10 + 0.05 * np.clip(distance[:, 0] - 4.0, 0.0, 20.0) + 0.3 * (distance[:, 0] < 8.0)
    height = points[index, 2].min(axis=1) - drop
    i = (np.arange(nx - 1)[:, None] * ny + np.arange(ny - 1)).reshape(-1, 1)
    triangles = np.concatenate([i + [0, ny, ny + 1], i + [0, ny + 1, 1]])
    n = len(grid)
    up = np.tile([0.0, 0.0, 1.0], (n, 1))
    return Mesh(np.column_stack([grid, height]), up, np.tile(GRASS, (n, 1)), np.zeros((n, 4)), triangles)
