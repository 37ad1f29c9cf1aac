"""Drives of the embedded world for training: who drives varies, the recorded plan is always the expert's.

Expert drives are perturbed now and then, so that the data hold the way back; in DAgger rounds (Ross et al. 2011) the
student drives and the expert only labels. Episodes that exist are skipped: a killed collection goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rsd_model.config_reader import ConfigError
from rsd_model.contracts import PLAN_STEP_SECONDS, VehicleControl
from rsd_model.geometry import bench2drive_rig
from rsd_model.inputs import StandstillMemory
from rsd_offline.datasets.episode_store import DriveFrame, encode_images, write_episode
from rsd_offline.datasets.staged_walkers import StagedWalkers
from rsd_offline.labeling.store import FrameLabel, ObjectLabel, write_shard
from rsd_offline.worker_processes import worker_pool
from rsd_world.expert.expert import Expert
from rsd_world.expert.observations import Observation, observe
from rsd_world.expert.risk import assess_risk
from rsd_world.render.renderer import Renderer
from rsd_world.world import Episode, World

PRIVILEGED_TEACHER = {"model": "privileged", "prompt_hash": "", "parameters": "{}"}


@dataclass(frozen=True)
class CollectConfig:
    """What to drive and record."""

    episodes: int = 200
    town: str = "alder"
    seed: int = 0
    weathers: tuple[str, ...] = ("clear", "overcast", "rain", "fog", "dusk", "night")
    scenarios: tuple[str, ...] = ()  # drawn from evenly; empty = plain driving only
    scenario_share: float = 0.6  # share of episodes with a scenario
    vehicles: tuple[int, int] = (10, 40)  # least and most in an episode
    pedestrians: tuple[int, int] = (5, 30)
    max_seconds: float = 60.0
    image_width: int = 400
    image_height: int = 225
    perturbations_per_minute: float = 6.0
    walkers_per_minute: float = 0.0  # groups that step onto the road before the vehicle
    student_weights: str = ""  # DAgger: safetensors of the driver; empty = the expert drives
    student_share: float = 0.8  # DAgger: share of the seconds in which the student drives

    def __post_init__(self) -> None:
        for key in ("vehicles", "pedestrians"):
            value = getattr(self, key)
            if len(value) != 2 or not 0 <= value[0] <= value[1]:
                raise ConfigError(f"{key}: {list(value)} is no [least, most]")


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to collect."""

    name: str
    episode: Episode
    max_seconds: float


def plan_episodes(config: CollectConfig, prefix: str) -> list[EpisodePlan]:
    """The episodes of a collection, a function of the configuration alone."""
    plans = []
    for index in range(config.episodes):
        rng = np.random.default_rng([config.seed, index])
        with_scenario = len(config.scenarios) > 0 and rng.random() < config.scenario_share
        episode = Episode(
            town=config.town,
            route=int(rng.integers(10_000)),
            scenario=str(rng.choice(config.scenarios)) if with_scenario else None,
            weather=str(rng.choice(config.weathers)),
            seed=int(rng.integers(2**31)),
            vehicles=int(rng.integers(config.vehicles[0], config.vehicles[1] + 1)),
            pedestrians=int(rng.integers(config.pedestrians[0], config.pedestrians[1] + 1)),
        )
        plans.append(EpisodePlan(f"{prefix}_{index:05d}", episode, config.max_seconds))
    return plans


class Perturbation:
    """Short bursts of wrong steering and throttle on top of the expert's control."""

    def __init__(self, rng: np.random.Generator, per_minute: float, dt: float) -> None:
        self._rng, self._chance, self._dt = rng, per_minute / 60.0 * dt, dt
        self._left = 0.0

    def __call__(self, control: VehicleControl) -> VehicleControl:
        if self._left <= 0.0 and self._rng.random() < self._chance:
            self._left = self._rng.uniform(0.4, 1.0)
            self._steer = self._rng.uniform(-0.25, 0.25)
            self._throttle = self._rng.uniform(-0.3, 0.3)
        if self._left <= 0.0:
            return control
        self._left -= self._dt
        steer = float(np.clip(control.steer + self._steer, -1.0, 1.0))
        throttle = float(np.clip(control.throttle + self._throttle, 0.0, 0.75)) if control.brake == 0.0 else 0.0
        return replace(control, steer=steer, throttle=throttle)


class EpisodeCollector:
    """Drives episodes one after another in one process and keeps what is costly: renderers and the student."""

    def __init__(self, config: CollectConfig, out: Path) -> None:
        self.config, self.out = config, out
        self._rig = bench2drive_rig(config.image_width, config.image_height)
        self._renderer: tuple[str, Renderer] | None = None
        self._student = None

    def collect(self, plan: EpisodePlan) -> dict:
        """Drive and write one episode; returns what happened (name, frames, outcome)."""
        world = World(plan.episode)
        renderer = self._renderer_of(world)
        rng = np.random.default_rng([plan.episode.seed, 7])
        drivers = self._drivers(world, renderer, rng)
        expert = Expert(world)
        walkers = StagedWalkers(
            np.random.default_rng([plan.episode.seed, 8]), self.config.walkers_per_minute, plan.episode.dt
        )
        frames: list[DriveFrame] = []
        objects: list[ObjectLabel] = []
        ticks_per_frame = round(PLAN_STEP_SECONDS / plan.episode.dt)
        standstill = StandstillMemory()
        for tick in range(int(plan.max_seconds / plan.episode.dt)):
            since_standstill = standstill.update(world.ego_state())
            if world.done or any(i.kind.is_collision for i in world.infractions):
                break
            expert_plan = expert.plan()
            if tick % ticks_per_frame == 0:
                frame_id = f"{plan.name}/{len(frames):05d}"
                frame, observation = record_frame(world, renderer, expert_plan.trajectory, since_standstill)
                frames.append(frame)
                objects += label_objects(world, observation, frame_id)
            walkers.step(world)
            world.step(drivers(tick, expert_plan.control))
        labels = [FrameLabel(f"{plan.name}/{i:05d}", judged="all") for i in range(len(frames))]
        write_shard(self.out / "labels", plan.name, labels, objects, PRIVILEGED_TEACHER)
        about = {
            "town": plan.episode.town, "route": plan.episode.route, "scenario": plan.episode.scenario,
            "weather": plan.episode.weather, "seed": plan.episode.seed, "outcome": world.outcome,
            "driver": self.config.student_weights or "expert", "infractions": [i.kind for i in world.infractions],
        }  # fmt: skip
        write_episode(self.out / plan.name, frames, renderer.rig, about)
        return {"name": plan.name, "frames": len(frames), "outcome": world.outcome}

    def _renderer_of(self, world: World) -> Renderer:
        if self._renderer is None or self._renderer[0] != world.town.name:
            self._renderer = (world.town.name, Renderer(world.town, self._rig, outputs=("rgb", "instance")))
        return self._renderer[1]

    def _drivers(self, world: World, renderer: Renderer, rng: np.random.Generator):
        """A function (tick, expert's control) -> control of this episode."""
        dt = world.episode.dt
        if not self.config.student_weights:
            perturb = Perturbation(rng, self.config.perturbations_per_minute, dt)
            return lambda _tick, control: perturb(control)
        student = self._student_policy(renderer)
        student.start(world)
        student_seconds = rng.random(600) < self.config.student_share

        def mixed(tick: int, control: VehicleControl) -> VehicleControl:
            own = student.act(world)
            return own if student_seconds[int(tick * dt) % len(student_seconds)] else control

        return mixed

    def _student_policy(self, renderer: Renderer):
        from rsd_model.inference import PlannerRuntime
        from rsd_offline.evaluation.policies import StudentPolicy

        if self._student is None:
            runtime = PlannerRuntime(Path(self.config.student_weights), device="cpu")
            # Without safeguards: what leads to a collision is what it has to see.
            self._student = StudentPolicy(runtime, renderer, plan_every=2, emergency_brake=False, stop_signs=False)
        self._student.renderer = renderer
        return self._student


def record_frame(
    world: World, renderer: Renderer, plan: np.ndarray, since_standstill: float
) -> tuple[DriveFrame, Observation]:
    """Render and observe this instant; `plan` (6, 2) m, base_link, is the expert's, `since_standstill` in m."""
    rendered = renderer.render(world.snapshot)
    seen = observe(world, rendered.instance)
    ego = world.ego_state()
    frame = DriveFrame(
        stamp=ego.stamp, images=encode_images(rendered.rgb), pose=ego.pose, velocity=ego.velocity,
        acceleration=ego.acceleration, yaw_rate=ego.yaw_rate, since_standstill=since_standstill,
        command=int(world.command()), route=world.route_ahead(), plan=plan, boxes=seen.boxes,
        velocities=seen.velocities, labels=seen.labels, ids=seen.ids, pixels=seen.pixels,
        map_points=seen.map_points, map_labels=seen.map_labels,
    )  # fmt: skip
    return frame, seen


def label_objects(world: World, seen: Observation, frame_id: str) -> list[ObjectLabel]:
    """The privileged teacher's risk of every observed object, most dangerous first."""
    from rsd_model.contracts import OBJECT_CLASSES

    rows = {int(i): k for k, i in enumerate(seen.ids)}
    judged = sorted((a for a in assess_risk(world) if a.id in rows), key=lambda a: -a.risk)
    return [
        ObjectLabel(
            frame_id=frame_id, object_id=a.id, class_name=OBJECT_CLASSES[int(seen.labels[rows[a.id]])],
            risk=float(a.risk), box=tuple(float(v) for v in seen.boxes[rows[a.id]]), spread=0.0, rank=rank,
            crosses_ego_path=bool(a.crosses_ego_path), cause=a.cause,
        )
        for rank, a in enumerate(judged, start=1)
    ]  # fmt: skip


_collector: EpisodeCollector | None = None


def _start_worker(config: CollectConfig, out: Path) -> None:
    global _collector
    import torch

    torch.set_num_threads(1)
    _collector = EpisodeCollector(config, out)


def _collect(plan: EpisodePlan) -> dict:
    assert _collector is not None
    return _collector.collect(plan)


def collect(config: CollectConfig, out: Path, prefix: str, workers: int) -> Iterator[dict]:
    """Collect all missing episodes of `config` into `out/<prefix>_<index>`; yields a summary as each ends."""
    missing = [p for p in plan_episodes(config, prefix) if not (out / p.name / "episode.json").exists()]
    with worker_pool(workers, _start_worker, (config, out)) as pool:
        for future in as_completed([pool.submit(_collect, plan) for plan in missing]):
            yield future.result()
