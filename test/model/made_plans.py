"""Plans and detected objects as the network would give them."""

import numpy as np

from rsd_model.contracts import Command, DetectedObjects, MapElements, PlannerOutput, RiskGrid

CAR = 0


def objects(*rows: tuple[float, ...]) -> DetectedObjects:
    """Rows of x, y, yaw, vx, vy, score, length, width."""
    table = np.array(rows, float).reshape(-1, 8)
    count = len(table)
    boxes = np.column_stack([table[:, :2], np.zeros(count), table[:, 6:8], np.full(count, 1.5), table[:, 2]])
    return DetectedObjects(
        boxes=boxes, velocities=table[:, 3:5], labels=np.full(count, CAR), scores=table[:, 5], risks=np.zeros(count),
        futures=np.zeros((count, 6, 6, 2)), future_probabilities=np.full((count, 6), 1 / 6),
    )  # fmt: skip


def output(stamp: float, speed: float, seen: DetectedObjects) -> PlannerOutput:
    """A plan straight on at `speed`."""
    plan = np.stack([speed * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1)
    return PlannerOutput(
        stamp, Command.LANEFOLLOW, plan, np.repeat(plan[None], 6, axis=0), seen,
        MapElements(np.zeros((0, 10, 2)), np.zeros(0, int), np.zeros(0)),
        RiskGrid(np.zeros((0, 0)), 1.0, (0.0, 0.0)), 1.0,
    )  # fmt: skip
