"""Meshes of walkers, riders and obstacles on the road. x forward, y left, z up, origin on the ground."""

from __future__ import annotations

import numpy as np

from rsd_world.render.mesh import Mesh, Rgb, blob, box, loft, merge, tube
from rsd_world.render.vehicles import FIXED, HEADLAMP, PAINT, TAIL_LAMP

LIMB_FORWARD, LIMB_BACKWARD, SLEEVE_FORWARD, SLEEVE_BACKWARD, PEDAL = 9, 10, 19, 20, 17
SKIN: Rgb = (0.50, 0.30, 0.20)
HAIR: Rgb = (0.05, 0.03, 0.02)
TROUSERS: Rgb = (0.035, 0.045, 0.09)
SHOES: Rgb = (0.02, 0.02, 0.02)
WHITE: Rgb = (1.0, 1.0, 1.0)
STEEL: Rgb = (0.10, 0.10, 0.11)
RUBBER: Rgb = (0.012, 0.012, 0.013)
SAFETY_ORANGE: Rgb = (0.90, 0.14, 0.01)

Size = tuple[float, float, float]


def pedestrian(size: Size) -> Mesh:
    """A walker whose legs and arms swing with the actor's phase; the jacket has the actor's colour."""
    h, w = size[2], min(size[1], 0.34 * size[2])
    hip, shoulder = 0.50 * h, 0.81 * h
    torso = box((0, 0, 0.655 * h), (0.16 * h, 0.74 * w, 0.33 * h), WHITE, PAINT, taper=(0.9, 1.12))
    head = blob((0.01, 0, 0.915 * h), (0.058 * h, 0.052 * h, 0.078 * h), SKIN, FIXED)
    hair = blob((-0.012, 0, 0.94 * h), (0.058 * h, 0.055 * h, 0.060 * h), HAIR, FIXED)
    parts = [torso, head, hair]
    for side, leg, sleeve in ((1, LIMB_FORWARD, SLEEVE_BACKWARD), (-1, LIMB_BACKWARD, SLEEVE_FORWARD)):
        swing, arm = (leg, 0.0, side * 0.2 * w, hip), (sleeve, 0.0, side * 0.5 * w, shoulder)
        parts.append(
            box((0, side * 0.2 * w, 0.28 * h), (0.10 * h, 0.33 * w, 0.48 * h), TROUSERS, swing, taper=(1.25, 1.1))
        )
        parts.append(box((0.02 * h, side * 0.2 * w, 0.022 * h), (0.16 * h, 0.3 * w, 0.044 * h), SHOES, swing))
        parts.append(box((0, side * 0.47 * w, 0.64 * h), (0.07 * h, 0.2 * w, 0.32 * h), (0.85, 0.85, 0.85), arm))
        hand = LIMB_FORWARD if sleeve == SLEEVE_FORWARD else LIMB_BACKWARD
        parts.append(
            box(
                (0, side * 0.47 * w, 0.455 * h),
                (0.06 * h, 0.14 * w, 0.06 * h),
                SKIN,
                (hand, 0.0, side * 0.5 * w, shoulder),
            )
        )
    return merge(parts)


def _spoked_wheel(x: float, radius: float) -> Mesh:
    angle = 2 * np.pi * np.arange(12) / 12
    outer = np.column_stack([x + radius * np.cos(angle), np.zeros(12), radius + radius * np.sin(angle)])
    inner = np.column_stack([x + 0.86 * radius * np.cos(angle), np.zeros(12), radius + 0.86 * radius * np.sin(angle)])
    half = np.array([0.0, 0.022, 0.0])
    tread = loft(outer - half, outer + half, RUBBER, FIXED, caps="none")
    faces = [_annulus(outer + s * half, inner + s * half, s) for s in (1, -1)]
    spokes = [tube(tuple(inner[i]), tuple(inner[i + 6]), 0.008, (0.4, 0.4, 0.42), FIXED, sides=3) for i in (0, 2, 4)]
    return merge([tread, *faces, *spokes])


def _annulus(outer: np.ndarray, inner: np.ndarray, side: int) -> Mesh:
    n = len(outer)
    i = np.arange(n)
    j = (i + 1) % n
    quads = np.concatenate([np.stack([i, j, n + j], 1), np.stack([i, n + j, n + i], 1)])
    triangles = quads[:, ::-1] if side > 0 else quads
    normal = np.tile([0.0, float(side), 0.0], (2 * n, 1))
    color, data = np.tile(RUBBER, (2 * n, 1)), np.tile(FIXED, (2 * n, 1)).astype(float)
    return Mesh(np.concatenate([outer, inner]), normal, color, data, triangles)


def bicycle(size: Size) -> Mesh:
    """A bicycle with its rider, whose feet go round with the actor's phase."""
    length, width, h = size
    r = min(0.34, length * 0.2)
    front, rear, bar = length / 2 - r, -length / 2 + r, 0.58 * h
    seat = np.array([rear + 0.28 * length * 0.6, 0.0, 0.53 * h])
    crank = (0.5 * (front + rear) - 0.03, 0.0, r)
    frame = [((rear, 0, r), crank), (crank, tuple(seat)), (crank, (front - 0.12, 0, 0.50 * h)),
             (tuple(seat - [0, 0, 0.05]), (front - 0.14, 0, 0.52 * h)),
             ((front, 0, r), (front - 0.16, 0, bar)), ((rear, 0, r), tuple(seat - [0, 0, 0.08]))]  # fmt: skip
    parts = [_spoked_wheel(front, r), _spoked_wheel(rear, r)]
    parts += [tube(a, b, 0.022, STEEL, FIXED, sides=4) for a, b in frame]
    parts.append(
        tube((front - 0.16, -0.42 * width, bar), (front - 0.16, 0.42 * width, bar), 0.022, STEEL, FIXED, sides=4)
    )
    parts.append(box(tuple(seat), (0.24, 0.14, 0.06), (0.02, 0.02, 0.02), FIXED))
    parts.append(box((front - 0.06, 0.0, bar - 0.06), (0.06, 0.12, 0.10), (0.7, 0.7, 0.7), HEADLAMP))
    parts.append(box((rear - 0.06, 0.0, 2.0 * r + 0.06), (0.06, 0.12, 0.10), (0.26, 0.008, 0.008), TAIL_LAMP))
    return merge([*parts, *_rider(size, seat, front, bar, crank)])


def _rider(size: Size, seat: np.ndarray, front: float, bar: float, crank: tuple) -> list[Mesh]:
    width, h = size[1], size[2]
    hip, neck = seat + [0.0, 0.0, 0.06], np.array([seat[0] + 0.26, 0.0, 0.83 * h])
    parts = [_limb(hip, neck, 0.13, 0.17, WHITE, PAINT),
             blob((neck[0] + 0.08, 0, 0.90 * h), (0.10, 0.085, 0.10), SKIN, FIXED),
             blob((neck[0] + 0.06, 0, 0.93 * h), (0.13, 0.10, 0.068 * h), (0.75, 0.75, 0.10), FIXED)]  # fmt: skip
    for side in (1, -1):
        hand = np.array([front - 0.16, side * 0.38 * width, bar + 0.03])
        parts.append(_limb(neck + [0, side * 0.17, -0.06], hand, 0.045, 0.045, WHITE, PAINT))
        phase = 0.0 if side > 0 else np.pi
        foot = (PEDAL, 1.0, phase, 0.0)
        knee = np.array([seat[0] + 0.36, side * 0.11, 0.50 * h])
        parts.append(_limb(hip + [0, side * 0.09, 0], knee, 0.075, 0.065, TROUSERS, (PEDAL, 0.35, phase, 0.0)))
        parts.append(
            _limb(
                knee,
                np.array([crank[0], side * 0.11, crank[2] + 0.03]),
                0.055,
                0.05,
                TROUSERS,
                (PEDAL, 0.7, phase, 0.0),
            )
        )
        parts.append(box((crank[0] + 0.05, side * 0.11, crank[2]), (0.24, 0.09, 0.07), SHOES, foot))
    return parts


def _limb(start: np.ndarray, end: np.ndarray, depth: float, half_width: float, color: Rgb, data: tuple) -> Mesh:
    """A square rod from `start` to `end` in a plane near x-z; `depth` and `half_width` are half sizes."""
    axis = (end - start) / np.linalg.norm(end - start)
    side = np.array([0.0, 1.0, 0.0])
    deep = np.cross(side, axis)
    ring = np.array([deep * depth * a + side * half_width * b for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))])
    return loft(start + ring, end + ring, color, data)


def traffic_cone(size: Size) -> Mesh:
    """An orange cone with a white collar."""
    length, width, h = size
    angle = -2 * np.pi * np.arange(8) / 8
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(8)])
    base_radius = 0.38 * min(length, width)

    def slice_of(z0: float, z1: float, color: Rgb) -> Mesh:
        r0, r1 = (base_radius * (1.0 - 0.82 * z / h) for z in (z0, z1))
        return loft(ring * r0 + [0, 0, z0], ring * r1 + [0, 0, z1], color, FIXED, caps="last")

    bands = [(0.04, 0.35 * h, SAFETY_ORANGE), (0.35 * h, 0.62 * h, (0.85, 0.85, 0.85)), (0.62 * h, h, SAFETY_ORANGE)]
    return merge(
        [box((0, 0, 0.02), (length, width, 0.05), (0.05, 0.05, 0.05), FIXED), *(slice_of(*band) for band in bands)]
    )


def barrier(size: Size) -> Mesh:
    """A construction barrier: orange and white boards on two feet, along the larger of length and width."""
    length, width, h = size
    along_x = length >= width
    span, depth = (length, width) if along_x else (width, length)
    parts = []
    for z, height in ((0.80 * h, 0.32 * h), (0.36 * h, 0.26 * h)):
        count = max(round(span / 0.45), 3)
        for k in range(count):
            color = SAFETY_ORANGE if k % 2 == 0 else (0.85, 0.85, 0.85)
            center = ((k + 0.5) / count - 0.5) * span
            parts.append(_oriented(along_x, center, z, span / count, min(depth, 0.12), height, color))
    for at in (-0.42 * span, 0.42 * span):
        parts.append(_oriented(along_x, at, 0.05 * h, 0.14, depth, 0.10 * h, STEEL))
        parts.append(_oriented(along_x, at, 0.46 * h, 0.07, 0.07, 0.9 * h, STEEL))
    return merge(parts)


def _oriented(along_x: bool, at: float, z: float, span: float, depth: float, height: float, color: Rgb) -> Mesh:
    if along_x:
        return box((at, 0, z), (span, depth, height), color, FIXED)
    return box((0, at, z), (depth, span, height), color, FIXED)
