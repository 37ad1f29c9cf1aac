"""Names: which module of ours is which of VAD's. BEVFormer uses the same names for what it shares with VAD."""

from __future__ import annotations

from rsd_model.config import ModelConfig

HEAD = "pts_bbox_head"
TRANSFORMER = f"{HEAD}.transformer"

Table = list[tuple[str, str]]  # (our module or parameter path, theirs); what follows the path is the same in both


def vad_table(config: ModelConfig) -> Table:
    """Every module of the Planner that VAD has, with its name there."""
    return (
        _image_table(config)
        + _encoder_table(config)
        + _decoder_table("object_head.layers", f"{TRANSFORMER}.decoder.layers", config.objects.layers)
        + _decoder_table("map_head.layers", f"{TRANSFORMER}.map_decoder.layers", config.map.layers)
        + _heads_table(config)
    )


def bevformer_table(config: ModelConfig) -> Table:
    """The image backbone, the pyramid and the BEV encoder: what a BEVFormer checkpoint gives us."""
    return _image_table(config) + _encoder_table(config)


def torchvision_table(config: ModelConfig) -> Table:
    """The image backbone under torchvision's names."""
    return _backbone_table(config, prefix="")


def _backbone_table(config: ModelConfig, prefix: str) -> Table:
    stages = max(config.backbone.out_stages) + 1
    table = [(f"backbone.{name}", f"{prefix}{name}") for name in ("conv1", "bn1")]
    return table + [(f"backbone.stages.{i}", f"{prefix}layer{i + 1}") for i in range(stages)]


def _image_table(config: ModelConfig) -> Table:
    stages, levels = len(config.backbone.out_stages), config.bev.feature_levels
    table = _backbone_table(config, "img_backbone.")
    table += [(f"neck.lateral.{i}", f"img_neck.lateral_convs.{i}.conv") for i in range(stages)]
    table += [(f"neck.output.{i}", f"img_neck.fpn_convs.{i}.conv") for i in range(min(stages, levels))]
    return table + [(f"neck.extra.{i}", f"img_neck.fpn_convs.{stages + i}.conv") for i in range(levels - stages)]


def _encoder_table(config: ModelConfig) -> Table:
    table = [
        ("bev_encoder.query_embedding", f"{HEAD}.bev_embedding"),
        ("bev_encoder.row_embedding", f"{HEAD}.positional_encoding.row_embed"),
        ("bev_encoder.column_embedding", f"{HEAD}.positional_encoding.col_embed"),
        ("bev_encoder.level_embedding", f"{TRANSFORMER}.level_embeds"),
        ("bev_encoder.camera_embedding", f"{TRANSFORMER}.cams_embeds"),
        ("bev_encoder.can_bus_mlp.0", f"{TRANSFORMER}.can_bus_mlp.0"),
        ("bev_encoder.can_bus_mlp.2", f"{TRANSFORMER}.can_bus_mlp.2"),
        ("bev_encoder.can_bus_mlp.4", f"{TRANSFORMER}.can_bus_mlp.norm"),
    ]
    for i in range(config.bev.layers):
        ours, theirs = f"bev_encoder.layers.{i}", f"{TRANSFORMER}.encoder.layers.{i}"
        table += [
            (f"{ours}.temporal", f"{theirs}.attentions.0"),
            (f"{ours}.spatial.sampler", f"{theirs}.attentions.1.deformable_attention"),
            (f"{ours}.spatial.output_proj", f"{theirs}.attentions.1.output_proj"),
            *_feed_forward(ours, theirs),
            *_norms(ours, theirs, "temporal", "spatial", "feed_forward"),
        ]
    return table


def _decoder_table(ours: str, theirs: str, layers: int) -> Table:
    table: Table = []
    for i in range(layers):
        a, b = f"{ours}.{i}", f"{theirs}.{i}"
        table += [
            (f"{a}.self_attention", f"{b}.attentions.0.attn"),
            (f"{a}.bev_attention", f"{b}.attentions.1"),
            *_feed_forward(a, b),
            *_norms(a, b, "self", "bev", "feed_forward"),
        ]
    return table


def _interaction_table(ours: str, theirs: str, layers: int) -> Table:
    table: Table = []
    for i in range(layers):
        a, b = f"{ours}.{i}", f"{theirs}.layers.{i}"
        table += [
            (f"{a}.attention", f"{b}.attentions.0.attn"),
            *_feed_forward(a, b),
            *_norms(a, b, "attention", "feed_forward"),
        ]
    return table


def _heads_table(config: ModelConfig) -> Table:
    motion, ego = config.motion.layers, config.ego.layers
    return [
        ("object_head.code_weights", f"{HEAD}.code_weights"),
        ("object_head.query_embedding", f"{HEAD}.query_embedding"),
        ("object_head.reference_points", f"{TRANSFORMER}.reference_points"),
        ("object_head.class_branches", f"{HEAD}.cls_branches"),
        ("object_head.box_branches", f"{HEAD}.reg_branches"),
        ("map_head.code_weights", f"{HEAD}.map_code_weights"),
        ("map_head.instance_embedding", f"{HEAD}.map_instance_embedding"),
        ("map_head.point_embedding", f"{HEAD}.map_pts_embedding"),
        ("map_head.reference_points", f"{TRANSFORMER}.map_reference_points"),
        ("map_head.class_branches", f"{HEAD}.map_cls_branches"),
        ("map_head.point_branches", f"{HEAD}.map_reg_branches"),
        *((f"map_head.polyline_encoder.layers.{i}", f"{HEAD}.lane_encoder.layer_seq.lmlp_{i}.mlp") for i in range(3)),
        ("motion_head.mode_embedding", f"{HEAD}.motion_mode_query"),
        ("motion_head.object_position", f"{HEAD}.pos_mlp_sa"),
        ("motion_head.map_position", f"{HEAD}.pos_mlp"),
        *_interaction_table("motion_head.object_layers", f"{HEAD}.motion_decoder", motion),
        *_interaction_table("motion_head.map_layers", f"{HEAD}.motion_map_decoder", motion),
        ("motion_head.future_branch", f"{HEAD}.traj_branches.0"),
        ("motion_head.mode_branch", f"{HEAD}.traj_cls_branches.0"),
        ("ego_head.query_embedding", f"{HEAD}.ego_query"),
        ("ego_head.agent_fusion", f"{HEAD}.agent_fus_mlp"),
        ("ego_head.agent_position", f"{HEAD}.ego_agent_pos_mlp"),
        ("ego_head.map_position", f"{HEAD}.ego_map_pos_mlp"),
        *_interaction_table("ego_head.agent_layers", f"{HEAD}.ego_agent_decoder", ego),
        *_interaction_table("ego_head.map_layers", f"{HEAD}.ego_map_decoder", ego),
        ("ego_head.plan_branch", f"{HEAD}.ego_fut_decoder"),
    ]


def _feed_forward(ours: str, theirs: str) -> Table:
    return [
        (f"{ours}.feed_forward.expand", f"{theirs}.ffns.0.layers.0.0"),
        (f"{ours}.feed_forward.contract", f"{theirs}.ffns.0.layers.1"),
    ]


def _norms(ours: str, theirs: str, *names: str) -> Table:
    return [(f"{ours}.norm_{name}", f"{theirs}.norms.{i}") for i, name in enumerate(names)]


def rename(key: str, table: Table) -> str | None:
    """Translate a key from the first to the second column of the table; None where no entry covers it."""
    for source, target in table:
        if key == source or key.startswith(f"{source}."):
            return target + key[len(source) :]
    return None


def reverse(table: Table) -> Table:
    """The table read from right to left."""
    return [(theirs, ours) for ours, theirs in table]
