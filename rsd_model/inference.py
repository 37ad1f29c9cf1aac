"""The planner as one object: weights, device, precision and the memory of earlier BEVs. Frame set in, plan out."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_model.backbone.folding import fold_batch_norm
from rsd_model.checkpoints.weights import load_planner
from rsd_model.config import ModelConfig, load_model_config
from rsd_model.contracts import (
    CameraRig,
    Command,
    EgoState,
    FrameSet,
    PlannerOutput,
    RiskGrid,
)
from rsd_model.decode import decode, decode_trajectories
from rsd_model.heads.risk import risk_map_to_grid
from rsd_model.inputs import (
    ImageNormaliser,
    StandstillMemory,
    can_bus,
    ego_status,
    network_image,
    rig_projection,
    route_input,
)
from rsd_model.network import Planner, PlannerInputs, risk_head_config
from rsd_model.ops.allocator import keep_freed_memory
from rsd_model.traced import TracedPlanner, one_thread

HISTORY_SECONDS = 0.5  # age of the previous BEV that the network was trained with
HISTORY_TOLERANCE = 0.15  # s; with no BEV of that age the frame is planned as the first one
NO_GRID = RiskGrid(np.full((60, 30), np.nan, np.float32), 1.0, (-30.39, -15.0))


class InferenceError(RuntimeError):
    """The network could not be run; the message says on what and why."""


@dataclass(frozen=True)
class Remembered:
    """A BEV and where the vehicle was when it was made."""

    ego: EgoState
    bev: Tensor  # (1, HW, C)


class BevMemory:
    """BEVs of the last moments: the node plans more often than every 0.5 s, the step between training frames."""

    def __init__(self) -> None:
        self._entries: deque[Remembered] = deque()

    def clear(self) -> None:
        """Forget everything: a new drive begins."""
        self._entries.clear()

    def add(self, ego: EgoState, bev: Tensor) -> None:
        """Keep a BEV; those too old to serve go."""
        self._entries.append(Remembered(ego, bev))
        while ego.stamp - self._entries[0].ego.stamp > HISTORY_SECONDS + HISTORY_TOLERANCE:
            self._entries.popleft()

    def before(self, stamp: float) -> Remembered | None:
        """The BEV nearest to HISTORY_SECONDS before `stamp` (s), or None. A stamp in the past clears the memory."""
        if self._entries and stamp <= self._entries[-1].ego.stamp:
            self.clear()
        wanted = stamp - HISTORY_SECONDS
        best = min(self._entries, key=lambda e: abs(e.ego.stamp - wanted), default=None)
        return best if best is not None and abs(best.ego.stamp - wanted) <= HISTORY_TOLERANCE else None


class Stopwatch:
    """Milliseconds by stage; waits for the GPU so that a stage's time is its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stage(self, name: str) -> None:
        """The stage `name` ends here."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.milliseconds[name] = 1e3 * (now - self._last)
        self._last = now


class PlannerRuntime:
    """Runs a trained planner on frame sets, one vehicle at a time.

    weights: a .safetensors file of ours (it carries its configuration), or None for random weights of `config`.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1 ... precision: auto (fp32 on a CPU, bf16 on a GPU), fp32,
    bf16, fp16. Raises WeightsError on an unusable file, InferenceError on an unusable device.
    """

    def __init__(
        self,
        weights: Path | str | None,
        config: str = "nano",
        device: str = "auto",
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        keep_freed_memory()
        self.device = _device(device)
        # All tensor work is one thread's. OpenMP keeps a pool of threads for every thread that computes, and with more
        # threads than cores in all pools none spins between two operators: nano took 60 ms on two cores instead of 34.
        self._thread = ThreadPoolExecutor(1, "rsd_network")
        self._resizing = ThreadPoolExecutor(min(os.cpu_count() or 1, 6), "rsd_resize")
        self.model = self._thread.submit(self._prepared, weights, config, seed).result()
        self.config: ModelConfig = self.model.config
        reduced = _reduced_precision(self.device, precision)
        self._autocast = torch.autocast(self.device.type, reduced or torch.bfloat16, enabled=reduced is not None)
        self._forward = TracedPlanner(self.model)
        self._may_trace = self.device.type == "cpu" and reduced is None
        self._memory, self._standstill = BevMemory(), StandstillMemory()
        self._projection: tuple[CameraRig, Tensor] | None = None
        self._normalise = ImageNormaliser(self.config.image, self.device)

    def _prepared(self, weights: Path | str | None, config: str, seed: int) -> Planner:
        if weights is None:
            torch.manual_seed(seed)
        model = Planner(load_model_config(config)) if weights is None else load_planner(weights)
        model.to(self.device).eval().requires_grad_(False)
        fold_batch_norm(model.backbone)
        return model

    def reset(self) -> None:
        """Forget earlier frames: a new drive begins, or time has jumped."""
        self._memory.clear()
        self._standstill = StandstillMemory()

    def warm_up(self, rig: CameraRig) -> None:
        """Plan on black images twice, so that the first real frame does not pay for set-up; leaves no memory behind."""
        count = len(rig.names)
        images = tuple(np.zeros((int(h), int(w), 3), np.uint8) for w, h in rig.sizes)
        for stamp in (0.0, HISTORY_SECONDS):
            ego = EgoState(stamp, np.eye(4), np.zeros(3), np.zeros(3), 0.0)
            valid = np.ones(count, bool)
            self.plan(
                FrameSet(stamp, images, np.full(count, stamp), valid, rig, ego, Command.LANEFOLLOW, np.zeros((0, 2)))
            )
        self.reset()

    def plan(self, frame: FrameSet) -> PlannerOutput:
        """Plan one frame set. Raises InferenceError when the device fails, ValueError when the rig does not fit."""
        return self._thread.submit(self._plan_alone, frame).result()

    def _plan_alone(self, frame: FrameSet) -> PlannerOutput:
        # For the little beside the graph a team of OpenMP does not pay, and would go on spinning in the way of others.
        with one_thread(self._forward.traced):
            return self._plan(frame)

    def _plan(self, frame: FrameSet) -> PlannerOutput:
        if len(frame.rig.names) != self.config.cameras:
            raise ValueError(f"the rig has {len(frame.rig.names)} cameras, the network {self.config.cameras}")
        watch = Stopwatch(self.device)
        inputs = self._inputs(frame)
        watch.stage("preprocess")
        try:
            if self._may_trace and inputs.prev_bev is not None:
                self._may_trace = False
                self._forward.trace(inputs)  # takes a second: here unless `warm_up` has been called
            with torch.inference_mode(), self._autocast:
                outputs = self._forward(inputs)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            self.reset()
            raise InferenceError(f"the network failed on {self.device}: {error}") from error
        watch.stage("network")
        self._memory.add(frame.ego, outputs["bev_embed"].transpose(0, 1))
        return self._output(frame, outputs, watch)

    def _inputs(self, frame: FrameSet) -> PlannerInputs:
        config, device = self.config, self.device
        previous = self._memory.before(frame.ego.stamp)
        resized = self._resizing.map(lambda image: network_image(image, config.image), frame.images)
        images = torch.from_numpy(np.stack(list(resized)))
        route = route_input(frame.route, config) if config.ego.route_points else None
        status = ego_status(frame.ego, self._standstill.update(frame.ego), config) if config.ego.status else None
        bus = can_bus(frame.ego, previous.ego if previous else None)

        def batch_of_one(values: np.ndarray | None) -> Tensor | None:
            return None if values is None else torch.from_numpy(values)[None].to(device)

        return PlannerInputs(
            images=self._normalise(images)[None],
            lidar2img=self._projected(frame.rig),
            can_bus=torch.from_numpy(bus)[None].to(device),
            command=torch.tensor([int(frame.command)], device=device),
            route=batch_of_one(route),
            ego_status=batch_of_one(status),
            camera_valid=None if frame.valid.all() else torch.from_numpy(frame.valid)[None].to(device),
            prev_bev=previous.bev if previous else None,
        )

    def _projected(self, rig: CameraRig) -> Tensor:
        if self._projection is None or self._projection[0] is not rig:
            matrices = torch.from_numpy(rig_projection(rig, self.config.image))[None].to(self.device)
            self._projection = (rig, matrices)
        return self._projection[1]

    def _output(self, frame: FrameSet, outputs: dict[str, Tensor], watch: Stopwatch) -> PlannerOutput:
        objects, lines = decode(outputs, self.config)[0]
        trajectories = decode_trajectories(outputs)
        grid = NO_GRID
        if "risk_map" in outputs:
            grid = risk_map_to_grid(outputs["risk_map"][0].float().cpu().numpy(), risk_head_config(self.config))
        watch.stage("decode")
        return PlannerOutput(
            stamp=frame.stamp,
            command=frame.command,
            trajectory=trajectories[int(frame.command)],
            trajectories=trajectories,
            objects=objects,
            map=lines,
            risk_grid=grid,
            valid_share=float(frame.valid.mean()),
            timings=watch.milliseconds,
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InferenceError(f"device {name!r} cannot be used ({error}): choose auto, cpu or a CUDA device") from None
    return device


def _reduced_precision(device: torch.device, precision: str) -> torch.dtype | None:
    kinds = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision not in kinds:
        raise InferenceError(f"precision {precision!r} is none of auto, {', '.join(kinds)}")
    return kinds[precision]
