"""Perspective supervision: while it trains, the network also says what stands where in each camera's own image.

The gradient that reaches the image backbone through BEV attention is thin: a network that is trained for hours, not
days, then hardly sees what is small or rare. BEVFormer v2 (arXiv 2211.10439) asks the image features directly; here by
CenterNet's heat maps (arXiv 1904.07850). Nothing of it is in the planner that drives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsd_model.config import ModelConfig
from rsd_model.losses.targets import PlannerTargets

NEAREST = 0.5  # m; objects with a smaller depth are not drawn
PRIOR = 0.01  # probability that an untrained head gives every cell
SIGMA_SHARE = 1.0 / 6.0  # of an object's height in the image
SIGMA_RANGE = (0.6, 3.0)  # cells
SIGNALS = ("stop", "go")  # what a traffic light says, two classes behind the objects'
SIGNAL_HEIGHT = 1.7  # m, of a head
DEPTH_WEIGHT = 0.5


class PerspectiveHead(nn.Module):
    """One level of image features (B, N, dims, h, w) to what stands in its cells.

    perspective_centres (B, N, classes, h, w): logits of the centre of an object or, the last classes, of the head of a
    traffic light that says one of SIGNALS to who looks at it; perspective_depths (B, N, h, w): m, of that
    object.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(config.dims, config.dims, 3, padding=1)
        self.output = nn.Conv2d(config.dims, config.objects.classes + len(SIGNALS) + 1, 1)
        nn.init.constant_(self.output.bias[:-1], -torch.logit(torch.tensor(1.0 - PRIOR)).item())
        nn.init.constant_(self.output.bias[-1:], 2.5)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        hidden = self.hidden(features.flatten(0, 1)).relu()
        output = self.output(hidden).float().unflatten(0, features.shape[:2])
        return {"perspective_centres": output[:, :, :-1], "perspective_depths": output[:, :, -1].clamp(-1.0, 5.0).exp()}


def perspective_loss(
    outputs: dict[str, Tensor], targets: PlannerTargets, lidar2img: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Loss of a `PerspectiveHead`'s outputs, scalar; lidar2img (B, N, 4, 4) to pixels of `image_size` height, width."""
    logits, depths = outputs["perspective_centres"], outputs["perspective_depths"]
    height, width = logits.shape[-2:]
    cells = logits.new_tensor([width / image_size[1], height / image_size[0]])
    boxes, labels = things(targets, lidar2img.device, first_signal=logits.shape[2] - len(SIGNALS))
    image, label, centre, sigma, depth = drawn_things(boxes, labels, lidar2img, image_size, cells)
    heat = heat_maps(image, label, centre, sigma, logits.flatten(0, 1).shape)
    count = max(len(image), 1)
    column, row = centre.floor().long().unbind(1)
    error = F.smooth_l1_loss(depths.flatten(0, 1)[image, row, column].log(), depth.log(), reduction="sum", beta=0.1)
    return (centre_focal_loss(logits.flatten(0, 1), heat) + DEPTH_WEIGHT * error) / count


def things(targets: PlannerTargets, device: torch.device, first_signal: int) -> tuple[list[Tensor], list[Tensor]]:
    """Objects and heads of traffic lights of each sample: (K, 4) x, y, z, height in m, LiDAR frame, and labels (K,)."""
    boxes = [box[:, [0, 1, 2, 5]].to(device).float() for box in targets.object_boxes]
    labels = [label.to(device) for label in targets.object_labels]
    if targets.signal_places is None or targets.signal_labels is None:
        return boxes, labels
    heads = [F.pad(place.to(device).float(), (0, 1), value=SIGNAL_HEIGHT) for place in targets.signal_places]
    said = [first_signal + label.to(device) for label in targets.signal_labels]
    return [torch.cat(two) for two in zip(boxes, heads, strict=True)], [
        torch.cat(two) for two in zip(labels, said, strict=True)
    ]


def drawn_things(
    boxes: list[Tensor], labels: list[Tensor], lidar2img: Tensor, image_size: tuple[int, int], cells: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Every one of `things` in every image that its centre falls into: image (K,) of B * N, label (K,), centre (K, 2)
    and sigma (K,) in cells, depth (K,) m."""
    device, cameras = lidar2img.device, lidar2img.shape[1]
    sample = torch.repeat_interleave(torch.tensor([len(box) for box in boxes], device=device))
    box, label = torch.cat(boxes), torch.cat(labels)
    half = F.pad(box[:, 3:] / 2.0, (2, 0))
    points = torch.stack([box[:, :3], box[:, :3] + half, box[:, :3] - half], dim=1)  # centre, top, bottom
    projected = torch.einsum("gnij,gpj->gnpi", lidar2img[sample].float(), F.pad(points, (0, 1), value=1.0))
    depth = projected[..., 2]
    pixels = projected[..., :2] / depth.clamp(min=NEAREST)[..., None]
    size = pixels.new_tensor([image_size[1], image_size[0]])
    inside = ((pixels[:, :, 0] >= 0.0) & (pixels[:, :, 0] < size)).all(-1) & (depth > NEAREST).all(-1)
    which, camera = inside.nonzero(as_tuple=True)
    tall = (pixels[which, camera, 1, 1] - pixels[which, camera, 2, 1]).abs() * cells[1]
    sigma = (SIGMA_SHARE * tall).clamp(*SIGMA_RANGE)
    return (
        sample[which] * cameras + camera, label[which], pixels[which, camera, 0] * cells, sigma,
        depth[which, camera, 0],
    )  # fmt: skip


def heat_maps(image: Tensor, label: Tensor, centre: Tensor, sigma: Tensor, shape: torch.Size) -> Tensor:
    """Heat maps (images, classes, h, w): a Gaussian about each object's cell, 1 in the cell itself."""
    _, classes, height, width = shape
    columns = torch.arange(width, device=centre.device) - centre[:, :1].floor()  # (K, w)
    rows = torch.arange(height, device=centre.device) - centre[:, 1:].floor()  # (K, h)
    distance = rows[:, :, None] ** 2 + columns[:, None, :] ** 2
    bumps = torch.exp(-distance / (2.0 * sigma[:, None, None] ** 2)).flatten(1)
    heat = torch.zeros(shape[0] * classes, height * width, device=centre.device)
    place = (image * classes + label)[:, None].expand(-1, height * width)
    return heat.scatter_reduce(0, place, bumps, "amax").view(shape)


def centre_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CenterNet's focal loss (alpha 2, beta 4), summed."""
    probability = logits.sigmoid()
    centres = (1.0 - probability) ** 2 * F.logsigmoid(logits)
    elsewhere = (1.0 - heat) ** 4 * probability**2 * F.logsigmoid(-logits)
    return -torch.where(heat >= 1.0, centres, elsewhere).sum()
