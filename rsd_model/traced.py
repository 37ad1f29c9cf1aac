"""The planner as one recorded graph: on a CPU a seventh of nano's time is Python between small operators."""

from __future__ import annotations

import time
import warnings
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from rsd_model.network import Planner, PlannerInputs

WORTH = 0.5  # s; of a pass that takes longer, Python has no share that matters


class TracedPlanner:
    """Runs a planner that does not change any more; outputs are the same bit by bit, traced or not.

    The rig's projection becomes a constant of the graph, so it holds for one rig. Frames of another rig, without a
    history or with a camera missing go through the module as it is.
    """

    def __init__(self, model: Planner) -> None:
        self._model = model
        self._graph: torch.jit.ScriptFunction | None = None
        self._names: tuple[str, ...] = ()  # of the outputs
        self._lidar2img: Tensor | None = None

    def __call__(self, inputs: PlannerInputs) -> dict[str, Tensor]:
        """`Planner.forward`."""
        if self._graph is None or not self.knows(inputs) or inputs.prev_bev is None or inputs.camera_valid is not None:
            return self._model(inputs)
        return dict(zip(self._names, self._graph(*_tensors(inputs)), strict=True))

    def knows(self, inputs: PlannerInputs) -> bool:
        """Whether there is a graph for the rig of `inputs`."""
        return inputs.lidar2img is self._lidar2img

    def trace(self, inputs: PlannerInputs) -> bool:
        """Record the graph for the rig of `inputs`; False where it would not pay, or not give the same numbers."""
        bev = self._model.config.bev
        blank = torch.zeros(len(inputs.images), bev.rows * bev.columns, self._model.config.dims)
        example = replace(inputs, prev_bev=blank.to(inputs.images), camera_valid=None)
        with torch.no_grad(), warnings.catch_warnings():
            # Deprecated in favour of torch.compile, which takes minutes, and torch.export, whose graph is slower here.
            warnings.simplefilter("ignore")
            started = time.perf_counter()
            expected = self._model(example)  # projects the rig, too, so that this is not recorded
            if time.perf_counter() - started > WORTH:
                return False
            self._names = tuple(expected)
            recorded = torch.jit.trace(_Flat(self._model, _given(example)), _tensors(example), check_trace=False)
            found = recorded(*_tensors(example))
        if not all(torch.equal(a, b) for a, b in zip(expected.values(), found, strict=True)):
            return False
        self._graph, self._lidar2img = recorded, inputs.lidar2img
        return True


class _Flat(nn.Module):
    """A planner whose inputs and outputs are tuples of tensors."""

    def __init__(self, model: Planner, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(PlannerInputs(**dict(zip(self.names, tensors, strict=True)))).values())


def _given(inputs: PlannerInputs) -> tuple[str, ...]:
    return tuple(field.name for field in fields(inputs) if getattr(inputs, field.name) is not None)


def _tensors(inputs: PlannerInputs) -> tuple[Tensor, ...]:
    return tuple(getattr(inputs, name) for name in _given(inputs))
