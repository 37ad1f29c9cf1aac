"""The sky of each weather, painted once into the five faces of a box around the viewer."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from rsd_world.render.ground_map import smooth_noise
from rsd_world.render.mesh import Mesh, facets, merge
from rsd_world.render.weather import Look

FACE = 512  # pixels along a face
FLOOR = -0.15  # where the side faces end, in halves of the box; below is the colour of the far ground
_SIDES = (((1, -1), (1, 1)), ((1, 1), (-1, 1)), ((-1, 1), (-1, -1)), ((-1, -1), (1, -1)))


def _step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _sample(noise: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The tiling noise at (x, y) in tiles."""
    size = len(noise)
    u, v = ((np.asarray(w) % 1.0 * size).astype(np.float32) for w in (x, y))
    return cv2.remap(noise, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def sky_color(look: Look, direction: np.ndarray) -> np.ndarray:
    """Linear RGB (H, W, 3) of the sky in unit directions (H, W, 3), map: gradient, clouds, sun, stars, hills."""
    noise = smooth_noise(512, 3)
    x, y, z = np.moveaxis(direction, -1, 0)
    up = np.maximum(z, 0.0)
    horizon, zenith, sun, above = (np.array(c) for c in (look.horizon, look.zenith, look.sun, look.sky_light))
    sky = horizon + (zenith - horizon) * (1.0 - np.exp2(-4.5 * up))[..., None]
    cloud = _sample(noise, x / (up + 0.25) * 0.35, y / (up + 0.25) * 0.35)
    cover = _step(0.75 - 0.5 * look.clouds, 1.05 - 0.4 * look.clouds, cloud) * np.clip(5.0 * up, 0, 1)
    cover *= 0.75 * (1.0 - min(40.0 * look.fog, 1.0))
    sky += ((above * 1.6 + sun * 0.25) - sky) * cover[..., None]
    toward = np.maximum(direction @ look.sun_direction, 0.0)
    clear = 1.0 - look.clouds
    sky += sun * ((0.25 * toward**8 + 3.0 * _step(0.9985, 0.9993, toward)) * clear)[..., None]
    if max(look.sun) < 0.05 and clear > 0.5:
        stars = np.random.default_rng(4).random(z.shape) > 0.9990
        sky += (0.45 * stars * up)[..., None]
    flat = np.maximum(np.hypot(x, y), 1e-6)
    hill = 0.015 + 0.09 * _sample(noise, x / flat * 0.8, y / flat * 0.8) * _sample(
        noise, x / flat * 0.21, y / flat * 0.21
    )
    wood = np.array([0.05, 0.085, 0.05]) * (above + 0.4 * sun)
    wood = horizon + (wood - horizon) * 0.55 * np.exp(-100.0 * look.fog)
    return sky + (wood - sky) * _step(0.0025, -0.0025, z - hill)[..., None]


def _directions(corners: np.ndarray) -> np.ndarray:
    """(FACE, FACE, 3) unit directions over a face; corners (2, 2, 3) by row, column."""
    t = np.linspace(0.0, 1.0, FACE)
    rows = corners[0] + (corners[1] - corners[0]) * t[:, None, None]  # (FACE, 2, 3)
    grid = rows[:, :1] + (rows[:, 1:] - rows[:, :1]) * t[None, :, None]
    return grid / np.linalg.norm(grid, axis=-1, keepdims=True)


def _face_corners() -> list[np.ndarray]:
    sides = [np.array([[[*a, FLOOR], [*b, FLOOR]], [[*a, 1.0], [*b, 1.0]]]) for a, b in _SIDES]
    top = np.array([[[-1, -1, 1], [1, -1, 1]], [[-1, 1, 1], [1, 1, 1]]], float)
    return [*sides, top]


@lru_cache(maxsize=8)
def sky_picture(look: Look) -> np.ndarray:
    """(FACE, 5 FACE, 3) uint8: the four sides and the top, as displayed (square root of linear light)."""
    faces = [sky_color(look, _directions(corners)) for corners in _face_corners()]
    return np.round(255.0 * np.sqrt(np.clip(np.concatenate(faces, axis=1), 0.0, 1.0))).astype(np.uint8)


def sky_box(half: float) -> Mesh:
    """The box, seen from inside; data is the texture coordinate. Its sides go on below the painted part."""
    meshes = []
    for i, corners in enumerate(_face_corners()):
        u, v = (i + np.array([0.5, FACE - 0.5]) / FACE) / 5.0, np.array([0.5, FACE - 0.5]) / FACE
        low, high = corners
        meshes.append(_face(np.array([low[0], high[0], high[1], low[1]]) * half, u[[0, 0, 1, 1]], v[[0, 1, 1, 0]]))
        if i < 4:
            deep = low * [1.0, 1.0, 0.0] - [0.0, 0.0, 1.0]
            meshes.append(_face(np.array([deep[0], low[0], low[1], deep[1]]) * half, u[[0, 0, 1, 1]], np.full(4, v[0])))
    return merge(meshes)


def _face(corners: np.ndarray, u: np.ndarray, v: np.ndarray) -> Mesh:
    return facets(corners[None], (1.0, 1.0, 1.0)).with_data(0, u).with_data(1, v)
