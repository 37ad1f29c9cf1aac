"""Batches as a function of the step alone: a resumed run sees exactly what an uninterrupted one would have seen."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsd_model.config import ModelConfig
from rsd_model.contracts import PLAN_STEP_SECONDS, PLAN_STEPS, EgoState
from rsd_model.heads.risk import RiskHeadConfig
from rsd_model.inputs import ImageNormaliser, can_bus, ego_status, network_image, rig_projection, route_input
from rsd_model.losses.targets import PlannerTargets
from rsd_model.network import PlannerInputs
from rsd_offline.datasets.episode_store import DriveFrame, Episode, decode_image
from rsd_offline.training.config import MOMENTS, TrainConfig
from rsd_offline.training.language_answers import LanguageAnswers
from rsd_offline.training.targets import SampleTargets, sample_targets

Risks = dict[str, dict[int, tuple[float, float]]]


@dataclass(frozen=True)
class Batch:
    """T instants of B samples, oldest first; the last one has targets."""

    images: Tensor  # (T, B, N, H, W, 3) uint8
    lidar2img: Tensor  # (B, N, 4, 4)
    camera_valid: Tensor  # (T, B, N) bool
    can_bus: Tensor  # (T, B, 18)
    command: Tensor  # (T, B) int64
    route: Tensor  # (T, B, R, 2)
    ego_status: Tensor  # (T, B, S)
    targets: PlannerTargets

    def inputs(self, time: int, normalise: ImageNormaliser, prev_bev: Tensor | None) -> PlannerInputs:
        """Network inputs of instant `time` on the normaliser's device."""
        device = normalise.device
        return PlannerInputs(
            images=normalise(self.images[time]),
            lidar2img=self.lidar2img.to(device),
            can_bus=self.can_bus[time].to(device),
            command=self.command[time].to(device),
            route=self.route[time].to(device),
            ego_status=self.ego_status[time].to(device),
            camera_valid=self.camera_valid[time].to(device),
            prev_bev=prev_bev,
        )


class NetworkImages:
    """Images of an episode at network size, decoded once and kept as a memory-mapped file beside the data."""

    def __init__(self, model: ModelConfig) -> None:
        self._config = model.image

    def of(self, episode: Episode) -> np.ndarray:
        """(frames, N, H, W, 3) uint8."""
        height, _ = self._config.padded_size
        folder = episode.folder.parent / ".cache"
        path = folder / f"{episode.folder.name}_{self._config.width}x{self._config.height}_{height}.npy"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            with partial.open("wb") as file:
                np.save(file, np.stack([self._decode(episode.frame(i)) for i in range(len(episode))]))
            os.replace(partial, path)
        return np.load(path, mmap_mode="r")

    def _decode(self, frame: DriveFrame) -> np.ndarray:
        return np.stack([network_image(decode_image(data), self._config) for data in frame.images])


STANDING = 1.0  # m/s; slower counts as standing
DRIVES_OFF = 1.5  # m of plan from which on a standing vehicle is about to start
DANGER = 0.5  # risk from which on an object counts as dangerous
PARTING_STEPS = 3  # of PLAN_STEP_SECONDS over which a drive is compared with the expert's plan
PARTED = 1.0  # m/s
BRAKES = 0.6  # of the way at constant speed; a shorter plan brakes


def moments(episode: Episode) -> np.ndarray:
    """Index into MOMENTS of every frame (frames,): does the vehicle move, and does the expert's plan stop it."""
    frames = [episode.frame(i, with_images=False) for i in range(len(episode))]
    speed = np.array([f.velocity[0] for f in frames])
    plans = np.stack([np.vstack([np.zeros((1, 2)), f.plan]) for f in frames])
    length = np.linalg.norm(np.diff(plans, axis=1), axis=2).sum(axis=1)
    brakes = length < BRAKES * speed * PLAN_STEPS * PLAN_STEP_SECONDS
    return np.where(speed < STANDING, np.where(length > DRIVES_OFF, 3, 2), np.where(brakes, 1, 0))


def partings(episode: Episode) -> np.ndarray:
    """(frames,) m/s by which the vehicle then drove faster than the expert's plan, in the mean of the next 1.5 s.

    Of the last frames over what is left of the drive: that is where it collided.
    """
    frames = [episode.frame(i, with_images=False) for i in range(len(episode))]
    speeds = np.zeros(len(frames))
    for i, frame in enumerate(frames):
        later = np.array([f.pose[:3, 3] for f in frames[i : i + 1 + PARTING_STEPS]])
        steps = len(later) - 1
        if steps:
            planned = np.vstack([np.zeros((1, 2)), frame.plan[:steps]])
            driven = np.linalg.norm(np.diff(later[:, :2], axis=0), axis=1).sum()
            wanted = np.linalg.norm(np.diff(planned, axis=0), axis=1).sum()
            speeds[i] = (driven - wanted) / (steps * PLAN_STEP_SECONDS)
    return speeds


def ego_state(frame: DriveFrame) -> EgoState:
    """Ego state of a recorded frame."""
    return EgoState(float(frame.stamp), frame.pose, frame.velocity, frame.acceleration, float(frame.yaw_rate))


class StepBatches(Dataset):
    """Item `step` is the whole batch of that optimiser step."""

    def __init__(
        self,
        groups: list[list[Path]],
        model: ModelConfig,
        train: TrainConfig,
        risk_head: RiskHeadConfig,
        risks: Risks,
        judged: dict[str, str],
        seed: int,
        language: LanguageAnswers | None = None,
    ) -> None:
        """`groups`: episode folders, newest collection last; `train.recent_share` of a batch comes from that one, the
        rest from the others by their frames."""
        self._model, self._train, self._risk_head = model, train, risk_head
        self._risks, self._judged, self._seed, self._language = risks, judged, seed, language
        self._images = NetworkImages(model)
        self._episodes = [[Episode(folder) for folder in group] for group in groups if group]
        self._samples = [_by_moment(group, train.history) for group in self._episodes]
        wanted = self._episodes if train.danger_share else []
        self._dangers = [_by_danger(group, train.history, risks) for group in wanted]
        wanted = self._episodes if train.parting_share else []
        self._partings = [_by_parting(group, train.history) for group in wanted]

    @property
    def frames(self) -> int:
        return sum(len(samples) for group in self._samples for samples in group)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self._seed, step])
        history = 0 if rng.random() < self._train.history_drop else self._train.history
        picks = [self._pick(rng) for _ in range(self._train.batch_size)]
        return collate([self._sample(episode, index, history, rng) for episode, index in picks])

    def _pick(self, rng: np.random.Generator) -> tuple[Episode, int]:
        recent = len(self._samples) > 1 and rng.random() < self._train.recent_share
        earlier = np.array([sum(map(len, kinds)) for kinds in self._samples[:-1] or self._samples], float)
        group = len(self._samples) - 1 if recent else int(rng.choice(len(earlier), p=earlier / earlier.sum()))
        samples = self._drawn_from(group, rng)
        number, index = samples[rng.integers(len(samples))]
        return self._episodes[group][number], int(index)

    def _drawn_from(self, group: int, rng: np.random.Generator) -> np.ndarray:
        """The frames (n, 2) of one kind of parting, danger or moment, or, without their shares, of all."""
        partings = self._partings[group] if self._partings else []
        if partings and rng.random() < self._train.parting_share:
            return partings[rng.integers(len(partings))]
        dangers, kinds = self._dangers[group] if self._dangers else [], self._samples[group]
        if dangers and rng.random() < self._train.danger_share:
            return dangers[rng.integers(len(dangers))]
        shares = np.array([self._train.moment_shares.get(name, 0.0) for name in MOMENTS])
        shares = shares * [len(samples) > 0 for samples in kinds]
        if not shares.any():
            return np.concatenate(kinds)
        return kinds[rng.choice(len(MOMENTS), p=shares / shares.sum())]

    def _sample(self, episode: Episode, index: int, history: int, rng: np.random.Generator) -> dict:
        indices = range(index - history, index + 1)
        images = self._images.of(episode)
        frames = [episode.frame(i, with_images=False) for i in indices]
        egos = [ego_state(frame) for frame in frames]
        cameras = len(episode.rig.names)
        valid = np.ones((len(frames), cameras), bool)
        if rng.random() < self._train.camera_drop:
            valid[:, rng.integers(cameras)] = False
        since = [frame.since_standstill for frame in frames]
        status = np.stack([ego_status(e, s, self._model) for e, s in zip(egos, since, strict=True)])
        if rng.random() < self._train.status_drop:
            status = np.zeros_like(status)
        frame_id = episode.frame_id(index)
        targets = sample_targets(
            episode, index, self._model, self._risk_head,
            self._risks.get(frame_id, {}), self._judged.get(frame_id) == "all",
        )  # fmt: skip
        if self._language is not None:
            targets = replace(targets, **self._language.of(frame_id))
        return {
            "images": np.stack([images[i] for i in indices]),
            "lidar2img": rig_projection(episode.rig, self._model.image),
            "camera_valid": valid,
            "can_bus": np.stack([can_bus(e, p) for e, p in zip(egos, [None, *egos], strict=False)]),
            "command": np.array([int(f.command) for f in frames]),
            "route": np.stack([route_input(f.route, self._model) for f in frames]),
            "ego_status": status,
            "targets": targets,
        }


def _by_moment(episodes: list[Episode], history: int) -> list[np.ndarray]:
    """(episode, frame) of every frame (n, 2) with `history` frames before it, one array for each of MOMENTS."""
    found = [(moment, e, i) for e, episode in enumerate(episodes) for i, moment in enumerate(moments(episode))]
    table = np.array([row for row in found if row[2] >= history], int).reshape(-1, 3)
    return [table[table[:, 0] == k, 1:] for k in range(len(MOMENTS))]


def _by_danger(episodes: list[Episode], history: int, risks: Risks) -> list[np.ndarray]:
    """(episode, frame) of every frame with an object of at least DANGER (n, 2), one array for each class of object.

    Who is dangerous is rare and mostly a car: drawn evenly, pedestrians before the vehicle are seen as often.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for e, episode in enumerate(episodes):
        for i in range(history, len(episode)):
            dangerous = [k for k, (risk, _) in risks.get(episode.frame_id(i), {}).items() if risk >= DANGER]
            if dangerous:
                frame = episode.frame(i, with_images=False)
                for label in np.unique(frame.labels[np.isin(frame.ids, dangerous)]):
                    found.setdefault(int(label), []).append((e, i))
    return [np.array(found[label]) for label in sorted(found)]


def _by_parting(episodes: list[Episode], history: int) -> list[np.ndarray]:
    """(episode, frame) of the frames (n, 2) at which a student drove PARTED faster than the expert, and slower.

    A student errs seldom, and where it does is what it has yet to learn (Prakash et al., CVPR 2020).
    """
    found = [
        (ahead > 0.0, e, i)
        for e, episode in enumerate(episodes)
        if episode.about.get("driver", "expert") != "expert"
        for i, ahead in enumerate(partings(episode))
        if i >= history and abs(ahead) > PARTED
    ]
    table = np.array(found, int).reshape(-1, 3)
    kinds = [table[table[:, 0] == k, 1:] for k in (0, 1)]
    return [kind for kind in kinds if len(kind)]


def collate(samples: list[dict]) -> Batch:
    """Stack samples; time comes before the batch where a field has it."""

    def stacked(key: str, axis: int) -> Tensor:
        return torch.from_numpy(np.stack([s[key] for s in samples], axis=axis))

    timed = {k: stacked(k, 1) for k in ("images", "camera_valid", "can_bus", "command", "route", "ego_status")}
    return Batch(lidar2img=stacked("lidar2img", 0), targets=collate_targets([s["targets"] for s in samples]), **timed)


def collate_targets(samples: list[SampleTargets]) -> PlannerTargets:
    """Targets of single samples as one batch."""

    def ragged(key: str) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(getattr(s, key))) for s in samples]

    with_language = samples[0].language_text is not None
    language = {k: torch.stack(ragged(k)) for k in ("language_text", "language_actions") if with_language}
    steps = samples[0].ego_future.shape[0]
    return PlannerTargets(
        object_boxes=ragged("object_boxes"), object_labels=ragged("object_labels"),
        object_futures=ragged("object_futures"), object_future_masks=ragged("object_future_masks"),
        map_points=ragged("map_points"), map_labels=ragged("map_labels"),
        ego_future=torch.stack(ragged("ego_future")), ego_future_mask=torch.ones(len(samples), steps),
        command=torch.tensor([s.command for s in samples]), object_risks=ragged("object_risks"),
        risk_map=torch.stack(ragged("risk_map")), risk_map_mask=torch.stack(ragged("risk_map_mask")),
        signal_places=ragged("signal_places"), signal_labels=ragged("signal_labels"),
        **language,
    )  # fmt: skip


def batch_loader(batches: StepBatches, first_step: int, last_step: int, workers: int) -> DataLoader:
    """Batches of steps first_step .. last_step - 1, prepared ahead by `workers` processes (0 = in this one)."""
    return DataLoader(
        batches, batch_size=None, sampler=range(first_step, last_step), num_workers=workers,
        prefetch_factor=3 if workers else None, multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
