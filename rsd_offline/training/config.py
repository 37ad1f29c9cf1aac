"""Configuration of a training run, read from YAML and checked before anything starts."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rsd_offline.datasets.collect import CollectConfig


class ConfigError(ValueError):
    """A configuration file has a wrong key or value."""


@dataclass(frozen=True)
class RoundConfig:
    """One round: what is collected before it (if anything) and how long it trains on all data so far."""

    name: str
    steps: int  # optimiser steps of this round
    collect: CollectConfig | None = None
    student_drives: bool = False  # DAgger: the weights of the round before drive


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
        for key in ("history_drop", "status_drop", "camera_drop", "recent_share", "ema"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise ConfigError(f"{key}: {getattr(self, key)} is not in [0, 1]")
        if self.rounds[0].student_drives:
            raise ConfigError("rounds[0].student_drives: there is no student before the first round")

    @property
    def total_steps(self) -> int:
        return sum(r.steps for r in self.rounds)


def load_train_config(path: Path) -> TrainConfig:
    """Read a run's YAML; raises ConfigError with the file, the key, the value and what was allowed."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return _build(TrainConfig, data, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _build(kind: Any, data: Any, where: str) -> Any:
    """Build dataclass `kind` from plain YAML data, checking every key and type on the way."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where or 'file'}: expected a mapping, found {data!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            raise ConfigError(f"{where}{key}: unknown key; allowed are {', '.join(known)}")
    for name, f in known.items():
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}{name}: missing")
    return kind(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{where}.")
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, found {value!r}")
        return {str(k): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value
