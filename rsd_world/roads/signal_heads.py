"""Where the heads of a traffic light hang: one on the pole, one on an arm over the lanes that it controls."""

from __future__ import annotations

import numpy as np

from rsd_world.roads.town import Town, TrafficLight

HIGH, LOW = 5.3, 2.7  # m, centre of the two heads
LONGEST_ARM = 8.0  # m


def arm_reach(town: Town, light: TrafficLight) -> float:
    """How far, m to the left of the facing direction, the middle of the approach lanes lies from the pole."""
    ends = np.array([town.lanes.lanes[i].points[-1, :2] for i in light.lanes])
    if not len(ends):
        return 0.0
    left = np.array([-np.sin(light.yaw), np.cos(light.yaw)])
    return float(np.clip((ends.mean(axis=0) - light.position[:2]) @ left, -LONGEST_ARM, LONGEST_ARM))


def head_offsets(town: Town, light: TrafficLight) -> np.ndarray:
    """(2, 3) m, map: from the foot of the pole to the centres of the head on it and of the one over the lanes."""
    reach = arm_reach(town, light)
    along_arm = (reach if has_arm(reach) else 0.0) * np.array([-np.sin(light.yaw), np.cos(light.yaw), 0.0])
    return np.array([[0.0, 0.0, LOW], [*along_arm[:2], HIGH]])


def has_arm(reach: float) -> bool:
    """Whether an arm that reaches so far, m, is built at all."""
    return abs(reach) > 1.0
