"""What the network sees, judges and plans while the expert drives, against what is there: no planner at the wheel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from rsd_model.contracts import OBJECT_CLASSES, PLAN_STEP_SECONDS, DetectedObjects, PlannerOutput
from rsd_model.geometry import bench2drive_rig
from rsd_offline.evaluation.policies import frame_set
from rsd_offline.labeling.consistency import diff_risk, kendall_tau
from rsd_offline.training.targets import MIN_VISIBLE_PIXELS
from rsd_offline.worker_processes import worker_pool
from rsd_world.expert.expert import Expert
from rsd_world.expert.observations import Observation, observe
from rsd_world.expert.risk import assess_risk
from rsd_world.world import Episode, World

MATCH_RADIUS = 2.0  # m between centres, as nuScenes has it for the true positives' errors
MOVES = 2.0  # m/s from which on an object's velocity error counts
DANGER = 0.3  # teacher's risk from which on a frame has a most dangerous object
GROUPS = {"vehicle": ("car", "van", "truck"), "bicycle": ("bicycle",), "pedestrian": ("pedestrian",)}
RISK_STEPS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class OpenLoopConfig:
    """Which weights, and how they are asked."""

    weights: str
    device: str = "cpu"
    min_score: float = 0.3  # of a detection
    max_seconds: float = 60.0  # of each drive
    image_width: int = 400
    image_height: int = 225


@dataclass(frozen=True)
class FrameScore:
    """One frame: T objects that are there, D detections, and which belong together."""

    plan_errors: np.ndarray  # (6,) m between the network's plan and the expert's at 0.5 .. 3 s
    labels: np.ndarray  # (T,) class of each object
    teacher: np.ndarray  # (T,) its risk as the privileged teacher judges it
    risks: np.ndarray  # (T,) as the network does; nan = not detected
    centre_errors: np.ndarray  # (T,) m, nan = not detected
    velocity_errors: np.ndarray  # (T,) m/s, nan = not detected, or slow
    false_labels: np.ndarray  # (D - matched,) classes of detections where nothing is


def score_frame(
    output: PlannerOutput,
    plan: np.ndarray,
    seen: Observation,
    risks: Mapping[int, float],
    extent: Sequence[float],
    min_score: float,
) -> FrameScore:
    """`plan` (6, 2) m is the expert's, `risks` the teacher's by object id, `extent` +-x, +-y m what the BEV holds."""
    inside = (np.abs(seen.boxes[:, :2]) <= np.asarray(extent)).all(axis=1)
    there = np.flatnonzero(inside & ((seen.pixels >= MIN_VISIBLE_PIXELS) | (seen.pixels < 0)))
    hidden = np.flatnonzero(inside & (seen.pixels >= 0) & (seen.pixels < MIN_VISIBLE_PIXELS))
    objects = output.objects
    found = np.flatnonzero(objects.scores >= min_score)
    pairs = match(seen.boxes[there, :2], objects.boxes[found, :2])
    row = np.full(len(there), -1)
    row[[a for a, _ in pairs]] = [found[b] for _, b in pairs]
    hit = row >= 0
    left = np.setdiff1d(found, row[hit])
    # Who finds a hidden object is not wrong.
    guesses = {int(left[b]) for _, b in match(seen.boxes[hidden, :2], objects.boxes[left, :2])}
    false = [k for k in left if k not in guesses]
    return FrameScore(
        plan_errors=np.linalg.norm(output.trajectory - plan, axis=1),
        labels=seen.labels[there],
        teacher=np.array([risks.get(int(i), 0.0) for i in seen.ids[there]]),
        risks=np.where(hit, objects.risks[row] if len(objects) else np.nan, np.nan),
        **_errors(seen, there, objects, row),
        false_labels=objects.labels[false],
    )


def match(centres: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Index pairs of centres (T, 2) and (D, 2) m that belong together: the least sum of distances, none too far."""
    distances = np.linalg.norm(centres[:, None] - others[None], axis=-1)
    rows, columns = linear_sum_assignment(np.minimum(distances, 2.0 * MATCH_RADIUS))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if distances[a, b] <= MATCH_RADIUS]


def _errors(seen: Observation, there: np.ndarray, objects: DetectedObjects, row: np.ndarray) -> dict[str, np.ndarray]:
    centre, velocity = np.full(len(there), np.nan), np.full(len(there), np.nan)
    hit = np.flatnonzero(row >= 0)
    truth, own = there[hit], row[hit]
    centre[hit] = np.linalg.norm(seen.boxes[truth, :2] - objects.boxes[own, :2], axis=1)
    fast = np.linalg.norm(seen.velocities[truth], axis=1) > MOVES
    error = np.linalg.norm(seen.velocities[truth] - objects.velocities[own], axis=1)
    velocity[hit] = np.where(fast, error, np.nan)
    return {"centre_errors": centre, "velocity_errors": velocity}


def summary(frames: Sequence[FrameScore]) -> dict[str, Any]:
    """Means over frames and objects; None where there was nothing to judge."""
    if not frames:
        raise ValueError("no frame was driven")
    plans = np.stack([frame.plan_errors for frame in frames])
    labels, false = (np.concatenate([getattr(f, k) for f in frames]) for k in ("labels", "false_labels"))
    centre, velocity = (np.concatenate([getattr(f, k) for f in frames]) for k in ("centre_errors", "velocity_errors"))
    found: dict[str, Any] = {
        "frames": len(frames),
        "plan error m": {f"{s} s": float(plans[:, 2 * s - 1].mean()) for s in (1, 2, 3)}
        | {"mean": float(plans.mean())},
        "objects": {},
    }
    for name, classes in GROUPS.items():
        ids = [OBJECT_CLASSES.index(c) for c in classes]
        there, wrong = np.isin(labels, ids), int(np.isin(false, ids).sum())
        hits = int(np.isfinite(centre[there]).sum())
        found["objects"][name] = {
            "there": int(there.sum()),
            "recall": _share(hits, int(there.sum())),
            "precision": _share(hits, hits + wrong),
            "centre error m": _mean(centre[there]),
            "velocity error m/s, moving ones": _mean(velocity[there]),
        }
    return found | {"risk": _risk_summary(frames)}


def _risk_summary(frames: Sequence[FrameScore]) -> dict[str, Any]:
    teacher, risks = (np.concatenate([getattr(f, k) for f in frames]) for k in ("teacher", "risks"))
    known = [np.isfinite(f.risks) for f in frames]
    both = [
        (dict(enumerate(f.teacher[k].tolist())), dict(enumerate(f.risks[k].tolist())))
        for f, k in zip(frames, known, strict=True)
    ]
    dangerous = [f for f in frames if len(f.teacher) and f.teacher.max() >= DANGER]
    named = [bool(np.isfinite(f.risks).any() and np.nanargmax(f.risks) == f.teacher.argmax()) for f in dangerous]
    rows = []
    for low, high in zip(RISK_STEPS[:-1], RISK_STEPS[1:], strict=True):
        there = (teacher >= low) & ((teacher < high) | (high == RISK_STEPS[-1]))
        rows.append(
            {
                "teacher": [low, high],
                "objects": int(there.sum()),
                "detected": _share(int(np.isfinite(risks[there]).sum()), int(there.sum())),
                "teacher's mean": _mean(teacher[there]),
                "network's mean": _mean(risks[there]),
            }
        )
    return {
        "Diff_Risk": _mean([d for a, b in both if (d := diff_risk(a, b)) is not None]),
        "Kendall's tau": _mean([t for a, b in both if (t := kendall_tau(a, b)) is not None]),
        "frames with a danger": len(dangerous),
        "most dangerous object named": _share(sum(named), len(named)),
        "by risk": rows,
    }


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    values = np.asarray(values, float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


class _Observer:
    """Watches the expert drive in one process; keeps the network and the renderer of the last town."""

    def __init__(self, config: OpenLoopConfig) -> None:
        from rsd_model.inference import PlannerRuntime

        self.config = config
        self._runtime = PlannerRuntime(Path(config.weights), device=config.device)
        self._rig = bench2drive_rig(config.image_width, config.image_height)
        self._renderer: Any = None
        self._town = ""

    def watch(self, episode: Episode) -> list[FrameScore]:
        from rsd_world.render.renderer import Renderer

        world = World(episode)
        if self._town != world.town.name:
            self._town = world.town.name
            self._renderer = Renderer(world.town, self._rig, outputs=("rgb", "instance"))
        expert, frames = Expert(world), []
        self._runtime.reset()
        half = 0.5 * np.asarray(self._runtime.config.bev.size)
        ticks = round(PLAN_STEP_SECONDS / episode.dt)
        while not world.done and world.time < self.config.max_seconds:
            plan = expert.plan()
            if world.frame % ticks == 0:
                rendered = self._renderer.render(world.snapshot)
                output = self._runtime.plan(frame_set(world, self._rig, rendered.rgb))
                seen, risks = observe(world, rendered.instance), {a.id: a.risk for a in assess_risk(world)}
                frames.append(score_frame(output, plan.trajectory, seen, risks, half[::-1], self.config.min_score))
            world.step(plan.control)
        return frames


_observer: _Observer | None = None


def _start_worker(config: OpenLoopConfig) -> None:
    global _observer
    import torch

    torch.set_num_threads(1)
    _observer = _Observer(config)


def _watch(episode: Episode) -> list[FrameScore]:
    assert _observer is not None
    return _observer.watch(episode)


def watch_all(config: OpenLoopConfig, episodes: Sequence[Episode], workers: int) -> Iterator[list[FrameScore]]:
    """The scored frames of one drive after another, as they end."""
    with worker_pool(workers, _start_worker, (config,)) as pool:
        for future in as_completed([pool.submit(_watch, episode) for episode in episodes]):
            yield future.result()
