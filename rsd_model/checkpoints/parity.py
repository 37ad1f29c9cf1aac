"""Runs the Planner on recorded inputs and compares every recorded tensor with its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rsd_model.bev.ego_motion import relative_can_bus
from rsd_model.bev.encoder import BevEncoder
from rsd_model.checkpoints.golden import (
    TOLERANCE,
    GoldenError,
    GoldenFile,
    Row,
    bev_candidates,
    config_of,
    relative_error,
    set_rule_weights,
)
from rsd_model.config import ModelConfig
from rsd_model.decode import decode_raw_map, decode_raw_objects
from rsd_model.network import Planner, PlannerInputs


class Recorder:
    """Keeps what chosen modules return during a forward pass."""

    def __init__(self, model: Planner) -> None:
        self.seen: dict[str, Any] = {}
        watched: dict[str, nn.Module] = {
            "backbone": model.backbone,
            "fpn": model.neck,
            "objects": model.object_head,
            "map": model.map_head,
            "motion_dec": model.motion_head.object_layers[-1],
            "lane_encoder": model.map_head.polyline_encoder,
            "motion_map_dec": model.motion_head.map_layers[-1],
            "ego_agent": model.ego_head.agent_layers[-1],
            "ego_map": model.ego_head.map_layers[-1],
            **{f"enc{i}": layer for i, layer in enumerate(model.bev_encoder.layers)},
        }
        self.handles = [module.register_forward_hook(self._keep(name)) for name, module in watched.items()]

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            self.seen[name] = output

        return hook

    def close(self) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()

    def tensor(self, name: str) -> Tensor | None:
        """A recorded intermediate `<layer>/<n>` in the public code's axis order; None where we have no such thing."""
        layer, _, index = name.partition("/")
        if layer in ("backbone", "fpn"):
            return self.seen[layer][int(index)]
        if layer in ("det_dec", "map_dec"):
            queries = self.seen["objects" if layer == "det_dec" else "map"]
            return queries.hidden.transpose(1, 2) if index == "0" else queries.references
        if layer not in self.seen:
            return None
        value = self.seen[layer]
        if layer in ("motion_dec", "ego_agent", "ego_map"):
            return value.transpose(0, 1)
        return value.flatten(0, 1)[None] if layer == "motion_map_dec" else value


def decoded_tensors(outputs: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The public detector's decoded result of sample 0, under its names."""
    objects, lanes = decode_raw_objects(outputs, config, 0), decode_raw_map(outputs, config, 0)
    boxes = objects.boxes.clone()
    boxes[:, 2] -= boxes[:, 5] / 2.0  # the public box structure keeps the bottom centre
    return {
        "boxes_3d": boxes,
        "scores_3d": objects.scores,
        "labels_3d": objects.labels,
        "trajs_3d": objects.futures,
        "map_boxes_3d": lanes.boxes,
        "map_scores_3d": lanes.scores,
        "map_labels_3d": lanes.labels,
        "map_pts_3d": lanes.points,
        "ego_fut_preds": outputs["ego_fut_preds"][0],
    }


def frame_images(config: ModelConfig, seed: int, frame: int) -> Tensor:
    """(1, N, 3, H, W) images of a frame by the recording's rule."""
    shape = (1, config.cameras, 3, config.image.height, config.image.width)
    return torch.from_numpy(np.random.default_rng([seed, frame]).standard_normal(shape).astype(np.float32))


class ParityRun:
    """A Planner set up as a recording says, frame after frame."""

    def __init__(self, golden: GoldenFile, seed: int = 0, bev: tuple[int, int] | None = None) -> None:
        if not golden.frames:
            raise GoldenError(f"{golden.path}: holds no frames (f0/...)")
        self.golden, self.image_seed = golden, seed
        candidates = [bev] if bev else bev_candidates(golden)
        self.config = config_of(golden, candidates[0])
        self.model = self._model(self.config, seed)
        self._settle_image_seed()
        if len(candidates) > 1:
            self._settle_bev(candidates, seed)

    @staticmethod
    def _model(config: ModelConfig, seed: int) -> Planner:
        model = Planner(config).eval()
        set_rule_weights(model, config, seed)
        return model

    def _settle_image_seed(self) -> None:
        """The images may have been drawn with seed 0 whatever the weights' seed: the backbone tells."""
        if self.image_seed == 0 or self.golden.shape(self.golden.frames[0], "mid/backbone/0") is None:
            return
        for seed in (self.image_seed, 0):
            with torch.inference_mode():
                images = frame_images(self.config, seed, self.golden.frames[0])
                feature = self.model.backbone(images.flatten(0, 1))[0]
            if self.golden.compare(self.golden.frames[0], "mid/backbone/0", feature.numpy()).passed:
                self.image_seed = seed
                return

    def _settle_bev(self, candidates: list[tuple[int, int]], seed: int) -> None:
        """A recording tells the number of cells, not rows and columns: take those whose first BEV fits."""
        frame = self.golden.frames[0]
        if self.golden.shape(frame, "mid/enc0/0") is None:
            return
        inputs = self._inputs(self.config, frame, None)
        with torch.inference_mode():
            features = self.model.image_features(inputs.images)
            for rows, columns in candidates:
                bev = replace(self.config.bev, rows=rows, columns=columns)
                if self._first_layer(replace(self.config, bev=replace(bev, layers=1)), inputs, features, seed).passed:
                    break
            else:
                return
        if bev != self.config.bev:
            self.config = replace(self.config, bev=bev)
            self.model = self._model(self.config, seed)

    def _first_layer(self, config: ModelConfig, inputs: PlannerInputs, features: list[Tensor], seed: int) -> Row:
        encoder = BevEncoder(config).eval()
        set_rule_weights(encoder, config, seed, "bev_encoder.")
        size = (config.image.height, config.image.width)
        bev = encoder(features, inputs.lidar2img, inputs.can_bus, size)
        return self.golden.compare(self.golden.frames[0], "mid/enc0/0", bev.numpy())

    def _inputs(self, config: ModelConfig, frame: int, prev_bev: Tensor | None) -> PlannerInputs:
        values = self.golden.values
        return PlannerInputs(
            images=frame_images(config, self.image_seed, frame),
            lidar2img=torch.from_numpy(values[f"f{frame}/lidar2img"])[None],
            can_bus=torch.from_numpy(self.can_bus(frame))[None],
            prev_bev=prev_bev,
        )

    def can_bus(self, frame: int) -> np.ndarray:
        """(18,) the can bus of a frame relative to the frame before, as the detector passes it on."""
        values, place = self.golden.values, self.golden.frames.index(frame)
        previous = values[f"f{self.golden.frames[place - 1]}/can_bus"] if place else None
        return relative_can_bus(values[f"f{frame}/can_bus"], previous)

    def frames(self) -> Iterator[tuple[int, dict[str, Tensor], Recorder]]:
        """Run every frame, each on the BEV of the one before."""
        recorder = Recorder(self.model)
        bev = None
        for frame in self.golden.frames:
            with torch.inference_mode():
                outputs = self.model(self._inputs(self.config, frame, bev))
            bev = outputs["bev_embed"].transpose(0, 1)
            yield frame, outputs, recorder
        recorder.close()

    def rows(self, tolerance: float = TOLERANCE) -> Iterator[Row]:
        """One row per recorded tensor, in the file's order."""
        for frame, outputs, recorder in self.frames():
            used = self.golden.values.get(f"f{frame}/can_bus_used")
            if used is not None:
                error = relative_error(self.can_bus(frame), used)
                yield Row(f"f{frame}/can_bus_used", used.shape, error, error < tolerance)
            decoded = decoded_tensors(outputs, self.config)
            for name in self.golden.tensors(frame):
                actual = self._actual(name, outputs, decoded, recorder)
                if actual is None:
                    note = "the file records a tensor that the Planner has no counterpart of"
                    yield Row(f"f{frame}/{name}", self.golden.shape(frame, name) or (), float("inf"), False, note)
                else:
                    yield self.golden.compare(frame, name, actual.float().numpy(), tolerance)

    def _actual(
        self, name: str, outputs: dict[str, Tensor], decoded: dict[str, Tensor], recorder: Recorder
    ) -> Tensor | None:
        kind, _, rest = name.partition("/")
        if kind == "mid":
            return recorder.tensor(rest)
        if rest == "ego_fut_cmd":  # an input that the public code passes through
            return torch.zeros(1, 1, 1, self.config.ego.commands)
        return (outputs if kind == "head" else decoded).get(rest)


def layer_group(name: str) -> str:
    """What a row belongs to, for a summary: backbone, fpn, enc, det_dec, ..., head, decoded, loss, plan."""
    parts = name.split("/")
    if not re.fullmatch(r"f\d+", parts[0]):
        return parts[0]
    return re.sub(r"\d+$", "", parts[2]) if len(parts) > 2 and parts[1] == "mid" else parts[1]
