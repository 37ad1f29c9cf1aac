"""Meshes of what stands beside the road and never moves: buildings, trees, lamps, benches, signs."""

from __future__ import annotations

import numpy as np

from rsd_world.render.mesh import Mesh, Rgb, blob, box, cone, facets, fan, loft, merge, tube
from rsd_world.roads.town import Building, Prop, StopSign

FACADES: tuple[Rgb, ...] = (
    (0.40, 0.19, 0.12), (0.52, 0.47, 0.38), (0.36, 0.38, 0.40), (0.55, 0.40, 0.24), (0.62, 0.60, 0.55),
    (0.28, 0.30, 0.36), (0.46, 0.28, 0.20), (0.50, 0.52, 0.44),
)  # fmt: skip
ROOF: Rgb = (0.13, 0.12, 0.12)
STEEL: Rgb = (0.16, 0.17, 0.18)
WOOD: Rgb = (0.20, 0.11, 0.05)
BARK: Rgb = (0.11, 0.07, 0.04)
LEAVES: tuple[Rgb, ...] = ((0.055, 0.15, 0.025), (0.085, 0.19, 0.030), (0.035, 0.11, 0.030), (0.13, 0.19, 0.035))
SIGN_RED: Rgb = (0.62, 0.01, 0.02)
WHITE: Rgb = (0.85, 0.85, 0.85)
LAMP_HEAD = 1.0  # scenery shader: shines at night


def _seed(position: np.ndarray) -> int:
    """A number that differs from place to place and never between runs."""
    x, y = np.round(np.asarray(position)[:2] * 10.0).astype(int)
    return int((x * 73856093 ^ y * 19349663) & 0x7FFFFFFF)


def building_walls(building: Building) -> Mesh:
    """The four facades; data is u, height, style + seed."""
    length, width, height = building.size
    ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2]
    corners, u = [], []
    for i in range(4):
        a, b = ring[i], ring[(i + 1) % 4]
        corners.append([[*a, -0.3], [*b, -0.3], [*b, height], [*a, height]])
        span = float(np.linalg.norm(b - a))
        cells = max(round(span / 2.6), 1) * 2.6
        u.extend([0.0, cells, cells, 0.0])
    seed = _seed(building.center)
    color = np.array(FACADES[building.style % len(FACADES)]) * (0.85 + 0.3 * (seed % 97) / 97.0)
    mesh = facets(np.array(corners), tuple(color))
    v = mesh.position[:, 2].copy()
    style = building.style % 4 + (seed % 89) / 90.0
    return mesh.with_data(0, np.array(u)).with_data(1, v).with_data(2, style).placed(building.center, building.yaw)


def building_roof(building: Building) -> Mesh:
    """Flat roof with a parapet and a box on it, or a gabled roof on low houses."""
    length, width, height = building.size
    seed = _seed(building.center)
    if height < 9.0 and building.style % 2 == 0:
        roof = _gable(length, width, height)
    else:
        hut = box(
            (length * 0.15, 0, height + 0.9), (min(4.0, length / 3), min(3.0, width / 3), 1.8), (0.25, 0.25, 0.25)
        )
        ring = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * [length / 2 + 0.15, width / 2 + 0.15]
        low = np.column_stack([ring, np.full(4, height - 0.05)])
        roof = merge([loft(low, low + [0, 0, 0.45], ROOF), hut] if seed % 3 else [loft(low, low + [0, 0, 0.45], ROOF)])
    return roof.placed(building.center, building.yaw)


def _gable(length: float, width: float, height: float) -> Mesh:
    x, y, rise = length / 2 + 0.3, width / 2 + 0.4, min(width * 0.35, 3.5)
    e, r = height - 0.05, height + rise
    slopes = [[[x, -y, e], [x, 0, r], [-x, 0, r], [-x, -y, e]], [[-x, y, e], [-x, 0, r], [x, 0, r], [x, y, e]]]
    ends = [fan(np.array([[x, -y, e], [x, y, e], [x, 0, r]]), (0.4, 0.34, 0.27)),
            fan(np.array([[-x, y, e], [-x, -y, e], [-x, 0, r]]), (0.4, 0.34, 0.27))]  # fmt: skip
    return merge([facets(np.array(slopes), (0.23, 0.085, 0.055)), *ends])


def _tree(prop: Prop) -> Mesh:
    seed, h = _seed(prop.position), prop.height
    leaf = np.array(LEAVES[seed % len(LEAVES)])
    trunk = tube((0, 0, -0.1), (0, 0, 0.5 * h), 0.028 * h, BARK)
    crown = []
    if seed % 5 == 0:
        for k, (z, r) in enumerate(((0.20, 0.24), (0.42, 0.19), (0.63, 0.13))):
            crown.append(cone((0, 0, z * h), r * h, 0.36 * h, tuple(np.array(LEAVES[2]) * (0.8 + 0.15 * k))))
    else:
        for k, (dx, dy, z, r) in enumerate(
            ((0.10, 0.02, 0.58, 0.25), (-0.09, 0.08, 0.68, 0.23), (0.0, -0.09, 0.80, 0.19))
        ):
            ball = blob((dx * h, dy * h, z * h), (r * h, r * h, r * h * 0.85), tuple(leaf * (0.8 + 0.2 * k)))
            shade = 0.85 + 0.30 * ball.normal[:, 2:3]  # darker below
            crown.append(Mesh(ball.position, ball.normal, ball.color * shade, ball.data, ball.triangles))
    return merge([trunk, *crown])


def _bush(prop: Prop) -> Mesh:
    h, leaf = prop.height, LEAVES[_seed(prop.position) % 3]
    return blob((0, 0, 0.4 * h), (0.7 * h, 0.6 * h, 0.6 * h), leaf)


def _lamp(prop: Prop) -> Mesh:
    h = prop.height
    pole = tube((0, 0, 0), (0, 0, h), 0.08, STEEL)
    arm = tube((0, 0, h - 0.05), (1.6, 0, h + 0.1), 0.05, STEEL, sides=3)
    return merge([pole, arm, box((1.8, 0, h + 0.08), (0.8, 0.32, 0.14), (0.8, 0.8, 0.78), (LAMP_HEAD, 0, 0, 0))])


def _bench(prop: Prop) -> Mesh:
    seat, back = box((0, 0, 0.45), (0.5, 1.7, 0.07), WOOD), box((-0.22, 0, 0.75), (0.07, 1.7, 0.4), WOOD)
    legs = [box((0, y, 0.21), (0.4, 0.08, 0.42), STEEL) for y in (-0.7, 0.7)]
    return merge([seat, back, *legs])


def _sign(prop: Prop) -> Mesh:
    h = prop.height
    plate = _disc(0.38, 12, h - 0.35, (0.04, 0.16, 0.60), 0.05)
    return merge([tube((0, 0, 0), (0, 0, h), 0.035, STEEL), plate])


def _disc(radius: float, sides: int, z: float, color: Rgb, x: float, turn: float = 0.0) -> Mesh:
    """A disc that faces +x."""
    angle = turn + 2 * np.pi * np.arange(sides) / sides
    ring = np.column_stack([np.full(sides, x), radius * np.cos(angle), z + radius * np.sin(angle)])
    return merge([fan(ring, color), fan(ring[::-1] - [0.02, 0, 0], STEEL)])


def stop_sign(sign: StopSign) -> Mesh:
    """A red octagon with white rim and bar, facing the approach."""
    z, turn = 2.45, np.pi / 8
    parts = [tube((0, 0, 0), (0, 0, 2.9), 0.045, STEEL), _disc(0.52, 8, z, WHITE, 0.06, turn),
             _disc(0.46, 8, z, SIGN_RED, 0.075, turn)]  # fmt: skip
    for y in (-0.27, -0.09, 0.09, 0.27):
        glyph = [
            [0.09, y - 0.055, z - 0.12],
            [0.09, y + 0.055, z - 0.12],
            [0.09, y + 0.055, z + 0.12],
            [0.09, y - 0.055, z + 0.12],
        ]
        parts.append(facets(np.array([glyph]), WHITE))
    return merge(parts).placed(sign.position, sign.yaw)


_PROPS = {"tree": _tree, "bush": _bush, "lamp": _lamp, "bench": _bench, "sign": _sign}


def prop_mesh(prop: Prop) -> Mesh:
    """One piece of small scenery, placed; raises ValueError for an unknown kind."""
    if prop.kind not in _PROPS:
        raise ValueError(f"prop kind {prop.kind!r} is unknown; choose one of {', '.join(_PROPS)}")
    return _PROPS[prop.kind](prop).placed(prop.position, prop.yaw)
