"""The planner network: camera images to objects, map, motion, risk and the plan, through a bird's-eye view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsd_model.backbone.fpn import FeaturePyramid
from rsd_model.backbone.resnet import ResNet
from rsd_model.beside import Beside, at_once
from rsd_model.bev.encoder import BevEncoder
from rsd_model.config import ModelConfig
from rsd_model.geometry import bench2drive_rig, lidar_to_image
from rsd_model.heads.ego import EgoHead
from rsd_model.heads.map import MapHead
from rsd_model.heads.motion import MotionHead
from rsd_model.heads.objects import ObjectHead
from rsd_model.heads.risk import RiskHead, RiskHeadConfig

FLOW_SCALE = 5.0  # m/s


@dataclass(frozen=True)
class PlannerInputs:
    """One instant of B vehicles, as tensors."""

    images: Tensor  # (B, N, 3, H, W) normalised RGB, padded
    lidar2img: Tensor  # (B, N, 4, 4) LiDAR frame to pixels x depth at H x W
    can_bus: Tensor  # (B, 18) VAD's layout, position and yaw in degrees relative to the previous frame
    command: Tensor | None = None  # (B,) Command; unused by the forward pass, which plans for every command
    route: Tensor | None = None  # (B, R, 2) m, LiDAR frame, evenly spaced, from the ego on
    ego_status: Tensor | None = None  # (B, S) of about 1, those that ego.status names; zeros: not known
    camera_valid: Tensor | None = None  # (B, N) bool; a camera that is not valid is never attended
    prev_bev: Tensor | None = None  # (B, HW, dims) BEV of the previous frame


class Planner(nn.Module):
    """BEVFormer encoder with VAD's heads (arXiv 2303.12077); sizes and options by ModelConfig."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = ResNet(config.backbone)
        channels, bev = config.backbone.out_channels, config.bev
        self.neck = FeaturePyramid(channels, config.dims, bev.feature_levels, bev.pyramid_kernel)
        self.bev_encoder = BevEncoder(config)
        self.object_head = ObjectHead(config)
        self.map_head = MapHead(config)
        self.motion_head = MotionHead(config)
        self.ego_head = EgoHead(config)
        self.risk_head = _build_risk_head(config)
        self.flow_head = nn.Linear(config.dims, 2) if config.bev.temporal_fusion else None

    def image_features(self, images: Tensor) -> list[Tensor]:
        """(B, N, 3, H, W) to pyramid levels (B, N, dims, h, w), the finest first."""
        levels = self.neck(self.backbone(images.flatten(0, 1)))
        return [level.unflatten(0, images.shape[:2]) for level in levels]

    def encode(self, inputs: PlannerInputs, features: list[Tensor] | None = None, beside: Beside = at_once) -> Tensor:
        """BEV features (B, HW, dims): all that a history frame needs. `features`: the `image_features`, where known."""
        return self.bev_encoder(
            self.image_features(inputs.images) if features is None else features,
            inputs.lidar2img,
            inputs.can_bus,
            (inputs.images.shape[-2], inputs.images.shape[-1]),
            inputs.prev_bev,
            inputs.camera_valid,
            beside,
        )

    def forward(
        self, inputs: PlannerInputs, features: list[Tensor] | None = None, beside: Beside = at_once
    ) -> dict[str, Tensor]:
        """Raw outputs under VAD's names, L decoder layers, metres in the LiDAR frame.

        `beside` starts parts of the encoder and heads that may run beside others.

        bev_embed (HW, B, dims); all_cls_scores (L, B, Q, classes) logits; all_bbox_preds (L, B, Q, 10);
        all_traj_preds (L, B, Q, modes, steps * 2) offsets; all_traj_cls_scores (L, B, Q, modes) logits;
        map_all_cls_scores (L, B, V, classes) logits; map_all_pts_preds (L, B, V, P, 2) and map_all_bbox_preds
        (L, B, V, 4) in [0, 1]; ego_fut_preds (B, commands, steps, 2) offsets; ego_features (B, 1, 2 dims).
        With the RiskHead also object_risk (B, Q) and risk_map (B, rows, columns); with `ego.halts_apart` both plans
        and the choice: ego_mode_preds (B, modes, commands, steps, 2) and ego_mode_scores (B, modes) logits.
        """
        bev = self.encode(inputs, features, beside)
        mapping = beside(self.map_head, bev)
        objects = self.object_head(bev)
        judging = None if self.risk_head is None else beside(self.risk_head, bev, objects.centres, objects.hidden[-1])
        lanes = mapping()
        motion = self.motion_head(objects, lanes)
        plan = self.ego_head(bev, objects, lanes, motion, inputs.route, inputs.ego_status)
        layers = len(objects.hidden)
        outputs = {
            "bev_embed": bev.transpose(0, 1),
            "all_cls_scores": objects.class_logits,
            "all_bbox_preds": objects.boxes,
            "all_traj_preds": motion.futures.expand(layers, -1, -1, -1, -1),
            "all_traj_cls_scores": motion.mode_logits.expand(layers, -1, -1, -1),
            "map_all_cls_scores": lanes.class_logits,
            "map_all_pts_preds": lanes.points,
            "map_all_bbox_preds": lanes.boxes,
            "ego_fut_preds": plan.offsets,
            "ego_features": plan.features,
        }
        if plan.mode_offsets is not None and plan.mode_logits is not None:
            outputs |= {"ego_mode_preds": plan.mode_offsets, "ego_mode_scores": plan.mode_logits}
        if judging is not None:
            outputs |= judging()._asdict()
        return outputs

    def training_outputs(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What only the loss reads, from the outputs of `forward`; no plan needs it.

        With temporal fusion bev_flow (B, HW, 2) m/s, the velocity of what stands in a cell; otherwise nothing.
        """
        if self.flow_head is None:
            return {}
        return {"bev_flow": FLOW_SCALE * self.flow_head(outputs["bev_embed"].transpose(0, 1))}


def _build_risk_head(config: ModelConfig) -> RiskHead | None:
    if config.risk_head is None:
        return None
    shape = (config.bev.rows, config.bev.columns)
    return RiskHead(risk_head_config(config), config.dims, shape, query_channels=config.dims, layout="b_hw_c")


def risk_head_config(config: ModelConfig) -> RiskHeadConfig:
    """Settings of the planner's RiskHead: the model's BEV range unless the configuration says otherwise.

    Where half a metre does not divide that range, cells of the risk map are as large as those of the BEV.
    """
    x_min, y_min, _, x_max, y_max, _ = config.bev.range
    values = dict(config.risk_head or {})
    if "range" not in values and any(side % 0.5 for side in (x_max - x_min, y_max - y_min)):
        values.setdefault("map_resolution", (x_max - x_min) / config.bev.columns)
    return RiskHeadConfig.from_dict(values, range=(x_min, y_min, x_max, y_max))


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not."""
    return sum(p.numel() for p in module.parameters())


def example_inputs(config: ModelConfig, batch: int = 1, seed: int = 0) -> PlannerInputs:
    """Random images on the Bench2Drive rig: inputs of the right shape for tests, tracing and benchmarks."""
    generator = torch.Generator().manual_seed(seed)
    height, width = config.image.padded_size
    rig = bench2drive_rig(config.image.width, config.image.height)
    lidar2img = torch.as_tensor(lidar_to_image(rig), dtype=torch.float32)[: config.cameras]
    ego = config.ego
    return PlannerInputs(
        images=torch.randn(batch, config.cameras, 3, height, width, generator=generator),
        lidar2img=lidar2img.expand(batch, -1, -1, -1),
        can_bus=torch.zeros(batch, 18),
        command=torch.full((batch,), 3),
        route=torch.randn(batch, ego.route_points, 2, generator=generator) * 5.0 if ego.route_points else None,
        ego_status=torch.randn(batch, len(ego.status), generator=generator) if ego.status else None,
    )
