"""What a run would cost, from a few frames spread over the dataset, before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_offline.datasets.frames import FrameSourceError
from rsd_offline.labeling.costs import Prices, estimated_tokens
from rsd_offline.labeling.labeler import FrameLabeler
from rsd_offline.labeling.questions import action_question, risk_question


@dataclass(frozen=True)
class Estimate:
    """A whole run's questions, without repetitions."""

    frames: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float  # US dollars
    objects_per_frame: float
    looked_at: int  # frames that the estimate rests on
    unreadable: int  # of these


def estimate_run(labeler: FrameLabeler, frames: int, prices: Prices, samples: int, looks_at: int = 12) -> Estimate:
    """Estimate a run over `frames` frames by preparing a few of them."""
    prompts = labeler.config.load_prompts()
    rows, unreadable = [], 0
    picked = np.unique(np.linspace(0, frames - 1, min(frames, looks_at)).astype(int)) if frames else []
    for index in picked:
        try:
            scene = labeler.prepare(int(index))
        except FrameSourceError:
            unreadable += 1
            continue
        questions = []
        if "risk" in prompts and scene.objects:
            questions += [risk_question(scene, prompts["risk"], 0)] * samples
        if "action" in prompts:
            questions.append(action_question(scene, prompts["action"]))
        tokens = [estimated_tokens(q) for q in questions]
        rows.append((len(questions), sum(t[0] for t in tokens), sum(t[1] for t in tokens), len(scene.objects)))
    requests, asked, answered, objects = np.mean(rows, axis=0) if rows else (0.0, 0.0, 0.0, 0.0)
    return Estimate(
        frames, round(requests * frames), round(asked * frames), round(answered * frames),
        prices.cost(asked * frames, answered * frames), float(objects), len(picked), unreadable,
    )  # fmt: skip
