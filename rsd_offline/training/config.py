"""Configuration of a training run, read from YAML and checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rsd_model.config_reader import ConfigError, build, read_yaml
from rsd_offline.datasets.collect import CollectConfig

MOMENTS = ("cruise", "brake", "wait", "start")  # what a vehicle does in a frame, by its speed and the expert's plan


@dataclass(frozen=True)
class RoundConfig:
    """One round: what is collected before it (if anything) and how long it trains on all data so far."""

    name: str
    steps: int  # optimiser steps of this round
    collect: CollectConfig | None = None
    student_drives: bool = False  # DAgger: the weights of the round before drive
    danger_share: float | None = None  # of this round, instead of the run's
    average_with: str = ""  # earlier round: this one's weights become the mean of both


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. Lengths in optimiser steps unless a unit is given."""

    name: str
    model: str  # size or path of a model configuration
    rounds: tuple[RoundConfig, ...]
    validation: CollectConfig  # expert drives that are never trained on
    labels: str = ""  # label store to take risks from instead of the privileged teacher's
    init_weights: str = ""  # safetensors to start from
    seed: int = 0
    batch_size: int = 16
    history: int = 1  # earlier frames, 0.5 s apart, that make the previous BEV (no gradient)
    history_drop: float = 0.15  # chance that a sample has no history: the first frame of a drive
    status_drop: float = 0.4  # chance that ego status is zeros: else "stands" comes to mean "goes on standing"
    camera_drop: float = 0.05  # chance that one camera of a sample is invalid
    recent_share: float = 0.5  # DAgger rounds: share of samples from the newest collection
    danger_share: float = 0.0  # share of samples that hold an object of high risk, each of its classes as often
    parting_share: float = 0.0  # share of samples at which a student parted from the expert, faster and slower as often
    moment_shares: dict[str, float] = field(default_factory=dict)  # of cruise, brake, wait, start; {}: as recorded
    perspective_weight: float = 0.0  # of the loss that asks the image features what stands where; 0: they are not asked
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    warmup: int = 200
    final_rate: float = 0.02  # of learning_rate, at the end of the last round (cosine over all rounds)
    clip_norm: float = 35.0
    ema: float = 0.999  # of the weights that are saved and driven
    precision: str = "auto"  # fp32 | bf16 | auto (bf16 where the device has it)
    collect_workers: int = 2
    loader_workers: int = 1
    checkpoint_every: int = 200
    validate_every: int = 500
    validation_batches: int = 20
    loss_weights: dict[str, float] = field(default_factory=dict)  # term -> extra factor

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ConfigError("rounds: at least one round is needed")
        if self.precision not in ("fp32", "bf16", "auto"):
            raise ConfigError(f"precision: {self.precision!r} is none of fp32, bf16, auto")
        for key in (
            "history_drop",
            "status_drop",
            "camera_drop",
            "recent_share",
            "danger_share",
            "parting_share",
            "ema",
        ):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise ConfigError(f"{key}: {getattr(self, key)} is not in [0, 1]")
        for number, stage in enumerate(self.rounds):
            if stage.average_with and stage.average_with not in [r.name for r in self.rounds[:number]]:
                raise ConfigError(f"rounds[{number}].average_with: {stage.average_with!r} is no earlier round")
            if stage.danger_share is not None and not 0.0 <= stage.danger_share <= 1.0:
                raise ConfigError(f"rounds[{number}].danger_share: {stage.danger_share} is not in [0, 1]")
        if self.rounds[0].student_drives:
            raise ConfigError("rounds[0].student_drives: there is no student before the first round")
        if self.moment_shares.keys() - set(MOMENTS) or any(share < 0.0 for share in self.moment_shares.values()):
            raise ConfigError(f"moment_shares: {self.moment_shares} may hold {', '.join(MOMENTS)}, each >= 0")

    @property
    def total_steps(self) -> int:
        return sum(r.steps for r in self.rounds)


def load_train_config(path: Path) -> TrainConfig:
    """Read a run's YAML; raises ConfigError with the file, the key, the value and what was allowed."""
    return build(TrainConfig, read_yaml(path), str(path))
