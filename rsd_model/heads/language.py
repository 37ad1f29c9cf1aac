"""VLM-AD's heads (arXiv 2412.14446): the ego feature learns to predict what a vision-language model said about the
scene.

Training only. They read the planner's `ego_features` from outside; nothing of them is in the planner's graph or its
state, so inference and export never see them. `ModelConfig.language_head` switches them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.config_reader import build
from rsd_model.layers import FeedForward

ANSWERS = ("current action", "future action", "reason")
CONTROL_ACTIONS = ("go straight", "move slowly", "stop", "reverse")
TURN_ACTIONS = ("turn left", "turn right", "turn around", "none")
LANE_ACTIONS = (
    "change lane to the left",
    "change lane to the right",
    "merge into the left lane",
    "merge into the right lane",
    "none",
)
ACTION_SETS = (CONTROL_ACTIONS, TURN_ACTIONS, LANE_ACTIONS)
ALIGNMENTS = ("cross_entropy", "mse", "kl", "contrastive")


@dataclass(frozen=True)
class LanguageHeadConfig:
    """Size and losses. Layers, heads, temperatures and weights are VLM-AD's; `dims` and the alternatives are ours."""

    dims: int = 256  # width of the queries
    layers: int = 3
    heads: int = 8
    text_dims: int = 512  # of the text embeddings; CLIP ViT-B/32's
    alignment: str = "cross_entropy"  # "cross_entropy" | "mse" | "kl" | "contrastive"
    teacher_temperature: float = 0.04
    student_temperature: float = 0.1
    alignment_weight: float = 1.0
    action_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("dims", "layers", "heads", "text_dims", "teacher_temperature", "student_temperature"):
            self._check(getattr(self, name) > 0, name, "> 0")
        for name in ("alignment_weight", "action_weight"):
            self._check(getattr(self, name) >= 0, name, ">= 0")
        self._check(self.dims % self.heads == 0, "dims", f"a multiple of heads = {self.heads}")
        self._check(self.alignment in ALIGNMENTS, "alignment", ", ".join(ALIGNMENTS))

    def _check(self, condition: bool, name: str, allowed: str) -> None:
        if not condition:
            raise ValueError(f"language_head.{name} = {getattr(self, name)!r}: allowed is {allowed}")


class LanguageOutput(NamedTuple):
    """What the ego feature says in the teacher's terms."""

    text: Tensor  # (B, 3, text_dims) predicted embeddings, in the order of ANSWERS
    control: Tensor  # (B, 4) logits over CONTROL_ACTIONS
    turn: Tensor  # (B, 4) logits over TURN_ACTIONS
    lane: Tensor  # (B, 5) logits over LANE_ACTIONS


class LanguageHead(nn.Module):
    """Text alignment head and structured action head on an ego feature of `ego_channels`."""

    def __init__(self, config: LanguageHeadConfig, ego_channels: int) -> None:
        super().__init__()
        self.config = config
        self.text_queries = EgoQueries(config, len(ANSWERS), ego_channels)
        self.action_queries = EgoQueries(config, len(ACTION_SETS), ego_channels)
        both = config.dims + ego_channels
        self.text_branch = _mlp(both, config.dims, config.text_dims)
        self.action_branches = nn.ModuleList(_mlp(both, config.dims, len(actions)) for actions in ACTION_SETS)

    def forward(self, ego_features: Tensor) -> LanguageOutput:
        """ego_features (B, T, ego_channels), T tokens of the ego (1 in our planner)."""
        answers, actions = self.text_queries(ego_features), self.action_queries(ego_features)
        control, turn, lane = (branch(actions[:, i]) for i, branch in enumerate(self.action_branches))
        return LanguageOutput(self.text_branch(answers), control, turn, lane)

    def named_outputs(self, ego_features: Tensor) -> dict[str, Tensor]:
        """The same as `language_text`, `language_control`, ..., to stand among the planner's outputs in PlannerLoss."""
        return {f"language_{name}": value for name, value in self(ego_features)._asdict().items()}


class EgoQueries(nn.Module):
    """Learned queries that attend the ego feature over a few layers: q', joined with the ego feature."""

    def __init__(self, config: LanguageHeadConfig, count: int, ego_channels: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(count, config.dims) * 0.02)
        self.layers = nn.ModuleList(EgoAttentionLayer(config, ego_channels) for _ in range(config.layers))

    def forward(self, ego_features: Tensor) -> Tensor:
        """(B, T, ego_channels) to (B, count, dims + ego_channels): q' (+) f_ego."""
        query = self.embedding.expand(len(ego_features), -1, -1)
        for layer in self.layers:
            query = layer(query, ego_features)
        ego = ego_features.mean(1, keepdim=True).expand(-1, query.shape[1], -1)
        return torch.cat([query, ego], -1)


class EgoAttentionLayer(nn.Module):
    """Cross-attention onto the ego feature and a feed-forward, each with residual and norm."""

    def __init__(self, config: LanguageHeadConfig, ego_channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.dims, config.heads, kdim=ego_channels, vdim=ego_channels, batch_first=True
        )
        self.norm_attention = nn.LayerNorm(config.dims)
        self.feed_forward = FeedForward(config.dims, 2 * config.dims)
        self.norm_feed_forward = nn.LayerNorm(config.dims)

    def forward(self, query: Tensor, ego_features: Tensor) -> Tensor:
        """query (B, n, dims); ego_features (B, T, ego_channels)."""
        attended = self.attention(query, ego_features, ego_features, need_weights=False)[0]
        return self.norm_feed_forward(self.feed_forward(self.norm_attention(query + attended)))


def language_head_config(config: ModelConfig) -> LanguageHeadConfig | None:
    """Settings of the heads that train a planner of `config`; None where it has none. Raises ConfigError."""
    return None if config.language_head is None else build(LanguageHeadConfig, config.language_head, "language_head")


def build_language_head(config: ModelConfig) -> LanguageHead | None:
    """The heads for a Planner of `config`, to stand beside it in training; None where the configuration has none."""
    settings = language_head_config(config)
    return None if settings is None else LanguageHead(settings, ego_channels=2 * config.dims)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
