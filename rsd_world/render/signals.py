"""Traffic lights: a mast with one head over the lanes and one on the pole, whose lamps follow the snapshot."""

from __future__ import annotations

import numpy as np

from rsd_world.render.glow import glow
from rsd_world.render.mesh import Mesh, Rgb, box, fan, merge, tube
from rsd_world.roads.signal_heads import HIGH, LOW, has_arm

POLE: Rgb = (0.05, 0.055, 0.06)
HOUSING: Rgb = (0.010, 0.010, 0.011)
FIXED = (1, 0, 0, 0)
RED_LAMP, YELLOW_LAMP, GREEN_LAMP = 14, 15, 16
LAMP_RADIUS = 0.22  # m, larger than the real 0.15 so that it is read at 30 m in a small image
HALO_RADIUS = 0.62  # m
_LAMPS = (
    (0.52, (0.10, 0.004, 0.004), RED_LAMP),
    (0.0, (0.09, 0.05, 0.002), YELLOW_LAMP),
    (-0.52, (0.002, 0.07, 0.025), GREEN_LAMP),
)


def _head(y: float, z: float) -> list[Mesh]:
    parts = [
        box((0.0, y, z), (0.28, 0.62, 1.72), HOUSING, FIXED),
        box((-0.13, y, z), (0.03, 0.86, 1.96), HOUSING, FIXED),
    ]
    angle = 2 * np.pi * np.arange(10) / 10
    for dz, color, part in _LAMPS:
        ring = np.column_stack(
            [np.full(10, 0.155), y + LAMP_RADIUS * np.cos(angle), z + dz + LAMP_RADIUS * np.sin(angle)]
        )
        parts.append(fan(ring, color, (part, 0, 0, 0)))
        parts.append(box((0.22, y, z + dz + LAMP_RADIUS + 0.02), (0.20, 2.0 * LAMP_RADIUS, 0.025), HOUSING, FIXED))
    return parts


def signal_mesh(reach: float) -> Mesh:
    """Pole, arm and heads, facing +x; `reach` is the arm's length to the left (negative: right)."""
    parts = [tube((0, 0, 0), (0, 0, HIGH + 0.6), 0.11, POLE, FIXED, sides=6), *_head(0.0, LOW)]
    if has_arm(reach):
        parts += [tube((-0.2, 0, HIGH + 0.5), (-0.2, reach, HIGH + 0.5), 0.07, POLE, FIXED), *_head(reach, HIGH)]
    else:
        parts += _head(0.0, HIGH)
    return merge(parts)


def halo_mesh(reach: float) -> Mesh:
    """The glow in front of each lamp, and its image in a wet road."""
    y_high = reach if has_arm(reach) else 0.0
    lamps = [((0.30, y, z + dz), k) for y, z in ((0.0, LOW), (y_high, HIGH)) for k, (dz, _, _) in enumerate(_LAMPS)]
    return merge([glow(center, k, HALO_RADIUS, facing=1.0) for center, k in lamps])
