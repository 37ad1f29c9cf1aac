"""Runs the Planner on recorded inputs and compares every recorded tensor with its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rsd_model.bev.ego_motion import relative_can_bus
from rsd_model.bev.encoder import BevEncoder
from rsd_model.checkpoints.golden import (
    CAN_BUS,
    TOLERANCE,
    GoldenFile,
    Row,
    relative_error,
    set_rule_weights,
)
from rsd_model.checkpoints.public_tensors import Recorder, decoded_tensors, in_recorded_order
from rsd_model.checkpoints.recording_sizes import (
    batch_of,
    bev_candidates,
    bev_tensors,
    config_of,
    image_size_candidates,
)
from rsd_model.config import ModelConfig
from rsd_model.network import Planner, PlannerInputs


def frame_images(config: ModelConfig, seed: int, frame: int, batch: int = 1) -> Tensor:
    """(B, N, 3, H, W) images of a frame by the recording's rule."""
    shape = (batch, config.cameras, 3, config.image.height, config.image.width)
    return torch.from_numpy(np.random.default_rng([seed, frame]).standard_normal(shape).astype(np.float32))


class ParityRun:
    """A Planner set up as a recording says, frame after frame."""

    def __init__(self, golden: GoldenFile, seed: int = 0, bev: tuple[int, int] | None = None) -> None:
        golden.check_inputs()
        self.golden, self.seed, self.image_seed, self.batch = golden, seed, seed, batch_of(golden)
        sizes, bevs = image_size_candidates(golden), [bev] if bev else bev_candidates(golden)
        self.config = config_of(golden, sizes[0], bevs[0])
        self.model = self._model(self.config)
        seeds = self._settle_images(sizes)
        self._settle_bev(bevs, seeds)

    def describe(self) -> str:
        """What the recording was made with, as found."""
        config, image, bev = self.config, self.config.image, self.config.bev
        return (
            f"{len(self.golden.frames)} frames, {self.batch} x {config.cameras} images {image.width}x{image.height}, "
            f"BEV {bev.rows}x{bev.columns}, weights of seed {self.seed}, images of seed {self.image_seed}"
        )

    def _model(self, config: ModelConfig) -> Planner:
        model = Planner(config).eval()
        set_rule_weights(model, config, self.seed)
        return model

    @torch.inference_mode()
    def _settle_images(self, sizes: list[tuple[int, int]]) -> list[int]:
        """Find size and seed of the images by the first camera's backbone feature; returns the seeds still possible.

        The images may have been drawn with seed 0 whatever the weights' seed.
        """
        seeds = list(dict.fromkeys((self.seed, 0)))
        frame = self.golden.frames[0]
        recorded = self.golden.values.get(f"f{frame}/mid/backbone/0")
        if recorded is None or len(sizes) * len(seeds) == 1 or f"f{frame}/images" in self.golden.values:
            return seeds
        step = max(1, int(self.golden.values.get(f"f{frame}/mid/backbone/0/step", 1)))
        for height, width in sizes:
            config = replace(self.config, image=replace(self.config.image, height=height, width=width))
            for seed in seeds:
                images = frame_images(config, seed, frame, self.batch)[0, :1]
                feature = self.model.backbone(images)[0].numpy().ravel()[::step]
                if relative_error(feature, recorded.ravel()[: feature.size]) < TOLERANCE:
                    self.config = config
                    return [seed]
        return seeds

    @torch.inference_mode()
    def _settle_bev(self, bevs: list[tuple[int, int]], seeds: list[int]) -> None:
        """A recording tells the number of cells, not rows and columns: take those whose first recorded BEV fits."""
        self.image_seed, frame = seeds[0], self.golden.frames[0]
        probe = next(iter([*bev_tensors(self.golden), "head/bev_embed"]))
        if len(bevs) * len(seeds) == 1 or self.golden.shape(frame, probe) is None:
            return
        for seed in seeds:
            inputs = self._inputs(frame, None, seed)
            features = self.model.image_features(inputs.images)
            for rows, columns in bevs:
                config = replace(self.config, bev=replace(self.config.bev, rows=rows, columns=columns))
                if self._bev_fits(config, probe, inputs, features):
                    self.image_seed = seed
                    if config != self.model.config:
                        self.config, self.model = config, self._model(config)
                    return

    def _bev_fits(self, config: ModelConfig, probe: str, inputs: PlannerInputs, features: list[Tensor]) -> bool:
        layers = int(probe.removeprefix("mid/enc").split("/")[0]) + 1 if probe.startswith("mid/") else config.bev.layers
        config = replace(config, bev=replace(config.bev, layers=layers))
        encoder = BevEncoder(config).eval()
        set_rule_weights(encoder, config, self.seed, "bev_encoder.")
        bev = encoder(features, inputs.lidar2img, inputs.can_bus, (config.image.height, config.image.width))
        bev = bev.transpose(0, 1) if probe == "head/bev_embed" else bev
        return self.golden.compare(self.golden.frames[0], probe, bev.numpy()).passed

    def _inputs(self, frame: int, prev_bev: Tensor | None, seed: int) -> PlannerInputs:
        values = self.golden.values
        images = values.get(f"f{frame}/images")
        rig = torch.from_numpy(values[f"f{frame}/lidar2img"]).float()
        return PlannerInputs(
            images=frame_images(self.config, seed, frame, self.batch)
            if images is None
            else torch.from_numpy(images).float().view(self.batch, self.config.cameras, 3, *images.shape[-2:]),
            lidar2img=rig.expand(self.batch, *rig.shape[-3:]),
            can_bus=torch.from_numpy(self.can_bus(frame)).expand(self.batch, -1),
            prev_bev=prev_bev,
        )

    def can_bus(self, frame: int) -> np.ndarray:
        """(1 or B, 18) the can bus of a frame relative to the frame before, as the detector passes it on."""
        values, place = self.golden.values, self.golden.frames.index(frame)
        raw = values.get(f"f{frame}/can_bus")
        before = values.get(f"f{self.golden.frames[place - 1]}/can_bus") if place else None
        if raw is None or (place and before is None):
            return values[f"f{frame}/can_bus_used"].astype(np.float64).reshape(-1, CAN_BUS)
        rows = raw.reshape(-1, CAN_BUS)
        previous = [None] * len(rows) if before is None else before.reshape(-1, CAN_BUS)
        return np.stack([relative_can_bus(row, earlier) for row, earlier in zip(rows, previous, strict=True)])

    def frames(self, dtype: torch.dtype = torch.float32) -> Iterator[tuple[int, dict[str, Tensor], Recorder]]:
        """Run every frame, each on the BEV of the one before."""
        model = self.model if dtype == torch.float32 else self._model(self.config).to(dtype)
        recorder = Recorder(model)
        bev = None
        for frame in self.golden.frames:
            inputs = self._inputs(frame, bev, self.image_seed)
            with torch.inference_mode():
                outputs = model(replace(inputs, images=inputs.images.to(dtype)))
            bev = outputs["bev_embed"].transpose(0, 1)
            yield frame, outputs, recorder
        recorder.close()

    def rows(self, tolerance: float = TOLERANCE) -> Iterator[Row]:
        """One row per recorded tensor, in the file's order; those that miss in float32 come last.

        What misses in float32 is computed again in float64: random weights can blow rounding up beyond the tolerance,
        that of the recording too, and only a tensor that then misses as well is another function's.
        """
        missed = {}
        for row in self._rows(torch.float32, tolerance):
            if row.passed or not np.isfinite(row.error):
                yield row
            else:
                missed[row.name] = row
        if missed:
            for row in self._rows(torch.float64, tolerance):
                if row.name in missed:
                    note = f"in float64; {missed[row.name].error:.2e} in float32" + (", rounding" if row.passed else "")
                    yield replace(row, note=note)

    def _rows(self, dtype: torch.dtype, tolerance: float) -> Iterator[Row]:
        for frame, outputs, recorder in self.frames(dtype):
            used = self.golden.values.get(f"f{frame}/can_bus_used")
            if used is not None:
                error = relative_error(self.can_bus(frame), used.reshape(-1, CAN_BUS))
                yield Row(f"f{frame}/can_bus_used", used.shape, error, error < tolerance)
            decoded = in_recorded_order(decoded_tensors(outputs, self.config), self.golden, frame)
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
