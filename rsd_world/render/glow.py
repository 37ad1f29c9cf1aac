"""Quads that face the camera and add light: the glow around lamps and its image in a wet road."""

from __future__ import annotations

import numpy as np

from rsd_world.render.mesh import Mesh, merge
from rsd_world.render.vehicles import HEADLAMP, TAIL_LAMP

STREET_LAMP, HEAD, TAIL = 3, 4, 5  # the halo shader's lamps; 0, 1, 2 are red, yellow, green
_CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)


def glow(center: tuple, lamp: int, radius: float, facing: float = 0.0) -> Mesh:
    """The glow of one lamp at `center` m, and its mirror image (negative radius).

    `facing` is 1 where it shines ahead, -1 where it shines backwards, 0 where it shines all around.
    """
    return merge([_quad(center, lamp, radius, facing), _quad(center, lamp, -radius, facing)])


def _quad(center: tuple, lamp: int, radius: float, facing: float) -> Mesh:
    data = np.column_stack([_CORNERS, np.full(4, lamp), np.full(4, radius)])
    flat = np.tile(np.asarray(center, float), (4, 1))
    return Mesh(flat, np.tile([facing, 0.0, 0.0], (4, 1)), np.ones((4, 3)), data, np.array([[0, 1, 2], [0, 2, 3]]))


def vehicle_glow(vehicle: Mesh) -> Mesh:
    """The glow of a vehicle's head and tail lamps, found by their part in its mesh."""
    quads = []
    for part, lamp, radius, ahead in ((HEADLAMP[0], HEAD, 0.42, 0.12), (TAIL_LAMP[0], TAIL, 0.34, -0.12)):
        corners = vehicle.position[vehicle.data[:, 0] == part].reshape(-1, 4, 3)
        if len(corners) > 4:  # a box, not a pair of flat lamps
            corners = corners.reshape(1, -1, 3)
        quads += [
            glow(tuple(center + [ahead, 0.0, 0.0]), lamp, radius, np.sign(ahead)) for center in corners.mean(axis=1)
        ]
    return merge(quads)
