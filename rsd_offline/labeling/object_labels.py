"""From what the samples say of each object to its label: mean risk, spread, rank, weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rsd_offline.datasets.frames import KeyFrame
from rsd_offline.labeling.answers import Judgement
from rsd_offline.labeling.grounding import GroundedObject
from rsd_offline.labeling.questions import Scene
from rsd_offline.labeling.store import ObjectLabel


def object_labels(
    scene: Scene, samples: Sequence[dict[int, Judgement]], weigh: Callable[[float, int], float], usable: bool
) -> list[ObjectLabel]:
    """The labels of a scene's objects; all are invalid where the frame is not `usable`.

    `samples`: judgements by the object's number. `weigh`: trust in [0, 1] from the spread and the number of samples.
    Objects are ranked by their mean risk, and among equal risks by the mean of the ranks that the samples give.
    """
    judged = [[sample[item.number] for sample in samples if item.number in sample] for item in scene.objects]
    means = [sum(j.risk for j in of_one) / len(of_one) if of_one and usable else None for of_one in judged]
    given = [sum(j.rank for j in of_one) / max(len(of_one), 1) for of_one in judged]
    valid = (k for k, mean in enumerate(means) if mean is not None)
    order = sorted(valid, key=lambda k: (-(means[k] or 0.0), given[k]))
    ranks = {k: rank for rank, k in enumerate(order, start=1)}
    return [
        _object_label(scene, item, judged[k], means[k], ranks.get(k, 0), weigh) for k, item in enumerate(scene.objects)
    ]


def _object_label(
    scene: Scene,
    item: GroundedObject,
    judged: list[Judgement],
    mean: float | None,
    rank: int,
    weigh: Callable[[float, int], float],
) -> ObjectLabel:
    """The label of one object from what the samples say of it; `mean` None = invalid."""
    middle, spread = None, None
    crosses = [j.crosses_ego_path for j in judged if j.crosses_ego_path is not None]
    if judged:
        centre = sum(j.risk for j in judged) / len(judged)
        middle = min(judged, key=lambda j: abs(j.risk - centre))
        spread = math.sqrt(sum((j.risk - centre) ** 2 for j in judged) / len(judged)) if len(judged) > 1 else None
    return ObjectLabel(
        scene.frame.frame_id, item.object_id, item.class_name, risk=mean,
        camera=scene.frame.rig.names[item.camera], image_box=item.image_box, box=item.box, spread=spread, rank=rank,
        crosses_ego_path=sum(crosses) * 2 > len(crosses) if crosses else None,
        cause=middle.cause if middle else "", valid=mean is not None, samples=len(judged),
        weight=weigh(spread or 0.0, len(judged)) if mean is not None else 0.0,
    )  # fmt: skip


def all_boxes(frame: KeyFrame, labels: Sequence[ObjectLabel]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 7) of the labels and of annotated objects that were not asked about, with risks (K,), nan = unknown."""
    asked = {o.object_id for o in labels}
    others = [] if frame.objects is None else [k for k, i in enumerate(frame.objects.ids) if int(i) not in asked]
    rows = [(o.box, np.nan if o.risk is None else o.risk) for o in labels if o.box is not None]
    rows += [(frame.objects.boxes[k], np.nan) for k in others if frame.objects is not None]
    boxes = np.array([box for box, _ in rows], float).reshape(-1, 7)
    usable = np.isfinite(boxes).all(1)
    return boxes[usable], np.array([risk for _, risk in rows], float)[usable]
