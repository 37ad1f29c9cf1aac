"""Closed-loop drives in the embedded world, in this process: many episodes, one policy, one table."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rsd_model.geometry import bench2drive_rig
from rsd_offline.evaluation.policies import ExpertPolicy, Policy, RouteFollowerPolicy, StudentPolicy
from rsd_offline.worker_processes import worker_pool
from rsd_world.score.episode_score import EpisodeScore, score_episode
from rsd_world.score.route_score import RouteScore
from rsd_world.world import Episode, World

POLICIES = ("student", "expert", "constant")


class ReportError(ValueError):
    """A report of earlier drives cannot be gone on with."""


@dataclass(frozen=True)
class DriveConfig:
    """Who drives, and how."""

    policy: str = "student"  # one of POLICIES
    weights: str = ""  # safetensors of the student
    device: str = "cpu"
    plan_every: int = 1  # ticks between two plans of the student
    emergency_brake: bool = True  # of the student, as the planner node has it ...
    stop_signs: bool = True  # ... and this
    image_width: int = 400
    image_height: int = 225
    max_seconds: float = 240.0  # safety net; the world ends a drive by its own rules before

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"policy {self.policy!r} is none of {', '.join(POLICIES)}")
        if self.policy == "student" and not self.weights:
            raise ValueError("policy student needs weights: give a .safetensors file")


@dataclass(frozen=True)
class DriveResult:
    """One finished drive."""

    episode: Episode
    score: EpisodeScore
    outcome: str
    seconds: float  # simulated
    infractions: tuple[str, ...]  # in words
    stops: tuple[str, ...] = ()  # plans that the emergency brake or a stop sign stopped, in words


class Driver:
    """Drives episodes one after another in one process; keeps the network and the renderer of the last town."""

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        self._student: StudentPolicy | None = None
        self._town = ""

    def drive(self, episode: Episode) -> DriveResult:
        """Drive one episode to its end and score it."""
        world = World(episode)
        policy = self._policy(world)
        policy.start(world)
        while not world.done and world.time < self.config.max_seconds:
            world.step(policy.act(world))
        words = tuple(f"{i.time:.1f} s {i.kind.value}: {i.detail}" for i in world.infractions)
        stops = tuple(policy.stops) if isinstance(policy, StudentPolicy) else ()
        return DriveResult(episode, score_episode(world), world.outcome, world.time, words, stops)

    def _policy(self, world: World) -> Policy:
        if self.config.policy == "expert":
            return ExpertPolicy()
        if self.config.policy == "constant":
            return RouteFollowerPolicy()
        return self._student_policy(world)

    def _student_policy(self, world: World) -> StudentPolicy:
        from rsd_model.inference import PlannerRuntime
        from rsd_world.render.renderer import Renderer

        if self._student is None or self._town != world.town.name:
            rig = bench2drive_rig(self.config.image_width, self.config.image_height)
            renderer = Renderer(world.town, rig)
            runtime = PlannerRuntime(Path(self.config.weights), device=self.config.device)
            config = self.config
            self._student = StudentPolicy(
                runtime, renderer, config.plan_every, config.emergency_brake, config.stop_signs
            )
            self._town = world.town.name
        return self._student


_driver: Driver | None = None


def _start_worker(config: DriveConfig, threads: int) -> None:
    global _driver
    import torch

    torch.set_num_threads(threads)
    _driver = Driver(config)


def _drive(episode: Episode) -> DriveResult:
    assert _driver is not None
    return _driver.drive(episode)


def drive_all(config: DriveConfig, episodes: Sequence[Episode], workers: int) -> Iterator[DriveResult]:
    """Drive all episodes over `workers` processes; results come as they end."""
    with worker_pool(workers, _start_worker, (config, 1)) as pool:
        for future in as_completed([pool.submit(_drive, episode) for episode in episodes]):
            yield future.result()


def evaluation_episodes(
    town: str, count: int, seed: int, scenarios: Sequence[str], weathers: Sequence[str]
) -> list[Episode]:
    """`count` seeded episodes over different routes; scenarios and weathers are gone through in turn."""
    return [
        Episode(
            town=town, route=1000 * seed + i, seed=1000 * seed + i, weather=weathers[i % len(weathers)],
            scenario=scenarios[i % len(scenarios)] if scenarios else None,
        )
        for i in range(count)
    ]  # fmt: skip


def result_row(result: DriveResult) -> dict[str, Any]:
    """A result as plain JSON."""
    score = result.score
    return {
        **asdict(result.episode), "outcome": result.outcome, "seconds": round(result.seconds, 1),
        "driving_score": score.driving_score, "route_completion": score.route_completion, "success": score.success,
        "efficiency": score.efficiency, "comfort": score.comfort, "infractions": list(result.infractions),
        "stops": list(result.stops), "score": asdict(score),
    }  # fmt: skip


def result_of(row: dict[str, Any]) -> DriveResult:
    """The result that `result_row` made `row` of."""
    episode = Episode(**{f.name: row[f.name] for f in fields(Episode)})
    score = EpisodeScore(**{**row["score"], "route": RouteScore(**row["score"]["route"])})
    infractions, stops = tuple(row["infractions"]), tuple(row["stops"])
    return DriveResult(episode, score, row["outcome"], row["seconds"], infractions, stops)


def report_config(config: DriveConfig) -> dict[str, Any]:
    """What a report says of how it was driven: the configuration and which weights the file held."""
    weights = hashlib.sha256(Path(config.weights).read_bytes()).hexdigest() if config.weights else ""
    return {**asdict(config), "weights_sha256": weights}


def driven_before(path: Path, config: DriveConfig, episodes: Sequence[Episode]) -> list[DriveResult]:
    """Those of `episodes` that the report at `path` holds; none where there is no report.

    Raises ReportError when it is damaged or was driven by another configuration or other weights.
    """
    if not path.exists():
        return []
    try:
        report = json.loads(path.read_text())
        results = [result_of(row) for row in report["routes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is no report that can be gone on with ({error!r}): choose another --out") from error
    asked = report_config(config)
    if differing := [key for key in asked if report["config"].get(key) != asked[key]]:
        raise ReportError(f"{path} was driven with another {', '.join(differing)}: choose another --out")
    return [result for result in results if result.episode in episodes]


def write_report(path: Path, config: DriveConfig, results: Sequence[DriveResult], table: dict[str, Any]) -> None:
    """Write the aggregate and every route as JSON."""
    rows = sorted((result_row(r) for r in results), key=lambda row: row["route"])
    machine = platform.processor() or platform.machine()
    report = {"config": report_config(config), "machine": machine, "table": table, "routes": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=1))
    partial.replace(path)
