"""What BEVFormer-base's backbone has beside a plain ResNet: deformable stages, stride in the first 1x1, BGR images."""

import copy
from dataclasses import replace

import pytest
import torch

from rsd_model.backbone.folding import fold_batch_norm
from rsd_model.backbone.resnet import Bottleneck, DeformableConv2d, ResNet
from rsd_model.config import BackboneConfig, ImageConfig, load_model_config
from rsd_model.inputs import ImageNormaliser
from rsd_model.network import Planner, example_inputs

SMALL = BackboneConfig(
    depths=(1, 2, 2, 1), widths=(4, 4, 8, 8), stem_width=4, style="caffe", deformable_stages=(2, 3), frozen_stages=-1
)


def trained(module, seed=0):
    """`module` with random statistics and taps that have moved, in eval mode."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0.0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
        if isinstance(part, DeformableConv2d):
            torch.nn.init.normal_(part.conv_offset.weight, std=0.1)
            torch.nn.init.normal_(part.conv_offset.bias)
    return module.eval()


def test_caffe_stride_skips_cells_before_the_first_convolution():
    caffe, still = trained(Bottleneck(8, 4, 2, caffe=True)), Bottleneck(8, 4, 1).eval()
    still.load_state_dict(caffe.state_dict(), strict=False)
    x = torch.randn(2, 8, 9, 6)
    torch.testing.assert_close(caffe(x), still(x[:, :, ::2, ::2]))
    assert (caffe(x) - Bottleneck(8, 4, 2).eval()(x)).abs().max() > 0.1


def test_deformable_stages_begin_as_plain_convolutions_of_half_the_weight():
    deformable = ResNet(SMALL).eval()
    plain = ResNet(replace(SMALL, deformable_stages=())).eval()
    plain.load_state_dict(deformable.state_dict(), strict=False)
    for stage in plain.stages[2:]:
        for block in stage:
            block.conv2.weight.data *= 0.5  # the mask begins at sigmoid(0)
    images = torch.randn(2, 3, 64, 96)
    for ours, wanted in zip(deformable(images), plain(images), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_every_block_of_a_deformable_stage_has_offsets_and_no_other():
    found = {name for name, part in ResNet(SMALL).named_modules() if isinstance(part, DeformableConv2d)}
    assert found == {"stages.2.0.conv2", "stages.2.1.conv2", "stages.3.0.conv2"}


def test_folded_norms_and_channels_last_compute_the_same():
    backbone = trained(ResNet(SMALL))
    folded, images = copy.deepcopy(backbone), torch.randn(2, 3, 64, 96)
    fold_batch_norm(folded)
    with torch.inference_mode():
        for ours, wanted in zip(folded(images), backbone(images), strict=True):
            torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_reach_weights_and_offsets(precision):
    backbone = trained(ResNet(SMALL)).train()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        sum(level.float().square().mean() for level in backbone(torch.randn(1, 3, 64, 96))).backward()
    trainable = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert sum("conv_offset.bias" in name for name in trainable) == 3
    for name, parameter in trainable.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name


def test_exported_backbone_computes_the_same():
    backbone, images = trained(ResNet(SMALL)), torch.randn(1, 3, 64, 96)
    fold_batch_norm(backbone)
    with torch.inference_mode():
        exported = torch.export.export(backbone, (images,)).module()
        for ours, wanted in zip(exported(images), backbone(images), strict=True):
            torch.testing.assert_close(ours, wanted)


def test_bgr_images_are_turned_before_mean_and_deviation():
    image = ImageConfig(width=4, height=2, size_divisor=2, channels="bgr", mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0))
    pixels = torch.randint(0, 256, (1, 2, 4, 3), dtype=torch.uint8)
    values = ImageNormaliser(image, torch.device("cpu"))(pixels)
    red, green, blue = pixels.float().unbind(-1)
    torch.testing.assert_close(values, torch.stack([blue - 1.0, green - 2.0, (red - 3.0) / 2.0], 1))


def test_bevformer_base_has_the_published_sizes():
    config = load_model_config("bevformer_base")
    with torch.device("meta"):
        model = Planner(config)
    assert config.image.padded_size == (928, 1600)
    assert sum(isinstance(m, DeformableConv2d) for m in model.backbone.modules()) == 26
    assert model.backbone.stages[1][0].conv1.stride == (2, 2)
    shapes = {key: tuple(value.shape) for key, value in model.bev_encoder.state_dict().items()}
    assert shapes["query_embedding.weight"] == (40_000, 256)
    assert shapes["level_embedding"] == (4, 256)


def test_planner_with_a_deformable_backbone_plans():
    nano = load_model_config("nano")
    config = replace(
        nano, backbone=replace(SMALL, out_stages=(1, 2, 3)), image=replace(nano.image, width=64, height=64)
    )
    with torch.inference_mode():
        outputs = Planner(config).eval()(example_inputs(config))
    assert torch.isfinite(outputs["ego_fut_preds"]).all()
