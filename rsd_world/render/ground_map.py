"""A picture of the town from above that the ground is lit with: sun and shadow, pools of lamp light, stains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from panda3d import core

from rsd_world.render.weather import Look
from rsd_world.roads.town import Town

METRES_PER_PIXEL = 0.4
LARGEST = 4096  # pixels along a side
LAMP_RADIUS = 13.0  # m
STAIN_TILE = 512  # pixels


ToPixels = Callable[[np.ndarray], np.ndarray]  # (P, 2) m, map -> (P, 2) int32 column, row


@dataclass(frozen=True)
class GroundMap:
    """`pixels` (H, W, 3) uint8: sunlit, lamp light, stains; row 0 at the lowest y."""

    pixels: np.ndarray
    origin: np.ndarray  # (2,) m, map, corner of pixel (0, 0)
    resolution: float  # m per pixel

    def at(self, points: np.ndarray) -> np.ndarray:
        """(P, 3) in [0, 1]: the values at points (P, 2 or 3) m, map; the border's outside."""
        index = np.floor((np.asarray(points)[:, :2] - self.origin) / self.resolution).astype(int)
        height, width = self.pixels.shape[:2]
        return self.pixels[np.clip(index[:, 1], 0, height - 1), np.clip(index[:, 0], 0, width - 1)] / 255.0


def smooth_noise(size: int, seed: int) -> np.ndarray:
    """(size, size) float32 in [0, 1], tiling: several octaves of noise."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((4, 1.0), (8, 0.7), (16, 0.5), (32, 0.35), (64, 0.25), (128, 0.2)):
        grid = rng.random((cells, cells)).astype(np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        scale = size // cells
        large = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += weight * large[2 * scale : -2 * scale, 2 * scale : -2 * scale]
    total -= total.min()
    return total / total.max()


def _shadow_throw(look: Look, height: float) -> np.ndarray:
    """(2,) m from the foot of something to the tip of its shadow."""
    direction = look.sun_direction
    return -direction[:2] / max(direction[2], 0.12) * height


def sun_casts_shadows(look: Look) -> bool:
    """Whether the sun is strong enough that things throw a shadow of its direction."""
    return max(look.sun) > 0.5


def _draw_building_shadows(layer: np.ndarray, town: Town, look: Look, to_pixels: ToPixels) -> None:
    for building in town.buildings:
        length, width, height = building.size
        c, s = np.cos(building.yaw), np.sin(building.yaw)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2] @ np.array([[c, s], [-s, c]])
        foot = corners + building.center[:2]
        outline = np.concatenate([foot, foot + _shadow_throw(look, height)])
        hull = cv2.convexHull(to_pixels(outline))
        cv2.fillConvexPoly(layer, hull, 0)


def _draw_prop_shadows(layer: np.ndarray, town: Town, look: Look, to_pixels: ToPixels, resolution: float) -> None:
    for prop in town.props:
        foot = prop.position[:2]
        if prop.kind in ("tree", "bush"):
            crown = prop.height * (0.62 if prop.kind == "tree" else 0.4)
            radius = prop.height * (0.24 if prop.kind == "tree" else 0.5)
            center = to_pixels((foot + _shadow_throw(look, crown))[None])[0]
            cv2.circle(layer, tuple(int(v) for v in center), max(int(radius / resolution), 1), 40, -1)
        if prop.kind in ("tree", "lamp"):
            ends = to_pixels(np.stack([foot, foot + _shadow_throw(look, prop.height * 0.7)]))
            cv2.line(layer, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 90, 1)


def _add_lamp_pools(layer: np.ndarray, town: Town, origin: np.ndarray, resolution: float) -> None:
    radius = int(LAMP_RADIUS / resolution)
    grid = np.arange(-radius, radius + 1)
    distance = np.hypot(grid[:, None], grid[None]) / radius
    pool = 200.0 * np.clip(1.0 - distance, 0.0, 1.0) ** 1.5
    height, width = layer.shape
    for prop in town.props:
        if prop.kind != "lamp":
            continue
        head = prop.position[:2] + 1.8 * np.array([np.cos(prop.yaw), np.sin(prop.yaw)])
        x, y = np.round((head - origin) / resolution).astype(int)
        x0, x1, y0, y1 = max(x - radius, 0), min(x + radius + 1, width), max(y - radius, 0), min(y + radius + 1, height)
        if x0 < x1 and y0 < y1:
            layer[y0:y1, x0:x1] += pool[y0 - y + radius : y1 - y + radius, x0 - x + radius : x1 - x + radius]


def bake_ground_map(town: Town, look: Look) -> GroundMap:
    """Draw the town's ground map for one weather."""
    points = np.concatenate([lane.points[:, :2] for lane in town.lanes.lanes])
    low, high = points.min(axis=0) - 40.0, points.max(axis=0) + 40.0
    resolution = max(METRES_PER_PIXEL, float((high - low).max()) / LARGEST)
    width, height = np.ceil((high - low) / resolution).astype(int)

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        return np.round((xy - low) / resolution).astype(np.int32)

    sunlit = np.full((height, width), 255, np.uint8)
    if sun_casts_shadows(look):
        _draw_prop_shadows(sunlit, town, look, to_pixels, resolution)
        _draw_building_shadows(sunlit, town, look, to_pixels)
        sunlit = cv2.GaussianBlur(sunlit, (3, 3), 0)
    lamps = np.zeros((height, width), np.float32)
    if look.lamps > 0.0:
        _add_lamp_pools(lamps, town, low, resolution)
    stain = smooth_noise(STAIN_TILE, 7)
    stains = np.tile(stain, (height // STAIN_TILE + 1, width // STAIN_TILE + 1))[:height, :width] * 255.0
    pixels = np.stack([sunlit, np.clip(lamps, 0, 255).astype(np.uint8), stains.astype(np.uint8)], axis=-1)
    pixels[[0, -1], :, :2] = pixels[:, [0, -1], :2] = (255, 0)
    return GroundMap(pixels, low, resolution)


def texture_of(pixels: np.ndarray, name: str, repeat: bool) -> core.Texture:
    """(H, W, 3) or (H, W) uint8 as a bilinear texture whose row 0 is at v = 0."""
    rgb = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    texture = core.Texture(name)
    texture.setup_2d_texture(rgb.shape[1], rgb.shape[0], core.Texture.T_unsigned_byte, core.Texture.F_rgb)
    texture.set_ram_image(np.ascontiguousarray(rgb[..., ::-1]).tobytes())
    wrap = core.SamplerState.WM_repeat if repeat else core.SamplerState.WM_clamp
    texture.set_wrap_u(wrap)
    texture.set_wrap_v(wrap)
    texture.set_minfilter(core.SamplerState.FT_linear)
    texture.set_magfilter(core.SamplerState.FT_linear)
    return texture
