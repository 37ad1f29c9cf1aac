"""Meshes of vehicles, built to the exact size of an actor.

x forward, y left, z up, origin on the ground below the centre.

Column 0 of `data` is the part, which tells the actor shader what the surface is and how it moves.
"""

from __future__ import annotations

import numpy as np

from rsd_world.render.mesh import Mesh, Rgb, box, drum, facets, fan, loft, merge

PAINT, FIXED, GLASS, HEADLAMP, TAIL_LAMP = (0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 0, 0), (4, 0, 0, 0)
BLINKER_LEFT, BLINKER_RIGHT, SIREN_LEFT, SIREN_RIGHT = (5, 0, 0, 0), (6, 0, 0, 0), (7, 0, 0, 0), (8, 0, 0, 0)
DOOR_PAINT, DOOR_GLASS, DOOR_INSIDE, DOORWAY = 11, 12, 13, (1, 0, 0, 0)
WHITE: Rgb = (1.0, 1.0, 1.0)
PANE: Rgb = (0.012, 0.015, 0.020)
RUBBER: Rgb = (0.012, 0.012, 0.013)
TRIM: Rgb = (0.022, 0.022, 0.024)
RIM: Rgb = (0.32, 0.33, 0.35)

Size = tuple[float, float, float]


def _profile(points: list[tuple[float, float]], half_width: float, top_width: float, data: tuple) -> Mesh:
    """A body extruded from a convex side outline (x, z), from the front bottom up and back; narrower at the top."""
    outline = np.array(points)
    low, high = outline[:, 1].min(), outline[:, 1].max()
    half = half_width + (top_width - half_width) * ((outline[:, 1] - low) / (high - low)) ** 2
    right = np.column_stack([outline[:, 0], -half, outline[:, 1]])
    left = np.column_stack([outline[:, 0], half, outline[:, 1]])
    return loft(right, left, WHITE, data)


def wheel(x: float, y: float, radius: float, width: float = 0.22) -> Mesh:
    """A wheel with a bright rim on its outside."""
    side = 1.0 if y > 0 else -1.0
    outer = y + side * 0.01
    tyre = drum((x, y - side * width, radius), (x, outer, radius), radius, RUBBER, FIXED)
    angle = -side * 2 * np.pi * np.arange(7) / 7
    hub = np.column_stack(
        [x + 0.6 * radius * np.cos(angle), np.full(7, outer + side * 0.01), radius + 0.6 * radius * np.sin(angle)]
    )
    return merge([tyre, fan(hub, RIM, FIXED)])


def _greenhouse(
    base: tuple, roof: tuple, z0: float, z1: float, half0: float, half1: float
) -> tuple[Mesh, list[np.ndarray]]:
    """The cabin: painted frustum, and its four faces (front, back, left, right) as quads for the windows."""
    (b0, b1), (r0, r1) = base, roof  # rear x, front x
    ring = np.array([[b0, -half0, z0], [b0, half0, z0], [b1, half0, z0], [b1, -half0, z0]])
    top = np.array([[r0, -half1, z1], [r0, half1, z1], [r1, half1, z1], [r1, -half1, z1]])
    body = loft(ring, top, WHITE, PAINT, caps="last")
    faces = [np.array([ring[a], ring[b], top[b], top[a]]) for a, b in ((3, 2), (1, 0), (2, 1), (0, 3))]
    return body, faces


def _pane(face: np.ndarray, left: float, right: float, low: float, high: float, data: tuple = GLASS) -> Mesh:
    """A window in a quad face (4, 3): shares of its width and height, a little proud of it."""
    a, b, c, d = face
    normal = np.cross(c - a, d - b)
    normal /= np.linalg.norm(normal)

    def at(u: float, v: float) -> np.ndarray:
        return (a + (b - a) * u) * (1 - v) + (d + (c - d) * u) * v + 0.012 * normal

    return facets(np.array([[at(left, low), at(right, low), at(right, high), at(left, high)]]), PANE, data)


def _lamp(x: float, y: float, z: float, w: float, h: float, data: tuple, color: Rgb) -> Mesh:
    """A lamp on the front (x > 0) or the rear face."""
    side = 1.0 if x > 0 else -1.0
    quad = [
        [x, y - side * w / 2, z - h / 2],
        [x, y + side * w / 2, z - h / 2],
        [x, y + side * w / 2, z + h / 2],
        [x, y - side * w / 2, z + h / 2],
    ]
    return facets(np.array([quad]), color, data)


def _lamps(size: Size, front_z: float, rear_z: float) -> list[Mesh]:
    length, width, _ = size
    x, y, parts = length / 2, width / 2, []
    for side, blinker in ((1, BLINKER_LEFT), (-1, BLINKER_RIGHT)):
        parts += [
            _lamp(x + 0.012, side * (y - 0.30), front_z, 0.36, 0.15, HEADLAMP, (0.75, 0.76, 0.78)),
            _lamp(x + 0.012, side * (y - 0.08), front_z, 0.10, 0.15, blinker, (0.45, 0.20, 0.02)),
            _lamp(-x - 0.012, side * (y - 0.24), rear_z, 0.34, 0.17, TAIL_LAMP, (0.26, 0.008, 0.008)),
            _lamp(-x - 0.014, side * (y - 0.08), rear_z, 0.14, 0.17, blinker, (0.35, 0.13, 0.02)),
        ]
    parts.append(_lamp(x + 0.012, 0.0, front_z - 0.22, width * 0.55, 0.16, FIXED, TRIM))
    parts.append(_lamp(-x - 0.012, 0.0, rear_z - 0.24, 0.5, 0.12, FIXED, (0.7, 0.7, 0.66)))
    return parts


def _door(hinge: float, back: float, y: float, low: float, belt: float, top: float, top_y: float) -> Mesh:
    """The left front door, a slab with its window; it turns about the hinge, with a dark doorway behind it."""
    pivot = (hinge, y, 0.0)
    out = y + 0.012
    panel = np.array([[hinge, out, low], [back, out, low], [back, out, belt], [hinge, out, belt]])
    pane = np.array([
        [hinge - 0.25, out, belt], [back + 0.04, out, belt], [back + 0.06, top_y + 0.02, top],
        [hinge - 0.55, top_y + 0.02, top],
    ])  # fmt: skip
    doorway = panel - [0.0, 0.008, 0.0]
    return merge([
        facets(panel[None], WHITE, (DOOR_PAINT, *pivot)), facets(pane[None], PANE, (DOOR_GLASS, *pivot)),
        facets(panel[None, ::-1], TRIM, (DOOR_INSIDE, *pivot)), facets(pane[None, ::-1], PANE, (DOOR_GLASS, *pivot)),
        facets(doorway[None], (0.008, 0.008, 0.008), DOORWAY),
    ])  # fmt: skip


def car(size: Size) -> Mesh:
    """A saloon, a hatchback (short) or an off-roader (tall)."""
    length, width, height = size
    x, y, tall, short = length / 2, width / 2, height > 1.6, length < 4.2
    low, belt = 0.20 + 0.05 * tall, height * 0.60
    rear_deck = belt if (short or tall) else belt * 0.97
    body = _profile([(x, low), (x, belt * 0.70), (x - 0.10, belt * 0.80), (x * 0.50, belt * 0.97), (x * 0.38, belt),
                     (-x * 0.80, rear_deck), (-x + 0.05, rear_deck * 0.94), (-x, belt * 0.6), (-x, low)],
                    y, y * 0.95, PAINT)  # fmt: skip
    rear = (-x + 0.05, -x + 0.22 + 0.2 * short) if (short or tall) else (-x * 0.72, -x * 0.40)
    cabin, (front, back, left, right) = _greenhouse(
        (rear[0], x * 0.44), (rear[1], x * 0.10), belt - 0.02, height, y * 0.94, y * 0.76
    )
    panes = [_pane(front, 0.06, 0.94, 0.10, 0.90), _pane(back, 0.08, 0.92, 0.16, 0.86)]
    for face, mirrored in ((left, False), (right, True)):
        for u0, u1 in ((0.09, 0.46), (0.50, 0.90)):
            u0, u1 = (1 - u1, 1 - u0) if mirrored else (u0, u1)
            panes.append(_pane(face, u0, u1, 0.12, 0.86))
    sill = box((0, 0, low + 0.04), (length * 0.99, width * 0.985, 0.16), TRIM, FIXED)
    r = min(0.24 * height, 0.38)
    wheels = [wheel(a * x * 0.60, s * y, r) for a in (-1, 1) for s in (-1, 1)]
    mirrors = [box((x * 0.34, s * (y - 0.01), belt + 0.06), (0.12, 0.20, 0.13), WHITE, PAINT) for s in (-1, 1)]
    door = _door(x * 0.40, -x * 0.06, y, low + 0.12, belt, height * 0.93, y * 0.80)
    return _clamped(
        merge([body, cabin, *panes, sill, *wheels, *mirrors, *_lamps(size, belt * 0.68, belt * 0.76), door]), size
    )


def van(size: Size, ambulance: bool = False) -> Mesh:
    """A panel van; as an ambulance with stripes, crosses and flashing lights."""
    length, width, height = size
    x, y, low = length / 2, width / 2, 0.25
    bar = 0.18 if ambulance else 0.0
    top, belt = height - bar, height * 0.52
    body = _profile(
        [(x, low), (x, belt * 0.72), (x - 0.30, belt), (x * 0.52, top * 0.985), (x * 0.42, top), (-x, top), (-x, low)],
        y,
        y * 0.94,
        PAINT,
    )
    nose_a, nose_b = np.array([x - 0.30, belt]), np.array([x * 0.52, top * 0.985])
    half = 0.97 * y
    face = np.array(
        [
            [nose_a[0], -half, nose_a[1]],
            [nose_a[0], half, nose_a[1]],
            [nose_b[0], half * 0.97, nose_b[1]],
            [nose_b[0], -half * 0.97, nose_b[1]],
        ]
    )
    panes = [_pane(face, 0.05, 0.95, 0.06, 0.86)]
    for s in (1, -1):
        u0, u1 = x * 0.26, x * 0.66
        quad = [
            [u1, s * y, belt],
            [u0, s * y, belt],
            [u0, s * y * 0.97, top * 0.88],
            [u1 - 0.38, s * y * 0.97, top * 0.88],
        ]
        panes.append(facets(np.array([quad if s > 0 else quad[::-1]]), PANE, GLASS))
        panes.append(facets(_rear_pane(x, s, y, belt, top)[None], PANE, GLASS))
    sill = box((0, 0, low + 0.05), (length * 0.99, width * 0.985, 0.2), TRIM, FIXED)
    wheels = [wheel(a * x * 0.64, s * y, 0.36) for a in (-1, 1) for s in (-1, 1)]
    door = _door(x * 0.66, x * 0.22, y, low + 0.15, belt, top * 0.88, y * 0.975)
    parts = [body, *panes, sill, *wheels, *_lamps(size, belt * 0.62, belt * 0.80), door]
    return _clamped(merge(parts + (_ambulance_marks(size, top, bar) if ambulance else [])), size)


def _rear_pane(x: float, s: int, y: float, belt: float, top: float) -> np.ndarray:
    inner, outer = s * 0.06, s * (y * 0.85)
    low, high = min(inner, outer), max(inner, outer)
    return np.array(
        [
            [-x - 0.012, high, belt],
            [-x - 0.012, low, belt],
            [-x - 0.012, low, top * 0.88],
            [-x - 0.012, high, top * 0.88],
        ]
    )


def _ambulance_marks(size: Size, top: float, bar: float) -> list[Mesh]:
    length, width, _ = size
    x, y, red = length / 2, width / 2, (0.75, 0.02, 0.02)
    marks = [box((-x * 0.05, 0, top * 0.42), (length * 0.94, width + 0.03, 0.24), red, FIXED)]
    for s in (1, -1):
        for w, h in ((0.75, 0.24), (0.24, 0.75)):
            quad = np.array([[w / 2, 0, -h / 2], [-w / 2, 0, -h / 2], [-w / 2, 0, h / 2], [w / 2, 0, h / 2]]) + [
                -x * 0.45,
                s * (y + 0.02),
                top * 0.72,
            ]
            marks.append(facets((quad if s > 0 else quad[::-1])[None], red, FIXED))
        for at in (x * 0.42, -x + 0.3):
            data = SIREN_LEFT if s > 0 else SIREN_RIGHT
            marks.append(
                box(
                    (at, s * y * 0.5, top + bar / 2),
                    (0.35, y * 0.75, bar),
                    (0.04, 0.06, 0.35) if s > 0 else (0.35, 0.02, 0.02),
                    data,
                )
            )
    return marks


def truck(size: Size) -> Mesh:
    """A lorry: cab, and a cargo box behind it."""
    length, width, height = size
    x, y, low = length / 2, width / 2, 0.45
    cab_length = min(0.27 * length, 2.2)
    cab_back, cab_top, belt = x - cab_length, min(height * 0.86, height - 0.2), height * 0.45
    cab = _profile(
        [(x, low), (x, belt), (x - 0.18, cab_top * 0.97), (x - 0.4, cab_top), (cab_back, cab_top), (cab_back, low)],
        y * 0.97,
        y * 0.93,
        PAINT,
    )
    face = np.array(
        [
            [x, -y * 0.96, belt],
            [x, y * 0.96, belt],
            [x - 0.18, y * 0.93, cab_top * 0.97],
            [x - 0.18, -y * 0.93, cab_top * 0.97],
        ]
    )
    panes = [_pane(face, 0.06, 0.94, 0.06, 0.80)]
    for s in (1, -1):
        quad = [[x - 0.20, s * y * 0.975, belt], [cab_back + 0.35, s * y * 0.975, belt],
                [cab_back + 0.35, s * y * 0.965, cab_top * 0.85],
                [x - 0.34, s * y * 0.965, cab_top * 0.85]]  # fmt: skip
        panes.append(facets(np.array([quad if s > 0 else quad[::-1]]), PANE, GLASS))
    cargo_length = cab_back - 0.12 + x
    cargo = box(
        (cab_back - 0.12 - cargo_length / 2, 0, (height + 0.95) / 2),
        (cargo_length, width, height - 0.95),
        (0.62, 0.62, 0.60),
        FIXED,
    )
    stripe = box(
        (cab_back - 0.12 - cargo_length / 2, 0, 1.35), (cargo_length * 0.998, width + 0.02, 0.35), WHITE, PAINT
    )
    chassis = box((-0.1, 0, 0.72), (length * 0.96, width * 0.5, 0.4), TRIM, FIXED)
    bumper = box((-x + 0.1, 0, 0.62), (0.14, width * 0.94, 0.32), TRIM, FIXED)
    wheels = [wheel(a, s * y * 0.98, 0.48, 0.3) for a in (x - 0.75 * cab_length, -x * 0.55, -x * 0.80) for s in (-1, 1)]
    door = _door(x - 0.22, cab_back + 0.25, y * 0.97, low + 0.2, belt, cab_top * 0.85, y * 0.96)
    return _clamped(
        merge(
            [
                cab,
                *panes,
                cargo,
                stripe,
                chassis,
                bumper,
                *wheels,
                *_lamps((length, width * 0.97, height), 0.75, 0.66),
                door,
            ]
        ),
        size,
    )


def _clamped(mesh: Mesh, size: Size) -> Mesh:
    """No vertex outside the actor's box by more than a paint's thickness (mirrors, hubs)."""
    limit = np.array([size[0] / 2 + 0.015, size[1] / 2 + 0.02, size[2]])
    position = np.clip(mesh.position, [-limit[0], -limit[1], 0.0], limit)
    return Mesh(position, mesh.normal, mesh.color, mesh.data, mesh.triangles)
