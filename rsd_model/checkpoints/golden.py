"""Recorded outputs of the public VAD: the file format, the weights they were recorded with, and the comparison."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rsd_model.checkpoints.vad import rename, vad_table
from rsd_model.config import ModelConfig, load_model_config

TOLERANCE = 1e-4  # relative error of a tensor: norm of the difference over norm
CONSTANTS = ("code_weights", "num_batches_tracked")  # not set by the rule
BACKBONE_STRIDE = 8  # of the first recorded backbone feature


class GoldenError(ValueError):
    """A file that cannot be read as recorded outputs."""


@dataclass(frozen=True)
class Row:
    """One compared tensor."""

    name: str
    shape: tuple[int, ...]
    error: float  # relative; inf where shapes differ
    passed: bool
    note: str = ""


def rule_weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray | None:
    """Value of a VAD parameter or buffer by the recording's rule, from its name alone; None: leave it as built."""
    leaf = key.rsplit(".", 1)[-1]
    if key.endswith(CONSTANTS):
        return None
    noise = np.random.default_rng([zlib.crc32(key.encode()), seed]).standard_normal(shape).astype(np.float32)
    if leaf == "running_var":
        return 1.0 + 0.2 * np.abs(noise)
    if leaf in ("running_mean", "bias", "in_proj_bias"):
        return (1.5 if "sampling_offsets" in key else 0.1) * noise
    if len(shape) == 1:
        return 1.0 + 0.1 * noise
    if "embed" in key or "query" in key:
        return 0.5 * noise
    gain = 0.3 if "sampling_offsets" in key else 1.0
    return noise * np.float32(gain * np.sqrt(1.6 / np.prod(shape[1:])))


def set_rule_weights(module: nn.Module, config: ModelConfig, seed: int, path: str = "") -> None:
    """Fill what VAD has of a Planner, or of its part at `path`, by the recording's rule."""
    table = vad_table(config)
    state = module.state_dict()
    for key, value in state.items():
        theirs = rename(f"{path}{key}", table)
        recorded = None if theirs is None else rule_weight(theirs, tuple(value.shape), seed)
        if recorded is not None:
            state[key] = torch.from_numpy(np.asarray(recorded, dtype=np.float32))
    module.load_state_dict(state)


class GoldenFile:
    """Recorded frames: `f{i}/can_bus`, `f{i}/lidar2img`, and tensors `f{i}/{mid,head,decoded}/...`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise GoldenError(f"{path}: no such file")
        try:
            with np.load(self.path, allow_pickle=False) as data:
                self.values = {key: data[key] for key in data.files}
        except (OSError, ValueError, EOFError) as error:
            raise GoldenError(f"{path}: not readable as .npz: {error}") from None
        found = {int(m.group(1)) for key in self.values if (m := re.match(r"f(\d+)/", key))}
        self.frames = sorted(found)
        self.has_losses = any(key.startswith(("loss/", "plan/")) for key in self.values)

    def tensors(self, frame: int) -> list[str]:
        """Names `mid/...`, `head/...`, `decoded/...` recorded for a frame, in the file's order."""
        prefix, suffix = f"f{frame}/", "/shape"
        return [k[len(prefix) : -len(suffix)] for k in self.values if k.startswith(prefix) and k.endswith(suffix)]

    def shape(self, frame: int, name: str) -> tuple[int, ...] | None:
        """Recorded shape of a tensor; None where it was not recorded."""
        value = self.values.get(f"f{frame}/{name}/shape")
        return None if value is None else tuple(int(v) for v in value)

    def compare(self, frame: int, name: str, actual: np.ndarray, tolerance: float = TOLERANCE) -> Row:
        """Relative error of `actual` against the recorded samples of a tensor, and of its mean and spread."""
        title, shape = f"f{frame}/{name}", self.shape(frame, name)
        if shape != tuple(actual.shape):
            return Row(title, tuple(actual.shape), float("inf"), False, f"recorded shape is {shape}")
        recorded = self.values[title].astype(np.float64)
        flat = np.asarray(actual, dtype=np.float64).ravel()
        step = int(self.values.get(f"{title}/step", 1))
        error = relative_error(flat[::step], recorded)
        stats = self.values.get(f"{title}/stats")
        if stats is not None and flat.size:
            mean, std, largest = (float(value) for value in stats)
            error = max(
                error, abs(flat.mean() - mean) / max(largest, 1e-12), abs(flat.std() - std) / max(largest, 1e-12)
            )
        return Row(title, shape, error, error < tolerance)


def relative_error(actual: np.ndarray, recorded: np.ndarray) -> float:
    """Norm of the difference over the norm of `recorded` (over 1 where that is zero); inf where lengths differ."""
    if actual.shape != recorded.shape:
        return float("inf")
    norm = float(np.linalg.norm(recorded))
    return float(np.linalg.norm(actual - recorded)) / (norm if norm > 0 else 1.0)


def image_size_of(golden: GoldenFile) -> tuple[int, int]:
    """(height, width) in px that the recorded images had.

    Taken from the file's `image_size` where it holds one; otherwise from the first backbone feature, whose stride
    leaves eight candidates a side: twice the principal point of the first camera decides, or else the multiple of 8.
    """
    if "image_size" in golden.values:
        height, width = golden.values["image_size"].ravel()[:2]
        return int(height), int(width)
    frame = golden.frames[0]
    feature = golden.shape(frame, "mid/backbone/0")
    centre = _principal_point(golden.values[f"f{frame}/lidar2img"][0])
    guess = (round(2.0 * centre[1]), round(2.0 * centre[0]))
    if feature is None:
        return guess
    sizes = []
    for cells, side in zip(feature[-2:], guess, strict=True):
        fits = -(-side // BACKBONE_STRIDE) == cells
        sizes.append(side if fits else cells * BACKBONE_STRIDE)
    return sizes[0], sizes[1]


def _principal_point(lidar2img: np.ndarray) -> tuple[float, float]:
    """Principal point of a projection K [R | t]: rows of K R dotted with the viewing axis."""
    axis = lidar2img[2, :3]
    u, v = lidar2img[:2, :3] @ axis / (axis @ axis)
    return float(u), float(v)


def bev_candidates(golden: GoldenFile) -> list[tuple[int, int]]:
    """(rows, columns) that the recorded BEV may have, the likeliest first: given, square, then every other factor."""
    if "bev_size" in golden.values:
        rows, columns = golden.values["bev_size"].ravel()[:2]
        return [(int(rows), int(columns))]
    shape = golden.shape(golden.frames[0], "head/bev_embed")
    if shape is None:
        raise GoldenError(f"{golden.path}: holds no head/bev_embed, the BEV's size cannot be read")
    cells = shape[0]
    factors = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    return sorted(factors, key=lambda size: abs(np.log(size[0] / size[1])))


def config_of(golden: GoldenFile, bev: tuple[int, int]) -> ModelConfig:
    """The base configuration at the sizes that the file was recorded with."""
    frame = golden.frames[0]
    config = load_model_config("base")
    height, width = image_size_of(golden)
    encoder = [int(m.group(1)) + 1 for name in golden.tensors(frame) if (m := re.match(r"mid/enc(\d+)/", name))]
    layers = max([*encoder, 1]) if encoder else config.bev.layers
    objects, lanes = golden.shape(frame, "head/all_cls_scores"), golden.shape(frame, "head/map_all_pts_preds")
    map_classes, plan = golden.shape(frame, "head/map_all_cls_scores"), golden.shape(frame, "head/ego_fut_preds")
    config = replace(
        config,
        cameras=len(golden.values[f"f{frame}/lidar2img"]),
        image=replace(config.image, width=width, height=height),
        bev=replace(config.bev, rows=bev[0], columns=bev[1], layers=max(layers, 1)),
    )
    if objects:
        asked = replace(config.objects, layers=objects[0], queries=objects[2], classes=objects[3])
        config = replace(config, objects=asked)
    if lanes and map_classes:
        sizes = replace(config.map, layers=lanes[0], instances=lanes[2], points=lanes[3], classes=map_classes[-1])
        config = replace(config, map=sizes)
    if plan:
        config = replace(config, ego=replace(config.ego, commands=plan[1], steps=plan[2]))
    return config
