"""Compares the training losses with terms recorded from the public VAD on a synthetic ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_model.checkpoints.golden import TOLERANCE, GoldenError, GoldenFile, Row
from rsd_model.checkpoints.parity import RERUNS, ParityRun, Rounding
from rsd_model.config import ModelConfig, load_model_config
from rsd_model.losses.planner_loss import PlannerLoss, constraint_terms
from rsd_model.losses.targets import PlannerTargets

PLAN = ("ego", "weight", "lane", "lane_score", "agent_pos", "agent_fut", "agent_score", "agent_cls")
TRUTH = ("boxes_input", "labels", "attr", "ego", "ego_mask", "cmd", "map_labels", "map_pts_v2")
CONSTRAINTS = {"bound": "loss_plan_bound", "col": "loss_plan_col", "dir": "loss_plan_dir"}


def find_frames(losses: GoldenFile) -> GoldenFile:
    """The recording whose outputs the loss terms belong to: the losses file itself, or the only one beside it.

    Raises GoldenError when there is none or more than one; then it has to be named.
    """
    if losses.frames:
        return losses
    recordings = []
    for path in sorted(losses.path.parent.glob("*.npz")):
        with suppress(GoldenError):  # what else lies there need not be readable
            recordings += [golden] if (golden := GoldenFile(path)).frames else []
    if len(recordings) != 1:
        raise GoldenError(
            f"{losses.path}: its terms need the recorded frames they were computed on; "
            f"found {len(recordings)} such files beside it, name one with --frames"
        )
    return recordings[0]


def recorded_targets(values: dict[str, np.ndarray], steps: int) -> PlannerTargets:
    """The ground truth of a losses file; `attr` holds the future offsets, then their mask, then what we do not use."""
    data = _arrays(values, TRUTH)
    futures, masks = data["attr"][:, : 2 * steps], data["attr"][:, 2 * steps : 3 * steps]
    return PlannerTargets(
        object_boxes=[data["boxes_input"]],
        object_labels=[data["labels"]],
        object_futures=[futures.unflatten(1, (steps, 2))],
        object_future_masks=[masks],
        map_points=[data["map_pts_v2"][:, 0]],
        map_labels=[data["map_labels"]],
        ego_future=data["ego"].reshape(1, steps, 2),
        ego_future_mask=data["ego_mask"].reshape(1, steps),
        command=data["cmd"].reshape(1, -1).argmax(-1),
        map_variants=[data["map_pts_v2"]],
    )


def _arrays(values: dict[str, np.ndarray], names: tuple[str, ...], prefix: str = "") -> dict[str, Tensor]:
    """The named arrays as float32 or int64. Raises GoldenError with the names that are not there."""
    missing = [f"{prefix}{name}" for name in names if f"{prefix}{name}" not in values]
    if missing:
        raise GoldenError(f"the losses file lacks {', '.join(missing)}")
    arrays = {name: torch.from_numpy(values[f"{prefix}{name}"]) for name in names}
    return {name: array.float() if array.is_floating_point() else array.long() for name, array in arrays.items()}


def _row(name: str, actual: Tensor, recorded: float, tolerance: float) -> Row:
    error = abs(float(actual) - recorded) / (abs(recorded) if recorded else 1.0)
    return Row(name, (), error, error < tolerance)


def last_outputs(run: ParityRun, disturbance: int = 0) -> dict[str, Tensor]:
    """Raw outputs of the last recorded frame."""
    outputs: dict[str, Tensor] = {}
    for _, frame_outputs, _ in run.frames(disturbance):
        outputs = frame_outputs
    return outputs


def term_rows(
    losses: GoldenFile, terms: dict[str, Tensor], tolerance: float, verdicts: dict[str, Rounding] | None = None
) -> Iterator[Row]:
    """A row per recorded term; `terms` of PlannerLoss."""
    for key, recorded in losses.values.items():
        if key.startswith("loss/"):
            name = key.removeprefix("loss/")
            if name in terms:
                row = _row(key, terms[name], float(recorded), tolerance)
                yield verdicts[name].judge(row) if verdicts and name in verdicts else row
            else:
                yield Row(key, (), float("inf"), False, "PlannerLoss has no such term")
    for name in sorted(terms.keys() - {k.removeprefix("loss/") for k in losses.values}):
        yield Row(f"loss/{name}", (), float("inf"), False, "not in the file")


def run_rows(losses: GoldenFile, run: ParityRun, tolerance: float, strict: bool = False) -> Iterator[Row]:
    """A row per recorded term on the run's outputs; what misses is judged as by `ParityRun.rows`, unless `strict`."""
    targets, loss = recorded_targets(losses.values, run.config.motion.steps), PlannerLoss(run.config)
    first = loss(last_outputs(run), targets)
    verdicts: dict[str, Rounding] = {}
    for row in term_rows(losses, first, tolerance):
        if not (row.passed or strict) and np.isfinite(row.error):
            verdicts[row.name.removeprefix("loss/")] = Rounding(row.error, tolerance)
    for disturbance in range(1, RERUNS + 1):
        if all(verdict.explains for verdict in verdicts.values()):
            break
        terms = loss(last_outputs(run, disturbance), targets)
        for name, verdict in verdicts.items():
            recorded = float(losses.values[f"loss/{name}"])
            moved = _row(name, terms[name], float(first[name]), tolerance).error
            verdict.add(_row(name, terms[name], recorded, tolerance).error, moved)
    yield from term_rows(losses, first, tolerance, verdicts)


def constraint_rows(losses: GoldenFile, config: ModelConfig, tolerance: float) -> Iterator[Row]:
    """A row per planning constraint recorded on inputs of its own (`plan/...`)."""
    inputs = _arrays(losses.values, PLAN, "plan/")
    terms = constraint_terms(*(inputs[name] for name in PLAN), config)
    for name, ours in CONSTRAINTS.items():
        recorded = losses.values.get(f"plan/loss/{name}")
        if recorded is not None:
            yield _row(f"plan/loss/{name}", terms[ours], float(recorded), tolerance)


def loss_rows(
    losses: GoldenFile,
    frames_path: str | Path | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    strict: bool = False,
) -> Iterator[Row]:
    """Every comparison that a losses file allows."""
    if any(key.startswith("loss/") for key in losses.values):
        run = ParityRun(GoldenFile(frames_path) if frames_path else find_frames(losses), seed)
        yield from run_rows(losses, run, tolerance, strict)
    if any(key.startswith("plan/") for key in losses.values):
        yield from constraint_rows(losses, load_model_config("base"), tolerance)
