"""One frame from image to label: ground it, ask N times, ask again for what was left out, weigh, lift."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np

from rsd_offline.datasets.frames import FrameSource, FrameSourceError, KeyFrame
from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.answers import Judgement, UnusableAnswer, parse_action, parse_risk, storable
from rsd_offline.labeling.asking import Asker, all_of
from rsd_offline.labeling.consistency import label_weight, mean_diff_risk, mean_kendall_tau
from rsd_offline.labeling.detection import Detector, ground_detections
from rsd_offline.labeling.grounding import GroundedObject, GroundingConfig, ground_annotations
from rsd_offline.labeling.lift import MapConfig, dense_map
from rsd_offline.labeling.object_labels import all_boxes, object_labels
from rsd_offline.labeling.pictures import PictureConfig, front_camera
from rsd_offline.labeling.prompts import TASKS, VIEWS, Prompt, load_prompt
from rsd_offline.labeling.questions import Question, Scene, action_question, make_pictures, risk_question
from rsd_offline.labeling.store import FrameAudit, FrameLabel, ObjectLabel, RiskMapRow


@dataclass(frozen=True)
class LabelConfig:
    """How frames are put before a teacher, and when its labels count."""

    prompts: str = "general"  # family among `prompts.families()`, or a folder
    tasks: tuple[str, ...] = TASKS
    view: str = ""  # front | montage for the risk task; empty = as the prompt says
    samples: int = 3  # answers to the risk question per frame
    reasks: int = 1  # times that omitted objects are asked for again, per sample
    attempts: int = 3  # times that a question is asked whose answers cannot be used
    red_line: bool = False  # draw the ego's future; it biases the teacher (arXiv 2608.01755)
    max_diff_risk: float = 0.35  # frames whose samples disagree more are gated
    judged: str = "objects"  # `all`: places without objects count as judged too, and as safe
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)
    risk_map: MapConfig = field(default_factory=MapConfig)

    def __post_init__(self) -> None:
        for name in ("samples", "attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.view not in ("", *VIEWS):
            raise ValueError(f"view is {self.view!r}, choose among {', '.join(VIEWS)}")
        unknown = set(self.tasks) - set(TASKS)
        if unknown or not self.tasks:
            raise ValueError(f"tasks are {self.tasks}, choose among {', '.join(TASKS)}")
        if self.judged not in ("objects", "all"):
            raise ValueError(f"judged is {self.judged!r}, expected objects or all")

    def load_prompts(self) -> dict[str, Prompt]:
        """The prompt of each task, with the view that was asked for."""
        prompts = {task: load_prompt(self.prompts, task) for task in self.tasks}
        if self.view and "risk" in prompts:
            prompts["risk"] = replace(prompts["risk"], view=self.view)
        return prompts


@dataclass(frozen=True)
class FrameLabels:
    """All rows of one frame."""

    frame: FrameLabel
    objects: list[ObjectLabel]
    audit: FrameAudit
    risk_map: RiskMapRow


@dataclass
class _Tally:
    """What the questions of one frame came to."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    omitted_first: int = 0
    omitted: int = 0
    faults: Counter = field(default_factory=Counter)
    answers: list[str] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        self.requests += answer.requests
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.answers.append(answer.text or f"refused: {answer.refusal}")


class FrameLabeler:
    """Labels single frames; many may be under way at once."""

    def __init__(
        self,
        source: FrameSource,
        asker: Asker,
        config: LabelConfig,
        executor: Executor,
        detector: Detector | None = None,
    ) -> None:
        self._source, self._asker, self.config = source, asker, config
        self._executor, self._detector = executor, detector
        self._one_by_one = threading.Lock()  # sources and detectors need not bear several threads
        self._prompts = config.load_prompts()

    async def label(self, index: int) -> FrameLabels:
        """All labels of frame `index`. A frame that cannot be read or judged is labelled as failed, with the reason."""
        try:
            scene = await asyncio.get_running_loop().run_in_executor(self._executor, self.prepare, index)
        except FrameSourceError as error:
            return self._unreadable(index, str(error))
        except Exception as error:  # one odd frame among many must not end the run; its reason is counted
            return self._unreadable(index, repr(error))
        tally = _Tally()
        judged, actions = await all_of((self._risks(scene, tally), self._actions(scene, tally)))
        return self._labels(scene, judged, actions, tally)

    def _unreadable(self, index: int, reason: str) -> FrameLabels:
        frame_id = self._source.frame_id(index)
        audit = FrameAudit(frame_id, status="failed", failure=storable(f"unreadable: {reason}")[:300])
        empty = dense_map(frame_id, np.zeros((0, 7)), np.zeros(0), self.config.risk_map, False)
        return FrameLabels(FrameLabel(frame_id), [], audit, empty)

    def prepare(self, index: int) -> Scene:
        """Read, ground and picture a frame. Raises FrameSourceError."""
        with self._one_by_one:
            frame = self._source.frame(index)
            objects = self._ground(frame)
        if not self._asker.teacher.looks:
            return Scene(frame, tuple(objects), {})
        pictures, measured, dark = make_pictures(
            frame, objects, self._prompts, self.config.pictures, self.config.red_line
        )
        return Scene(frame, tuple(objects), pictures, measured, dark)

    def _ground(self, frame: KeyFrame) -> list[GroundedObject]:
        config = self.config.grounding
        if self._asker.teacher.reach < config.max_range:
            config = replace(config, max_range=self._asker.teacher.reach)
        prompt = self._prompts.get("risk")
        if prompt is not None and prompt.view == "front" and not config.cameras:
            config = replace(config, cameras=(frame.rig.names[front_camera(frame.rig)],))
        if self._detector is not None:
            return ground_detections(frame, self._detector, config)
        if frame.objects is None:
            raise FrameSourceError(f"{frame.frame_id} has no annotations: give a detector (--detector)")
        return ground_annotations(frame, config)

    def _samples(self, scene: Scene) -> int:
        if "risk" not in self._prompts or not scene.objects:
            return 0
        return self.config.samples if self._asker.teacher.samples else 1

    async def _risks(self, scene: Scene, tally: _Tally) -> list[dict[int, Judgement]]:
        """What each sample says; those without a usable answer are left out."""
        samples = self._samples(scene)
        if not samples:
            return []
        first = risk_question(scene, self._prompts["risk"], 0)
        questions = [replace(first, sample=sample) for sample in range(samples)]
        answers = await self._asker.ask_samples(questions)
        jobs = [self._risk_sample(*pair, tally) for pair in zip(questions, answers, strict=True)]
        return [sample for sample in await all_of(jobs) if sample]

    async def _risk_sample(self, question: Question, first: Answer, tally: _Tally) -> dict[int, Judgement]:
        """One sample from its first answer on: ask again for what was left out. Empty where no answer could be used."""
        found: dict[int, Judgement] = {}
        answer: Answer | None = first
        missing: tuple[int, ...] | None = None  # None = not asked yet
        for _ in range(1 + self.config.reasks):
            omitted = await self._judge(question, answer, found, tally)
            if omitted is None:  # no usable answer: nothing is known of what it would have left out
                break
            if missing is None:
                tally.omitted_first += len(omitted)
            missing = omitted
            if not missing:
                break
            question = risk_question(question.scene, self._prompts["risk"], question.sample, only=missing)
            answer = None
        tally.omitted += len(missing or ())
        return found

    async def _judge(
        self, question: Question, answer: Answer | None, found: dict[int, Judgement], tally: _Tally
    ) -> tuple[int, ...] | None:
        """Add what an answer says to `found`; returns the numbers it left out, None where no answer could be used.

        `answer`: of the first attempt, if it is known.
        """
        for attempt in range(self.config.attempts):
            if attempt > 0 or answer is None:
                answer = await self._asker.ask(replace(question, attempt=attempt))
            tally.add(answer)
            if answer.refusal:
                tally.faults[answer.refusal] += 1
                break
            try:
                parsed = parse_risk(answer.text, question.numbers, answer.finish_reason == "length")
            except UnusableAnswer as error:
                tally.faults[error.reason] += 1
                continue
            tally.faults.update(parsed.faults)
            found.update(parsed.judgements)
            return parsed.omitted
        return None

    async def _actions(self, scene: Scene, tally: _Tally) -> dict[str, str]:
        """VLM-AD's answers; empty where none could be used."""
        if "action" not in self._prompts:
            return {}
        for attempt in range(self.config.attempts):
            answer = await self._asker.ask(action_question(scene, self._prompts["action"], attempt=attempt))
            tally.add(answer)
            if answer.refusal:
                tally.faults[f"action_{answer.refusal}"] += 1
                break
            try:
                return parse_action(answer.text, answer.finish_reason == "length")
            except UnusableAnswer as error:
                tally.faults[f"action_{error.reason}"] += 1
        return {}

    def _labels(
        self, scene: Scene, samples: list[dict[int, Judgement]], actions: dict[str, str], tally: _Tally
    ) -> FrameLabels:
        frame = scene.frame
        risks = [{n: j.risk for n, j in sample.items()} for sample in samples]
        disagreement = mean_diff_risk(risks)
        status, failure = self._status(scene, samples, disagreement, tally, bool(actions))
        weigh = partial(
            label_weight, asked_samples=self._samples(scene), disagreement=disagreement, limit=self.config.max_diff_risk
        )
        objects = object_labels(scene, samples, weigh, usable=status == "ok")
        by_id = [{scene.objects[n - 1].object_id: r for n, r in sample.items()} for sample in risks]
        audit = FrameAudit(
            frame.frame_id, status, failure, frame.town, frame.weather, frame.time_of_day, frame.ego_speed,
            scene.luminance, scene.brightened, len(scene.objects), len(samples), tally.omitted_first, tally.omitted,
            tuple(f"{k}:{n}" for k, n in sorted(tally.faults.items())), json.dumps(by_id), disagreement,
            tally.requests, tally.prompt_tokens, tally.completion_tokens,
        )  # fmt: skip
        label = FrameLabel(
            frame.frame_id, judged=self.config.judged if status == "ok" else "objects", **actions,
            kendall_tau=mean_kendall_tau(risks), answers=tuple(tally.answers),
        )  # fmt: skip
        boxes, known = all_boxes(frame, objects)
        risk_map = dense_map(frame.frame_id, boxes, known, self.config.risk_map, label.judged == "all")
        return FrameLabels(label, objects, audit, risk_map)

    def _status(
        self, scene: Scene, samples: Sequence, disagreement: float | None, tally: _Tally, acted: bool
    ) -> tuple[str, str]:
        """The frame's status in the audit, and why it lacks what it was asked for."""
        without_risk = "risk" in self._prompts and bool(scene.objects) and not samples
        without_action = "action" in self._prompts and not acted
        failure = ", ".join(sorted(f for f in tally.faults if without_risk or f.startswith("action_")))
        if without_risk or (without_action and "risk" not in self._prompts):
            return "failed", failure
        gated = disagreement is not None and disagreement > self.config.max_diff_risk
        return "gated" if gated else "ok", failure if without_action else ""


def config_fields(config: LabelConfig) -> dict:
    """The configuration as plain values, for a run's identity."""
    return asdict(config)
