"""The planner as one recorded graph: on a CPU a sixth of nano's time is Python between small operators.

With several threads the graph runs groups of cameras, then of BEV cells, then heads beside each other, each in one
thread. OpenMP would share every operator out instead and meet at a barrier after each: 500 times a frame, and where
another process has one of the cores, each of them may last until the scheduler's next turn. One busy process slowed the
demo to a tenth.

The graph writes its outputs into a tensor that it is given and returns nothing. A graph that waits for its forks is
finished by a thread of torch's pool, which lets go of what was returned some time later; where that belongs to Python
by then, it needs the interpreter's lock for each tensor, and if the interpreter ends meanwhile, the process aborts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from rsd_model.bev.spatial_attention import PillarViews
from rsd_model.network import Planner, PlannerInputs

logger = logging.getLogger(__name__)
# Parameters; in larger networks (nano has 1.4 million, tiny 40) Python has no share that matters. Counted, not timed:
# where other nodes started on the same cores, a pass of nano took over half a second, and the drive had no graph.
TRACED_UP_TO = 10_000_000
RELATIVE, ABSOLUTE = 1e-4, 1e-4  # what a graph may differ by
UNUSED = ("lidar2img", "camera_valid")  # inputs that the graph has no use for: it takes the projected pillars


def worth_tracing(model: nn.Module) -> bool:
    """Whether the model is so small that a recorded graph makes it faster."""
    return sum(parameter.numel() for parameter in model.parameters()) <= TRACED_UP_TO


class TracedPlanner:
    """Runs a planner that does not change any more; outputs are the same, traced or not: in one thread bit by bit, in
    several within rounding, since convolutions of fewer cameras may add in another order.

    First frames, without a history, go through the module as it is. So does the first frame of each rig, which is
    compared with the graph's; a graph that gives other numbers is dropped.
    """

    def __init__(self, model: Planner) -> None:
        self._model = model
        self._graph: torch.jit.ScriptModule | None = None
        self._shapes: dict[str, torch.Size] = {}  # of the outputs
        self._groups = 1  # that the graph runs beside each other
        self._checked: Tensor | None = None  # lidar2img of the rig that graph and module agree on
        self._split: tuple[PillarViews, list[Tensor]] | None = None  # as projected, and by groups of cells

    @property
    def traced(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def __call__(self, inputs: PlannerInputs) -> dict[str, Tensor]:
        """`Planner.forward`."""
        if self._graph is None or inputs.prev_bev is None:
            return self._model(inputs)
        if inputs.lidar2img is self._checked:
            return self._run(self._graph, inputs)
        return self._compared(self._graph, inputs)

    def trace(self, inputs: PlannerInputs) -> bool:
        """Record the graph of a frame with a history; False where it would not pay, fails, or gives other numbers."""
        if not worth_tracing(self._model):
            return False
        self._groups = min(torch.get_num_threads(), inputs.images.shape[1])
        with torch.no_grad(), warnings.catch_warnings(), one_thread(self._groups > 1):
            # Deprecated in favour of torch.compile, which takes minutes, and torch.export, whose graph is slower here.
            warnings.simplefilter("ignore")
            expected = self._model(inputs)
            self._shapes = {name: tensor.shape for name, tensor in expected.items()}
            flat = _Flat(self._model, _names(inputs), self._groups)
            try:
                graph = torch.jit.trace(flat, (self._room(), *self._given(inputs)), check_trace=False)
                agrees = _same(self._run(graph, inputs), expected)
            except RuntimeError as problem:
                logger.warning("the network runs without a recorded graph, slower: %s", problem)
                return False
        if not agrees:
            logger.warning("the network runs without a recorded graph, slower: the graph gives other numbers")
            return False
        self._graph, self._checked = graph, inputs.lidar2img
        return True

    def _run(self, graph: torch.jit.ScriptModule, inputs: PlannerInputs) -> dict[str, Tensor]:
        room = self._room()
        with one_thread(self._groups > 1):
            graph(room, *self._given(inputs))
        parts = room.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _compared(self, graph: torch.jit.ScriptModule, inputs: PlannerInputs) -> dict[str, Tensor]:
        expected = self._model(inputs)
        try:
            agrees = _same(self._run(graph, inputs), expected)
        except RuntimeError:  # recorded sizes that do not fit
            agrees = False
        if agrees:
            self._checked = inputs.lidar2img
        else:
            self._graph = None
            logger.warning("the recorded graph does not fit this rig: slower without it")
        return expected

    def _room(self) -> Tensor:
        """Where the graph writes its outputs, one after the other."""
        return torch.empty(sum(shape.numel() for shape in self._shapes.values()))

    def _given(self, inputs: PlannerInputs) -> tuple[Tensor, ...]:
        """What the graph takes beside the room for its outputs: projected pillars, then the inputs."""
        size = (inputs.images.shape[-2], inputs.images.shape[-1])
        views = self._model.bev_encoder.views(inputs.lidar2img, size, inputs.camera_valid)
        if self._split is None or self._split[0] is not views:
            parts = [views] if self._groups == 1 else views.split(self._groups)
            self._split = (views, [tensor for part in parts for tensor in vars(part).values()])
        return (*self._split[1], *(getattr(inputs, name) for name in _names(inputs)))


class _Flat(nn.Module):
    """A planner of projected pillars whose inputs are tensors in a row; the first takes the outputs."""

    def __init__(self, model: Planner, names: tuple[str, ...], groups: int) -> None:
        super().__init__()
        self.model, self.names, self.groups = model, names, groups

    def forward(self, room: Tensor, *tensors: Tensor) -> tuple[()]:
        outputs = self._outputs(tensors)
        torch.cat([tensor.flatten() for tensor in outputs.values()], out=room)
        return ()

    def _outputs(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        each = len(fields(PillarViews))
        views = [PillarViews(*tensors[k * each : (k + 1) * each]) for k in range(self.groups)]
        given = dict(zip(self.names, tensors[self.groups * each :], strict=True))
        rig = torch.zeros(1)  # not looked at
        with self.model.bev_encoder.seeing(views):
            inputs = PlannerInputs(lidar2img=rig, **given)
            if self.groups == 1:
                return self.model(inputs)
            return self.model(inputs, self._features(inputs.images), _forked)

    def _features(self, images: Tensor) -> list[Tensor]:
        """`Planner.image_features`, groups of cameras beside each other."""
        started = [torch.jit.fork(self._levels, group) for group in images.chunk(self.groups, 1)]
        groups = [torch.jit.wait(group) for group in started]
        return [torch.cat(level, 1) for level in zip(*groups, strict=True)]

    def _levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.image_features(images))


def _forked(function: Callable[..., Any], *tensors: Tensor) -> Callable[[], Any]:
    """A `Beside` that a graph records; the function gives a tensor, or a dataclass or named tuple of tensors."""
    kinds: list[Any] = []

    def run(*given: Tensor) -> Tensor | tuple[Tensor, ...]:
        result = function(*given)
        if isinstance(result, Tensor):
            kinds.append(lambda tensor: tensor)
            return result
        kinds.append(lambda tensors: type(result)(*tensors))
        return tuple(result) if isinstance(result, tuple) else tuple(getattr(result, f.name) for f in fields(result))

    future = torch.jit.fork(run, *tensors)
    return lambda: kinds[0](torch.jit.wait(future))


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """OpenMP with one thread, if `wanted`, for what runs beside a graph that shares its parts out itself."""
    before = torch.get_num_threads()
    if wanted and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _names(inputs: PlannerInputs) -> tuple[str, ...]:
    given = [field.name for field in fields(inputs) if getattr(inputs, field.name) is not None]
    return tuple(name for name in given if name not in UNUSED)


def _same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.allclose(found[name], expected[name], RELATIVE, ABSOLUTE) for name in expected)
