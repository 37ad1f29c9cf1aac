"""Teachers that do not look: what a vision-language model has to beat, and a privileged one that can be made worse.

They answer in the same JSON as a model does, so everything behind them is the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS
from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.grounding import GroundedObject
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.store import read_table
from rsd_offline.labeling.teachers.base import TeacherIdentity
from rsd_world.expert.risk import RANGE

CONTROLS = ("geometric", "random", "constant", "privileged")
Judged = tuple[float, bool, str]  # risk, crosses the ego path, cause


@dataclass(frozen=True)
class Dial:
    """How the privileged teacher is spoiled, to learn how good a teacher has to be."""

    omissions: float = 0.0  # share of objects left out of a first answer, and of a second one
    misranking: float = 0.0  # share of objects whose risk is swapped with another's
    inventions: float = 0.0  # objects per answer that do not exist

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 <= value <= (10.0 if name == "inventions" else 1.0):
                raise ValueError(f"dial {name} is {value}, expected a share from 0 to 1")


class ControlTeacher:
    """A rule instead of a model. `kind` among CONTROLS; `privileged` reads the risks recorded in the embedded world."""

    looks, family, choices = False, "general", 1

    def __init__(self, kind: str, dial: Dial | None = None, recorded: Path | None = None, seed: int = 0) -> None:
        if kind not in CONTROLS:
            raise ValueError(f"control teacher {kind!r} is unknown; choose among {', '.join(CONTROLS)}")
        if kind == "privileged" and recorded is None:
            raise ValueError("the privileged teacher needs a dataset of the embedded world with its labels folder")
        if recorded is not None and not recorded.is_dir():
            raise ValueError(
                f"there is no {recorded}: the privileged teacher repeats what the embedded world recorded beside its "
                "drives; for other datasets take geometric as a control"
            )
        self._kind, self._dial, self._seed = kind, dial or Dial(), seed
        self._recorded = _read_recorded(recorded) if kind == "privileged" and recorded is not None else {}
        # One draw of `random` is its label: the mean of several, gated by disagreement, would be no coin any more.
        self.samples = kind == "privileged" and self._dial != Dial()
        self.reach = RANGE if kind == "privileged" else math.inf
        parameters = {"seed": seed} | ({"dial": asdict(self._dial), "reach": RANGE} if kind == "privileged" else {})
        self.identity = TeacherIdentity(kind, parameters)

    async def ask(self, question: Question) -> Answer:
        """Answer at once."""
        if question.task == "action":
            frame = question.scene.frame
            if frame.ego_speed is None and frame.future is None:
                return Answer("", refusal="unknown_motion")
            return Answer(json.dumps(_action(question)))
        rng = np.random.default_rng([self._seed, *question.key(self.identity.fingerprint)[:8]])
        asked = [o for o in question.scene.objects if o.number in question.numbers]
        recorded = self._recorded.get(question.scene.frame.frame_id, {})
        judged = {o.number: v for o in asked if (v := self._judge(o, question, recorded, rng)) is not None}
        return Answer(json.dumps({"objects": self._spoiled(judged, rng)}))

    async def close(self) -> None:
        """Nothing is held."""

    def _judge(
        self, item: GroundedObject, question: Question, recorded: Mapping[int, Judged], rng: np.random.Generator
    ) -> Judged | None:
        if self._kind == "privileged":
            return recorded.get(item.object_id)
        if self._kind == "random":
            return float(rng.random()), bool(rng.random() < 0.5), "drawn at random"
        if self._kind == "constant":
            return 0.5, False, "always the same"
        risk, seconds = geometric_risk(item, question.scene.frame.ego_speed or 0.0)
        cause = f"{item.distance:.0f} m away" + (f", meets the ego in {seconds:.1f} s" if seconds < 10.0 else "")
        return risk, seconds < 4.0, cause

    def _spoiled(self, judged: dict[int, Judged], rng: np.random.Generator) -> list[dict]:
        if self._kind == "privileged":
            judged = {n: v for n, v in judged.items() if rng.random() >= self._dial.omissions}
            judged = _misranked(judged, self._dial.misranking, rng)
        order = sorted(judged, key=lambda n: -judged[n][0])
        entries = [_entry(n, rank, judged[n]) for rank, n in enumerate(order, start=1)]
        invented = int(rng.poisson(self._dial.inventions)) if self._kind == "privileged" else 0
        return entries + [_entry(1000 + k, len(order) + k + 1, (0.9, True, "invented")) for k in range(invented)]


def geometric_risk(item: GroundedObject, ego_speed: float) -> tuple[float, float]:
    """Risk from distance and time to the closest approach at constant velocities, and that time in s (99 = never)."""
    if not math.isfinite(item.distance):
        return 0.0, 99.0
    velocity = np.array(item.velocity if item.velocity is not None else (0.0, 0.0)) - (ego_speed, 0.0)
    position, closing = np.array(item.position), float(velocity @ velocity)
    seconds = float(np.clip(-(position @ velocity) / closing, 0.0, 99.0)) if closing > 0.01 else 99.0
    miss = float(np.linalg.norm(position + min(seconds, 10.0) * velocity))
    meets = 0.0 < seconds < 10.0 and miss < 3.0
    by_time = math.exp(-seconds / 3.0) if meets else 0.0
    return float(np.clip(max(by_time, 0.6 * math.exp(-item.distance / 12.0)), 0.0, 1.0)), seconds if meets else 99.0


def _misranked(judged: dict[int, Judged], share: float, rng: np.random.Generator) -> dict[int, Judged]:
    chosen = [n for n in judged if rng.random() < share]
    moved = [chosen[i] for i in rng.permutation(len(chosen))]
    return judged | {a: (judged[b][0], *judged[a][1:]) for a, b in zip(chosen, moved, strict=True)}


def _entry(number: int, rank: int, judged: Judged) -> dict:
    risk, crosses, cause = judged
    return {"id": number, "rank": rank, "risk": round(risk, 4), "crosses_ego_path": crosses, "cause": cause}


def _action(question: Question) -> dict:
    """What the recorded drive does, in VLM-AD's words; from the future where there is one, else from the speed."""
    frame = question.scene.frame
    speed = frame.ego_speed
    if speed is None:
        speed = float(np.linalg.norm(frame.future[0]) / PLAN_STEP_SECONDS) if frame.future is not None else 0.0
    ahead = float(frame.future[-1, 0]) if frame.future is not None else 3.0 * speed
    aside = float(frame.future[-1, 1]) if frame.future is not None else 0.0
    control = "reverse" if ahead < -1.0 else "stop" if ahead < 1.0 else "move slowly" if ahead < 9.0 else "go straight"
    command = frame.command.name if frame.command is not None else "LANEFOLLOW"
    turning = abs(aside) > 3.0 and command in ("LEFT", "RIGHT")
    turn = ("turn left" if aside > 0 else "turn right") if turning else "none"
    lanes = {"CHANGELANELEFT": "change lane to the left", "CHANGELANERIGHT": "change lane to the right"}
    return {
        "current_action": "standing" if speed < 0.3 else f"driving at {speed:.0f} m/s",
        "future_action": f"{control}, {turn}", "reason": "as the recorded drive does",
        "control": control, "turn": turn, "lane": lanes.get(command, "none"),
    }  # fmt: skip


def _read_recorded(folder: Path) -> dict[str, dict[int, Judged]]:
    columns = ("frame_id", "object_id", "risk", "crosses_ego_path", "cause", "valid")
    table = read_table(folder, "objects")
    recorded: dict[str, dict[int, Judged]] = {}
    for frame_id, number, risk, crosses, cause, valid in zip(*(table[c].to_pylist() for c in columns), strict=True):
        if valid:
            recorded.setdefault(frame_id, {})[number] = (float(risk), bool(crosses), cause)
    return recorded
