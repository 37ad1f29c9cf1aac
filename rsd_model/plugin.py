"""Put the RiskHead on a model that is not ours, and take it off again without a trace."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from rsd_model.heads.risk import RiskHead, RiskHeadConfig, RiskOutput
from rsd_model.losses.risk import RiskLoss, RiskTargets

ATTACHED_NAME = "rsd_risk_head"


def attach_risk_head(
    model: nn.Module,
    bev_module: str,
    *,
    config: RiskHeadConfig,
    bev_channels: int,
    bev_shape: tuple[int, int],
    layout: str | None = None,
    query_channels: int | None = None,
    select: Callable[[Any], Tensor] | None = None,
    train_host: bool = True,
) -> AttachedRiskHead:
    """Hook a RiskHead to the submodule of `model` that returns BEV features; the host computes what it did before.

    bev_module: dotted path as in `model.named_modules()`; bev_channels, bev_shape (H, W), layout: as in RiskHead;
    select: picks the tensor where the module returns more than one; train_host: whether the risk loss reaches the
    host's weights (that is what distils the teacher into the BEV). The head becomes a submodule of the host
    (`rsd_risk_head`), so its optimiser, checkpoints and device moves include it; attach before wrapping for
    several GPUs.
    Raises ValueError for an unknown path, or where a head is attached already.
    """
    modules = dict(model.named_modules())
    if bev_module not in modules:
        near = get_close_matches(bev_module, modules, n=3, cutoff=0.4)
        raise ValueError(
            f"{type(model).__name__} has no module {bev_module!r}; near names: {near or list(modules)[1:6]}"
        )
    if hasattr(model, ATTACHED_NAME):
        raise ValueError(f"{type(model).__name__} has a RiskHead already; remove() it first")
    head = RiskHead(config, bev_channels, bev_shape, query_channels, layout)
    parameter = next(model.parameters(), None)
    if parameter is not None:
        head = head.to(parameter.device)
    return AttachedRiskHead(model, modules[bev_module], head, select, train_host)


class AttachedRiskHead:
    """A RiskHead on a host model: reads the BEV features of the host's latest forward pass."""

    def __init__(
        self,
        model: nn.Module,
        bev_module: nn.Module,
        head: RiskHead,
        select: Callable[[Any], Tensor] | None,
        train_host: bool,
    ) -> None:
        self.head = head
        self.loss_function = RiskLoss(head.config)
        self._model, self._select, self._train_host = model, select, train_host
        self._bev: Tensor | None = None
        model.add_module(ATTACHED_NAME, head)
        self._hook = bev_module.register_forward_hook(self._keep)

    @property
    def config(self) -> RiskHeadConfig:
        """The head's configuration; its `reference_points` and `normalise` place objects in the BEV."""
        return self.head.config

    def __call__(self, reference_points: Tensor, query_features: Tensor | None = None) -> RiskOutput:
        """Risk of objects at reference_points (B, Q, 2) in [0, 1] and of the BEV the host computed last.

        Raises RuntimeError before the host's first forward pass.
        """
        if self._bev is None:
            raise RuntimeError("no BEV features yet: run the host model, then ask the RiskHead")
        bev = self._bev if self._train_host else self._bev.detach()
        return self.head(bev, reference_points, query_features)

    def loss(self, output: RiskOutput, targets: RiskTargets) -> Tensor:
        """Sum of the weighted risk terms: add it to the host's loss."""
        return sum(self.loss_function(output, targets).values(), output.object_risk.new_zeros(()))

    def remove(self) -> None:
        """Take hook and head off; the host is as it was, and the head stays usable on its own."""
        self._hook.remove()
        self._bev = None
        if getattr(self._model, ATTACHED_NAME, None) is self.head:
            delattr(self._model, ATTACHED_NAME)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        bev = self._select(output) if self._select else output
        if not isinstance(bev, Tensor):
            raise TypeError(
                f"{type(module).__name__} returned {type(bev).__name__}, not a tensor: "
                "pass select=... that picks the BEV features from it"
            )
        self._bev = bev
