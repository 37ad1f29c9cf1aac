"""What a run would cost, from a few frames spread over the dataset, before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_offline.datasets.frames import FrameSourceError
from rsd_offline.labeling.costs import Prices, estimated_tokens
from rsd_offline.labeling.labeler import FrameLabeler
from rsd_offline.labeling.prompts import Prompt
from rsd_offline.labeling.questions import Scene, action_question, risk_question


@dataclass(frozen=True)
class Estimate:
    """A whole run's questions, without repetitions."""

    frames: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float  # US dollars
    cost_singly: float  # the same where the server gives one answer to a request
    objects_per_frame: float
    looked_at: int  # frames that the estimate rests on
    unreadable: int  # of these


def estimate_run(
    labeler: FrameLabeler, frames: int, prices: Prices, samples: int, choices: int = 1, looks_at: int = 12
) -> Estimate:
    """Estimate a run over `frames` frames by preparing a few of them. `choices`: samples that one request asks for."""
    prompts = labeler.config.load_prompts()
    rows, unreadable = [], 0
    picked = np.unique(np.linspace(0, frames - 1, min(frames, looks_at)).astype(int)) if frames else []
    for index in picked:
        try:
            scene = labeler.prepare(int(index))
        except FrameSourceError:
            unreadable += 1
            continue
        rows.append((*_of_frame(scene, prompts, samples, choices), len(scene.objects)))
    requests, asked, singly, answered, objects = np.mean(rows, axis=0) if rows else np.zeros(5)
    return Estimate(
        frames, round(requests * frames), round(asked * frames), round(answered * frames),
        prices.cost(asked * frames, answered * frames), prices.cost(singly * frames, answered * frames),
        float(objects), len(picked), unreadable,
    )  # fmt: skip


def _of_frame(
    scene: Scene, prompts: dict[str, Prompt], samples: int, choices: int
) -> tuple[float, float, float, float]:
    """Requests of one frame, their prompt tokens, those if every sample is asked for by itself, and answer tokens."""
    found = np.zeros(4)
    if "risk" in prompts and scene.objects:
        asked, answered = estimated_tokens(risk_question(scene, prompts["risk"], 0))
        requests = -(-samples // choices)
        found += (requests, requests * asked, samples * asked, samples * answered)
    if "action" in prompts:
        asked, answered = estimated_tokens(action_question(scene, prompts["action"]))
        found += (1, asked, asked, answered)
    return tuple(found)
