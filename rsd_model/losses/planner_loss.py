"""The whole training loss of the planner, term by term."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.heads.language import LanguageOutput, language_head_config
from rsd_model.heads.risk import RiskOutput
from rsd_model.losses.bev_flow import bev_flow_term
from rsd_model.losses.elementary import pad_sequences
from rsd_model.losses.language import LanguageLoss, LanguageTargets
from rsd_model.losses.map_loss import map_terms
from rsd_model.losses.matching import Matches
from rsd_model.losses.object_loss import match_objects, motion_terms, object_terms
from rsd_model.losses.plan_loss import (
    FAR,
    bound_constraint,
    collision_constraint,
    direction_constraint,
    ego_mode,
    imitation_term,
    mode_term,
)
from rsd_model.losses.risk import RiskLoss, RiskTargets
from rsd_model.losses.targets import PlannerTargets
from rsd_model.network import risk_head_config


class PlannerLoss(nn.Module):
    """Raw outputs of the Planner and targets to weighted terms; their sum is what is trained.

    Names are VAD's: the last decoder layer's terms plain, earlier ones as `d0.`, `d1.`, ... 48 terms at base. With the
    RiskHead and risk targets also loss_risk_object, loss_risk_map and, where configured, loss_risk_ranking. With
    language heads and language targets also loss_text_alignment and loss_action, with `Planner.training_outputs` of a
    network with temporal fusion loss_bev_flow.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.risk_loss = None if config.risk_head is None else RiskLoss(risk_head_config(config))
        language = language_head_config(config)
        self.language_loss = None if language is None else LanguageLoss(language)

    def forward(self, outputs: dict[str, Tensor], targets: PlannerTargets) -> dict[str, Tensor]:
        """All terms, scalars; a term that is not finite is replaced by zero, as published."""
        matches = match_objects(outputs, targets, self.config)
        terms = _by_layer(object_terms(outputs, targets, matches, self.config))
        terms |= motion_terms(outputs, targets, matches, self.config)
        terms |= _by_layer(map_terms(outputs, targets, self.config))
        terms |= self.plan_terms(outputs, targets)
        terms |= self.risk_terms(outputs, targets, matches)
        terms |= self.language_terms(outputs, targets)
        if "bev_flow" in outputs:
            terms |= bev_flow_term(outputs["bev_flow"], targets, self.config)
        return {name: torch.nan_to_num(value, posinf=0.0, neginf=0.0) for name, value in terms.items()}

    def plan_terms(self, outputs: dict[str, Tensor], targets: PlannerTargets) -> dict[str, Tensor]:
        """loss_plan_reg, loss_plan_bound, loss_plan_col, loss_plan_dir; with `ego.halts_apart` also loss_plan_mode.

        Of a plan to drive and one to halt only that learns which is of the true future's kind.
        """
        offsets = outputs["ego_fut_preds"]
        rows = torch.arange(len(offsets), device=offsets.device)
        mask = targets.ego_future_mask.to(offsets.dtype)
        decision = {}
        if "ego_mode_preds" in outputs:
            mode = ego_mode(targets.ego_future)
            offsets = outputs["ego_mode_preds"][rows, mode]
            decision["loss_plan_mode"] = self.config.loss.plan * mode_term(outputs["ego_mode_scores"], mode, mask)
        commanded = offsets[rows, targets.command]
        terms = constraint_terms(
            commanded,
            mask,
            outputs["map_all_pts_preds"][-1],
            outputs["map_all_cls_scores"][-1].sigmoid(),
            outputs["all_bbox_preds"][-1][..., :2],
            outputs["all_traj_preds"][-1].unflatten(-1, (-1, 2)),
            outputs["all_cls_scores"][-1].sigmoid(),
            outputs["all_traj_cls_scores"][-1],
            self.config,
        )
        imitation = imitation_term(
            offsets, targets.ego_future, mask, targets.command, self.config.loss.plan_all_commands
        )
        return {"loss_plan_reg": self.config.loss.plan * imitation} | decision | terms

    def risk_terms(self, outputs: dict[str, Tensor], targets: PlannerTargets, matches: Matches) -> dict[str, Tensor]:
        """loss_risk_object, loss_risk_map; empty without the RiskHead or without risk targets."""
        if self.risk_loss is None or targets.object_risks is None:
            return {}
        predicted = RiskOutput(outputs["object_risk"], outputs["risk_map"])
        last = matches.of_layer(len(outputs["all_cls_scores"]) - 1)
        wanted = torch.full_like(predicted.object_risk, float("nan"))
        if len(last.target):
            risks = pad_sequences(targets.object_risks).to(wanted.dtype)
            wanted[last.sample, last.query] = risks[last.sample, last.target]
        names = {"object_risk": "loss_risk_object", "risk_map": "loss_risk_map", "risk_ranking": "loss_risk_ranking"}
        terms = self.risk_loss(predicted, RiskTargets(wanted, targets.risk_map, targets.risk_map_mask))
        return {names[name]: value for name, value in terms.items()}

    def language_terms(self, outputs: dict[str, Tensor], targets: PlannerTargets) -> dict[str, Tensor]:
        """loss_text_alignment, loss_action; empty without language heads or without language targets.

        `outputs` then hold what LanguageHead.named_outputs gives besides the planner's own.
        """
        if self.language_loss is None or targets.language_text is None or targets.language_actions is None:
            return {}
        said = LanguageOutput(*(outputs[f"language_{name}"] for name in LanguageOutput._fields))
        wanted = LanguageTargets(targets.language_text, *targets.language_actions.unbind(1))
        return {f"loss_{name}": value for name, value in self.language_loss(said, wanted).items()}


def constraint_terms(
    offsets: Tensor,
    mask: Tensor,
    map_points: Tensor,
    map_scores: Tensor,
    agent_places: Tensor,
    agent_futures: Tensor,
    agent_scores: Tensor,
    mode_scores: Tensor,
    config: ModelConfig,
) -> dict[str, Tensor]:
    """The three constraints of a plan against what the network itself perceives.

    offsets (B, T, 2) m; mask (B, T); map_points (B, V, P, 2) in [0, 1]; map_scores (B, V, classes) and agent_scores
    (B, A, classes) in [0, 1]; agent_places (B, A, 2) m; agent_futures (B, A, modes, T, 2) offsets; mode_scores
    (B, A, modes).
    """
    loss = config.loss
    plan = offsets.cumsum(1)
    lines = map_points * map_points.new_tensor(config.bev.size) + map_points.new_tensor(config.bev.range[:2])
    unsure = map_scores < loss.constraint_score
    bound = bound_constraint(plan, _without(lines, unsure[..., loss.bound_class]), loss.bound_distance)
    direction = direction_constraint(plan, _without(lines, unsure[..., loss.divider_class]))
    best = mode_scores.argmax(-1)[..., None, None, None].expand(-1, -1, 1, *agent_futures.shape[3:])
    agents = agent_places[:, :, None] + agent_futures.gather(2, best).squeeze(2).cumsum(2)
    score, label = agent_scores.max(-1)
    ignored = (score < loss.constraint_score) | (label >= loss.collision_classes)
    collision = collision_constraint(plan, _without(agents, ignored), loss.collision_distance)
    return {
        "loss_plan_bound": loss.plan_bound * (bound * mask).mean(),
        "loss_plan_col": loss.plan_collision * (collision * mask[..., None]).mean(),
        "loss_plan_dir": loss.plan_direction * (direction * mask).mean(),
    }


def _without(points: Tensor, dropped: Tensor) -> Tensor:
    return points.masked_fill(dropped[..., None, None], FAR)


def _by_layer(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, values in terms.items():
        for layer, value in enumerate(values[:-1]):
            named[f"d{layer}.{name}"] = value
        named[name] = values[-1]
    return named
