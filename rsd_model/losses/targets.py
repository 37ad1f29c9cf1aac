"""What the planner is trained towards: one dataclass a batch, in VAD's LiDAR frame (x right, y forward)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PlannerTargets:
    """Ground truth of a batch of B samples; lists hold one tensor a sample because counts differ.

    Metres, m/s and radians, LiDAR frame of the current instant, future steps every 0.5 s. A future is stored as OFFSETS
    between consecutive positions (the first from the current position), never as positions. `rsd_model.geometry`
    converts from base_link (`base_to_lidar_points`, `base_to_lidar_vectors`, `base_to_vad_yaw`).
    """

    object_boxes: list[Tensor]  # B x (G, 9) x, y, z (centre), width, length, height, VAD's yaw, vx, vy
    object_labels: list[Tensor]  # B x (G,) int64, index into OBJECT_CLASSES
    object_futures: list[Tensor]  # B x (G, 6, 2) offsets; anything where the mask is 0
    object_future_masks: list[Tensor]  # B x (G, 6) 1 = the step is known
    map_points: list[Tensor]  # B x (M, P, 2) evenly spaced along each polyline, P = config.map.points; see map_lines.py
    map_labels: list[Tensor]  # B x (M,) int64, index into MAP_CLASSES
    ego_future: Tensor  # (B, 6, 2) offsets
    ego_future_mask: Tensor  # (B, 6) 1 = the step is known
    command: Tensor  # (B,) int64, Command: the row of the plan that is trained
    object_risks: list[Tensor] | None = None  # B x (G,) in [0, 1]; nan = the teacher said nothing about this object
    risk_map: Tensor | None = None  # (B, rows, columns) in [0, 1], laid out as the network's risk map
    risk_map_mask: Tensor | None = None  # (B, rows, columns) bool, true where risk_map is known
    language_text: Tensor | None = None  # (B, 3, D) embeddings of what the teacher answered (ANSWERS); nan = no answer
    language_actions: Tensor | None = None  # (B, 3) int64, index into each of ACTION_SETS; UNKNOWN = no answer
    signal_places: list[Tensor] | None = None  # B x (S, 3) centres of heads of traffic lights; perspective.py asks them
    signal_labels: list[Tensor] | None = None  # B x (S,) int64, 0 = stop (red or yellow), 1 = go
    map_variants: list[Tensor] | None = None  # B x (M, V, P, 2) equivalent orders; None = made from map_points

    def __post_init__(self) -> None:
        batch = len(self.ego_future)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and len(value) != batch:
                raise ValueError(f"PlannerTargets.{field.name} holds {len(value)} samples, ego_future holds {batch}")
        counts = [len(boxes) for boxes in self.object_boxes]
        for name in ("object_labels", "object_futures", "object_future_masks", "object_risks"):
            value = getattr(self, name)
            if value is not None and [len(item) for item in value] != counts:
                raise ValueError(f"PlannerTargets.{name} has {[len(i) for i in value]} entries, object_boxes {counts}")
        if [len(item) for item in self.map_labels] != [len(item) for item in self.map_points]:
            raise ValueError("PlannerTargets.map_labels and map_points differ in length")

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return len(self.ego_future)

    def to(self, device: torch.device | str) -> PlannerTargets:
        """The same targets on another device."""
        moved: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                moved[field.name] = [item.to(device, non_blocking=True) for item in value]
            elif value is not None:
                moved[field.name] = value.to(device, non_blocking=True)
        return replace(self, **moved)  # type: ignore[arg-type]
