"""Round what stands close before the ego: at full lock, where its whole body stays clear."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.boxes import box_corners_2d, boxes_overlap, door_place
from rsd_world.expert.avoidance import LateralPlan
from rsd_world.expert.path_following import STEP, DrivenPath
from rsd_world.expert.prediction import Prediction

BODY_MARGIN = 0.12  # m around the ego
LOOKED_AT = 22.0  # m of the path


def passed_at_once(lateral: LateralPlan) -> np.ndarray:
    """The plan's offsets in m, but with the one at the nearest blockage all the way up to it."""
    offset = lateral.offset.copy()
    start = min(max(int(lateral.passing[0].start) - lateral.first, 0), len(offset) - 1)
    offset[:start] = offset[start]
    return offset


def body_is_clear(path: DrivenPath, predictions: list[Prediction], size: tuple[float, float]) -> bool:
    """The ego's body, length and width in m, touches nothing that stands on its way along the path."""
    standing = [p.actor for p in predictions if p.standing]
    if not standing:
        return True
    places = [(a.position[:2], a.yaw, a.size[:2]) for a in standing]
    places += [door_place(a) for a in standing if a.door_open > 0.05]
    centers, yaws, sizes = (np.array(column) for column in zip(*places, strict=True))
    others = box_corners_2d(centers, yaws, sizes)
    count = int(LOOKED_AT / STEP)
    own = np.tile(np.array(size) + 2.0 * BODY_MARGIN, (len(path.points[:count]), 1))
    bodies = box_corners_2d(path.points[:count], path.yaw[:count], own)
    return not any(boxes_overlap(body, others).any() for body in bodies)
