"""The optimisation loop: exact resume, moving average of the weights, TensorBoard."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from rsd_model.checkpoints.weights import load_planner, save_weights
from rsd_model.config import ModelConfig
from rsd_model.heads.language import build_language_head
from rsd_model.inputs import ImageNormaliser
from rsd_model.losses.planner_loss import PlannerLoss
from rsd_model.network import Planner, PlannerInputs
from rsd_offline.training.batches import Batch, StepBatches, batch_loader
from rsd_offline.training.config import TrainConfig
from rsd_offline.training.perspective import PerspectiveHead, perspective_loss


class TrainingError(RuntimeError):
    """Training cannot go on."""


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there."""
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False))


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then cosine down to `final_rate` of the peak at the last step of the last round."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / max(config.total_steps, 1)))
    return config.learning_rate * warm * (config.final_rate + (1.0 - config.final_rate) * cosine)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


class TrainedNetwork(nn.Module):
    """The planner with the heads that only its training needs: language and perspective."""

    def __init__(self, model: ModelConfig, config: TrainConfig) -> None:
        super().__init__()
        self.planner = Planner(model)  # first: its weights do not depend on whether there are heads
        self.language = build_language_head(model)
        self.perspective = PerspectiveHead(model) if config.perspective_weight else None

    def forward(self, inputs: PlannerInputs) -> dict[str, Tensor]:
        """The planner's outputs, LanguageHead.named_outputs, and perspective_centres and perspective_depths."""
        features = self.planner.image_features(inputs.images)
        outputs = self.planner(inputs, features)
        outputs |= self.planner.training_outputs(outputs)
        if self.language is not None:
            outputs |= self.language.named_outputs(outputs["ego_features"])
        if self.perspective is not None:
            outputs |= self.perspective(features[0])
        return outputs


class Trainer:
    """Model, its moving average and its optimiser, with a checkpoint on disk."""

    def __init__(self, model: ModelConfig, config: TrainConfig, out: Path, device: torch.device) -> None:
        self.config, self.model_config, self.out, self.device = config, model, out, device
        torch.manual_seed(config.seed)
        self.network = TrainedNetwork(model, config)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = PlannerLoss(model)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        self.writer = SummaryWriter(str(out / "tensorboard"))
        self._normalise = ImageNormaliser(model.image, device)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bfloat16(device))
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint; a kill while writing leaves the one before."""
        state = {
            "step": self.step, "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "model": self.model_config.to_dict(),
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint where there is one; raises TrainingError when it is of another network."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if ModelConfig.from_dict(state["model"]) != self.model_config:
            raise TrainingError(f"{self.checkpoint} holds another model configuration: choose another --out")
        if _shapes(state["network"]) != _shapes(self.network.state_dict()):
            raise TrainingError(f"{self.checkpoint} was trained with other heads: choose another --out")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        return True

    def start_from(self, weights: Path) -> None:
        """Take over trained weights before the first step; raises WeightsError when they are of another network."""
        state = load_planner(weights, self.model_config).state_dict()
        self.network.planner.load_state_dict(state)
        self.average.planner.load_state_dict(state)

    def export(self, path: Path, about: dict[str, str]) -> None:
        """Write the averaged weights as safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(self.average.planner, path, {"steps": str(self.step), **about})

    def forward(self, network: TrainedNetwork, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Outputs of the last instant and the weighted loss terms; earlier instants only make the previous BEV."""
        prev_bev = None
        with self._autocast:
            with torch.no_grad():
                for time in range(len(batch.images) - 1):
                    prev_bev = network.planner.encode(batch.inputs(time, self._normalise, prev_bev))
            outputs = network(batch.inputs(len(batch.images) - 1, self._normalise, prev_bev))
        outputs = {k: v.float() if torch.is_tensor(v) else v for k, v in outputs.items()}
        targets = batch.targets.to(self.device)
        terms = self.loss(outputs, targets)
        if network.perspective is not None:
            lidar2img, size = batch.lidar2img.to(self.device), self.model_config.image.padded_size
            terms["loss_perspective"] = self.config.perspective_weight * perspective_loss(
                outputs, targets, lidar2img, size
            )
        factors = self.config.loss_weights
        return outputs, {k: v * factors.get(k.split(".")[-1], 1.0) for k, v in terms.items()}

    def run(self, batches: StepBatches, last_step: int, on_step: Callable[[int, float], None]) -> None:
        """Train from the current step to `last_step`; `on_step(step, loss)` after each."""
        for batch in batch_loader(batches, self.step, last_step, self.config.loader_workers):
            terms = self._optimise(batch)
            self.step += 1
            if self.step % 20 == 0:
                self._log("train", terms)
            if self.step % self.config.checkpoint_every == 0 or self.step == last_step:
                self.save()
            on_step(self.step, float(terms["total"]))

    def _optimise(self, batch: Batch) -> dict[str, Tensor]:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        _, terms = self.forward(self.network, batch)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            bad = [k for k, v in terms.items() if not torch.isfinite(v)]
            raise TrainingError(f"step {self.step}: loss terms {', '.join(bad)} are not finite; lower learning_rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self._update_average()
        return {**{k: v.detach() for k, v in terms.items()}, "total": total.detach()}

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        ours, theirs = self.average.state_dict(), self.network.state_dict()
        floats = [k for k, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([ours[k] for k in floats], [theirs[k] for k in floats], 1.0 - keep)
        for key in ours.keys() - set(floats):
            ours[key].copy_(theirs[key])

    @torch.no_grad()
    def validate(self, batches: StepBatches) -> dict[str, float]:
        """Plan errors in m (mean over the first 1, 2, 3 s) and loss terms of the averaged weights."""
        sums: dict[str, float] = {}
        for step in range(self.config.validation_batches):
            batch = batches[step]
            outputs, terms = self.forward(self.average, batch)
            targets = batch.targets.to(self.device)
            rows = torch.arange(targets.batch_size, device=self.device)
            plan = outputs["ego_fut_preds"][rows, targets.command].cumsum(dim=1)
            error = (plan - targets.ego_future.cumsum(dim=1)).norm(dim=-1)
            values = {f"plan_l2_{s}s": error[:, : 2 * s].mean() for s in (1, 2, 3)}
            for key, value in {**values, **terms, "total": torch.stack(list(terms.values())).sum()}.items():
                sums[key] = sums.get(key, 0.0) + float(value) / self.config.validation_batches
        self._log("validation", sums)
        return sums

    def _log(self, group: str, values: dict) -> None:
        for key, value in values.items():
            self.writer.add_scalar(f"{group}/{key}", float(value), self.step)
