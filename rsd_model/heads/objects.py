"""Object head: learned queries refine a 3-D reference point and a box over the decoder layers (Deformable DETR)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.layers import DecoderLayer, classification_branch, inverse_sigmoid, regression_branch

BOX_CODE = 10  # x, y, log width, log length, z, log height, sin yaw, cos yaw, vx, vy


@dataclass(frozen=True)
class ObjectQueries:
    """Raw output of the object head, L layers."""

    hidden: Tensor  # (L, B, Q, dims)
    references: Tensor  # (L, B, Q, 3) refined reference points in [0, 1]
    class_logits: Tensor  # (L, B, Q, classes)
    boxes: Tensor  # (L, B, Q, 10) BOX_CODE; centre in m, LiDAR frame
    centres: Tensor  # (B, Q, 2) centre of the last layer in [0, 1], detached


class ObjectHead(nn.Module):
    """BEV (B, HW, dims) to ObjectQueries."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, objects = config.dims, config.objects
        self.query_embedding = nn.Embedding(objects.queries, 2 * dims)  # position, content
        self.reference_points = nn.Linear(dims, 3)
        self.layers = nn.ModuleList(
            [DecoderLayer(dims, config.heads, config.ffn_dims, objects.points) for _ in range(objects.layers)]
        )
        self.class_branches = nn.ModuleList(
            [classification_branch(dims, objects.classes) for _ in range(objects.layers)]
        )
        self.box_branches = nn.ModuleList([regression_branch(dims, BOX_CODE) for _ in range(objects.layers)])
        # Part of public checkpoints; the loss takes its weights from the configuration.
        self.register_buffer("code_weights", torch.tensor(config.loss.box_code))
        low, high = torch.tensor(config.bev.range).split(3)
        self.register_buffer("range_low", low, persistent=False)
        self.register_buffer("range_size", high - low, persistent=False)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def forward(self, bev: Tensor) -> ObjectQueries:
        """Decode all layers."""
        shape = (self.config.bev.rows, self.config.bev.columns)
        position, query = self.query_embedding.weight.expand(len(bev), -1, -1).chunk(2, dim=-1)
        reference = self.reference_points(position).float().sigmoid()  # coordinates stay in single precision
        hidden, references, logits, boxes = [], [], [], []
        for layer, classify, regress in zip(self.layers, self.class_branches, self.box_branches, strict=True):
            query = layer(query, position, bev, shape, reference[..., :2])
            code = regress(query).float()
            centre = (code[..., [0, 1, 4]] + inverse_sigmoid(reference)).sigmoid()
            reference = centre.detach()
            metres = centre * self.range_size + self.range_low
            boxes.append(torch.cat([metres[..., :2], code[..., 2:4], metres[..., 2:], code[..., 5:]], -1))
            hidden.append(query)
            references.append(reference)
            logits.append(classify(query))
        return ObjectQueries(
            torch.stack(hidden),
            torch.stack(references),
            torch.stack(logits),
            torch.stack(boxes),
            reference[..., :2].to(bev.dtype),
        )
