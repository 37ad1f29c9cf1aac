"""Ground truth of one instant for perception: objects and map lines in base_link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsd_model.contracts import OBJECT_CLASSES
from rsd_model.geometry import wrap_angle
from rsd_world.expert.map_lines import TownLines
from rsd_world.roads.town import Town

if TYPE_CHECKING:
    from rsd_world.world import World

OBJECT_RANGE = 75.0  # m, as Bench2Drive's annotations
NOT_RENDERED = -1  # `pixels` without an instance image


@dataclass(frozen=True)
class Observation:
    """K objects, nearest first, and M map lines, nearest first. `base_link` of the ego at this instant."""

    boxes: np.ndarray  # (K, 7) m, rad: x, y, z centre, length, width, height, yaw
    velocities: np.ndarray  # (K, 2) m/s over ground, base_link axes
    labels: np.ndarray  # (K,) int, index into OBJECT_CLASSES
    ids: np.ndarray  # (K,) int
    pixels: np.ndarray  # (K,) int, visible pixels over all cameras, NOT_RENDERED where no image was given
    map_points: np.ndarray  # (M, P, 2) m
    map_labels: np.ndarray  # (M,) int, index into MAP_CLASSES

    @property
    def visible(self) -> np.ndarray:
        """(K,) bool: seen by a camera, or not known."""
        return self.pixels != 0


def observe(
    world: World,
    instance: np.ndarray | None = None,
    object_range: float = OBJECT_RANGE,
    map_half_extent: tuple[float, float] = (30.0, 15.0),
    line_points: int = 20,
) -> Observation:
    """What there is to see around the ego.

    `instance` (N, H, W) uint16 actor ids of all cameras (0 = none) counts each object's visible pixels; objects that no
    camera sees stay in, with 0. Map lines are cut at |x|, |y| <= `map_half_extent` m and have `line_points` points.
    """
    boxes, velocities, labels, ids = _objects(world, object_range)
    ego = world.snapshot.ego
    lines, line_labels = town_lines(world.town).around(
        ego.position[:2], ego.yaw, world.snapshot.lights, map_half_extent, line_points
    )
    return Observation(boxes, velocities, labels, ids, _visible_pixels(ids, instance), lines, line_labels)


def _objects(world: World, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    ego, actors = world.snapshot.ego, world.snapshot.actors
    if not actors:
        return np.zeros((0, 7)), np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int)
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    to_map = np.array([[cos, -sin], [sin, cos]])
    delta = np.array([a.position for a in actors]) - ego.position
    sizes = np.array([a.size for a in actors])
    yaws = wrap_angle(np.array([a.yaw for a in actors]) - ego.yaw)
    boxes = np.column_stack([delta[:, :2] @ to_map, delta[:, 2] + 0.5 * sizes[:, 2], sizes, yaws])
    velocities = np.array([a.velocity for a in actors]) @ to_map
    labels = np.array([OBJECT_CLASSES.index(a.kind.object_class) for a in actors])
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] <= reach]
    return boxes[order], velocities[order], labels[order], np.array([a.id for a in actors])[order]


def _visible_pixels(ids: np.ndarray, instance: np.ndarray | None) -> np.ndarray:
    if instance is None:
        return np.full(len(ids), NOT_RENDERED)
    counts = np.bincount(np.asarray(instance).ravel(), minlength=65536)
    return counts[ids].astype(int) if len(ids) else np.zeros(0, int)


# Towns do not change and are few. The town is kept beside its lines, so that its id stays its own.
_LINES: dict[int, tuple[Town, TownLines]] = {}


def town_lines(town: Town) -> TownLines:
    """The lines of a town, built at first use."""
    if id(town) not in _LINES:
        _LINES[id(town)] = (town, TownLines(town))
    return _LINES[id(town)][1]
