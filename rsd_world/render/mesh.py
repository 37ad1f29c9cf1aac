"""Triangle meshes in numpy, built from few primitives, and their way into Panda3D."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from panda3d import core

Rgb = tuple[float, float, float]

_VERTEX = np.dtype([("vertex", "<f4", 3), ("normal", "<f4", 3), ("color", "<f4", 3), ("data", "<f4", 4)])


@dataclass(frozen=True)
class Mesh:
    """V vertices, T triangles. `data` holds four numbers that the material's shader gives a meaning."""

    position: np.ndarray  # (V, 3) m
    normal: np.ndarray  # (V, 3) unit
    color: np.ndarray  # (V, 3) linear RGB
    data: np.ndarray  # (V, 4)
    triangles: np.ndarray  # (T, 3) int, counter-clockwise seen from outside

    def placed(self, position: np.ndarray, yaw: float = 0.0) -> Mesh:
        """The mesh turned by `yaw` rad about z, then moved to `position` (3,) m."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return Mesh(self.position @ turn + position, self.normal @ turn, self.color, self.data, self.triangles)

    def with_data(self, column: int, value: float | np.ndarray) -> Mesh:
        """The mesh with one of the four data columns replaced."""
        data = self.data.copy()
        data[:, column] = value
        return Mesh(self.position, self.normal, self.color, data, self.triangles)

    def taking(self, vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
        """A mesh of some of the vertices, with triangles between them."""
        columns = self.position[vertices], self.normal[vertices], self.color[vertices], self.data[vertices]
        return Mesh(*columns, triangles=triangles)


def merge(meshes: Iterable[Mesh]) -> Mesh:
    """All meshes as one."""
    parts = list(meshes)
    if not parts:
        nothing = np.zeros((0, 3))
        return Mesh(nothing, nothing, nothing, np.zeros((0, 4)), np.zeros((0, 3), int))
    offsets = np.cumsum([0] + [len(p.position) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.position for p in parts]),
        np.concatenate([p.normal for p in parts]),
        np.concatenate([p.color for p in parts]),
        np.concatenate([p.data for p in parts]),
        np.concatenate([p.triangles + o for p, o in zip(parts, offsets, strict=True)]),
    )


def _uniform(positions: np.ndarray, normals: np.ndarray, color: Rgb, data: tuple, triangles: np.ndarray) -> Mesh:
    n = len(positions)
    return Mesh(
        positions, normals, np.tile(color, (n, 1)).astype(float), np.tile(data, (n, 1)).astype(float), triangles
    )


def facets(corners: np.ndarray, color: Rgb, data: tuple = (0, 0, 0, 0)) -> Mesh:
    """Flat quads (Q, 4, 3) m, each counter-clockwise seen from its outside."""
    corners = np.asarray(corners, float).reshape(-1, 4, 3)
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    first = 4 * np.arange(len(corners))[:, None]
    triangles = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]])
    return _uniform(corners.reshape(-1, 3), np.repeat(normal, 4, axis=0), color, data, triangles)


def fan(ring: np.ndarray, color: Rgb, data: tuple = (0, 0, 0, 0)) -> Mesh:
    """A flat convex polygon (V, 3) m, counter-clockwise seen from its outside."""
    ring = np.asarray(ring, float)
    normal = np.cross(ring, np.roll(ring, -1, axis=0)).sum(axis=0)
    normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
    i = np.arange(1, len(ring) - 1)
    triangles = np.stack([np.zeros_like(i), i, i + 1], axis=1)
    return _uniform(ring, np.tile(normal, (len(ring), 1)), color, data, triangles)


def loft(first: np.ndarray, last: np.ndarray, color: Rgb, data: tuple = (0, 0, 0, 0), caps: str = "both") -> Mesh:
    """A solid between two rings (V, 3) m; `first` runs counter-clockwise seen along first -> last.

    `caps` is both, last or none.
    """
    nxt = np.roll(np.arange(len(first)), -1)
    walls = facets(np.stack([first[nxt], first, last, last[nxt]], axis=1), color, data)
    parts = [walls]
    if caps in ("both", "last"):
        parts.append(fan(last[::-1], color, data))
    if caps == "both":
        parts.append(fan(first, color, data))
    return merge(parts)


def box(center: tuple, size: tuple, color: Rgb, data: tuple = (0, 0, 0, 0), taper: tuple = (1.0, 1.0)) -> Mesh:
    """An upright box around `center` m; `taper` scales length and width at the top."""
    ring = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2.0
    bottom = np.column_stack([ring * size[:2], np.full(4, -size[2] / 2)])
    top = np.column_stack([ring * size[:2] * np.asarray(taper), np.full(4, size[2] / 2)])
    return loft(bottom + center, top + center, color, data)


def tube(start: tuple, end: tuple, radius: float, color: Rgb, data: tuple = (0, 0, 0, 0), sides: int = 4) -> Mesh:
    """A smooth straight rod from `start` to `end`, m, open at its ends."""
    ring, low, high = _ring(start, end, sides)
    i = np.arange(sides)
    j = (i + 1) % sides
    triangles = np.concatenate([np.stack([j, i, sides + i], 1), np.stack([j, sides + i, sides + j], 1)])
    positions = np.concatenate([low + radius * ring, high + radius * ring])
    return _uniform(positions, np.concatenate([ring, ring]), color, data, triangles)


def drum(start: tuple, end: tuple, radius: float, color: Rgb, data: tuple = (0, 0, 0, 0), sides: int = 10) -> Mesh:
    """A closed cylinder with sharp edges from `start` to `end`, m."""
    ring, low, high = _ring(start, end, sides)
    return loft(low + radius * ring, high + radius * ring, color, data)


def cone(center: tuple, radius: float, height: float, color: Rgb, data: tuple = (0, 0, 0, 0), sides: int = 7) -> Mesh:
    """A smooth upright cone on its base's `center`, m, open below."""
    ring, start, _ = _ring(center, (center[0], center[1], center[2] + 1.0), sides)
    i = np.arange(sides)
    triangles = np.stack([(i + 1) % sides, i, np.full(sides, sides)], 1)
    slope = np.array([0.0, 0.0, radius / height])
    normals = np.concatenate([ring + slope, [[0.0, 0.0, 1.0]]])
    positions = np.concatenate([start + radius * ring, [start + [0.0, 0.0, height]]])
    return _uniform(positions, normals / np.linalg.norm(normals, axis=1, keepdims=True), color, data, triangles)


def _ring(start: tuple, end: tuple, sides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors around the axis, counter-clockwise seen along it, and both ends as arrays."""
    low, high = np.asarray(start, float), np.asarray(end, float)
    axis = (high - low) / np.linalg.norm(high - low)
    u = np.cross(axis, [1.0, 0.0, 0.0] if abs(axis[0]) < 0.9 else [0.0, 1.0, 0.0])
    u /= np.linalg.norm(u)
    angle = -2.0 * np.pi * np.arange(sides) / sides
    return np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * np.cross(axis, u), low, high


def welded(mesh: Mesh) -> Mesh:
    """The mesh with equal vertices made one."""
    rows = np.concatenate([mesh.position, mesh.normal, mesh.color, mesh.data], axis=1)
    _, first, index = np.unique(np.round(rows, 2), axis=0, return_index=True, return_inverse=True)
    return mesh.taking(first, index.reshape(-1)[mesh.triangles])


def blob(center: tuple, radii: tuple, color: Rgb, data: tuple = (0, 0, 0, 0), sides: int = 6) -> Mesh:
    """A smooth low-poly ellipsoid."""
    turn = 2.0 * np.pi * np.arange(sides) / sides
    rows = [np.column_stack([np.cos(turn + k) * np.cos(e), np.sin(turn + k) * np.cos(e), np.full(sides, np.sin(e))])
            for k, e in ((0.0, -0.5), (np.pi / sides, 0.5))]  # fmt: skip
    unit = np.concatenate([[[0.0, 0.0, -1.0]], *rows, [[0.0, 0.0, 1.0]]])
    i = np.arange(sides)
    j = (i + 1) % sides
    low, high, top = 1 + i, 1 + sides + i, np.full(sides, 2 * sides + 1)
    low_next, high_next = 1 + j, 1 + sides + j
    triangles = np.concatenate([
        np.stack([np.zeros_like(i), low_next, low], 1), np.stack([low, low_next, high], 1),
        np.stack([low_next, high_next, high], 1), np.stack([high, high_next, top], 1),
    ])  # fmt: skip
    return _uniform(unit * radii + center, unit, color, data, triangles)


def split_by_tile(mesh: Mesh, tile: float) -> Iterator[Mesh]:
    """The mesh cut into square tiles of `tile` m by triangle centres, so that each can be culled alone."""
    if not len(mesh.triangles):
        return
    cells = np.floor(mesh.position[mesh.triangles, :2].mean(axis=1) / tile).astype(int)
    _, owner = np.unique(cells, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    for k in range(owner.max() + 1):
        triangles = mesh.triangles[owner == k]
        used, index = np.unique(triangles, return_inverse=True)
        yield mesh.taking(used, index.reshape(-1, 3))


def _vertex_format() -> core.GeomVertexFormat:
    array = core.GeomVertexArrayFormat()
    array.add_column("vertex", 3, core.Geom.NT_float32, core.Geom.C_point)
    array.add_column("normal", 3, core.Geom.NT_float32, core.Geom.C_normal)
    array.add_column("tint", 3, core.Geom.NT_float32, core.Geom.C_other)
    array.add_column("data", 4, core.Geom.NT_float32, core.Geom.C_other)
    return core.GeomVertexFormat.register_format(core.GeomVertexFormat(array))


def geom_node(mesh: Mesh, name: str) -> core.GeomNode:
    """The mesh as a Panda3D node."""
    packed = np.empty(len(mesh.position), _VERTEX)
    for field in ("vertex", "normal", "color", "data"):
        packed[field] = getattr(mesh, "position" if field == "vertex" else field)
    vertices = core.GeomVertexData(name, _vertex_format(), core.Geom.UH_static)
    vertices.unclean_set_num_rows(len(packed))
    memoryview(vertices.modify_array(0)).cast("B")[:] = packed.tobytes()
    primitive = core.GeomTriangles(core.Geom.UH_static)
    primitive.set_index_type(core.Geom.NT_uint32)
    indices = primitive.modify_vertices()
    indices.unclean_set_num_rows(mesh.triangles.size)
    memoryview(indices).cast("B")[:] = mesh.triangles.astype("<u4").tobytes()
    geom = core.Geom(vertices)
    geom.add_primitive(primitive)
    node = core.GeomNode(name)
    node.add_geom(geom)
    return node
