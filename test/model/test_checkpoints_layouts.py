"""Checkpoints as BEVFormer and torchvision write them, built by rule: names and shapes told here once more."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rsd_model.checkpoints.public import export_public, import_public, map_public_state, read_public_checkpoint
from rsd_model.checkpoints.weights import WeightsError
from rsd_model.config import BackboneConfig, EgoConfig, load_model_config

BASE, NANO = load_model_config("base"), load_model_config("nano")
RESNET50, RESNET101 = (3, 4, 6, 3), (3, 4, 23, 3)


def norm_shapes(name, channels):
    shapes = {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def resnet_shapes(depths, widths, prefix="", deformable=()):
    """A bottleneck ResNet without its classifier; mmcv's DCNv2 in the stages `deformable`."""
    shapes = {f"{prefix}conv1.weight": (widths[0], 3, 7, 7)} | norm_shapes(f"{prefix}bn1", widths[0])
    channels = widths[0]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for block in range(depth):
            name = f"{prefix}layer{stage + 1}.{block}"
            sizes = [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            for i, size in enumerate(sizes):
                shapes[f"{name}.conv{i + 1}.weight"] = size
                shapes |= norm_shapes(f"{name}.bn{i + 1}", size[0])
            if stage in deformable:
                shapes[f"{name}.conv2.conv_offset.weight"] = (27, width, 3, 3)
                shapes[f"{name}.conv2.conv_offset.bias"] = (27,)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                shapes |= norm_shapes(f"{name}.downsample.1", 4 * width)
            channels = 4 * width
    return shapes


def linear_shapes(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def vector_shapes(name, size):
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def neck_shapes(dims, channels, levels):
    shapes = {}
    for i, inputs in enumerate(channels):
        shapes[f"img_neck.lateral_convs.{i}.conv.weight"] = (dims, inputs, 1, 1)
        shapes[f"img_neck.lateral_convs.{i}.conv.bias"] = (dims,)
    for i in range(levels):
        shapes[f"img_neck.fpn_convs.{i}.conv.weight"] = (dims, dims, 3, 3)
        shapes[f"img_neck.fpn_convs.{i}.conv.bias"] = (dims,)
    return shapes


def bevformer_shapes(dims, heads, ffn, rows, columns, layers, depths, widths, base=False):
    """What we take of BEVFormer-tiny (one pyramid level of stride 32) or -base (four, deformable stages)."""
    head, transformer = "pts_bbox_head", "pts_bbox_head.transformer"
    levels, stages = (4, (1, 2, 3)) if base else (1, (3,))
    shapes = resnet_shapes(depths, widths, "img_backbone.", (2, 3) if base else ())
    shapes |= neck_shapes(dims, [4 * widths[stage] for stage in stages], levels)
    shapes |= {f"{head}.bev_embedding.weight": (rows * columns, dims), f"{head}.code_weights": (10,)}
    shapes |= {f"{head}.positional_encoding.row_embed.weight": (rows, dims // 2)}
    shapes |= {f"{head}.positional_encoding.col_embed.weight": (columns, dims // 2)}
    shapes |= {f"{transformer}.level_embeds": (levels, dims), f"{transformer}.cams_embeds": (6, dims)}
    shapes |= linear_shapes(f"{transformer}.can_bus_mlp.0", 18, dims // 2)
    shapes |= linear_shapes(f"{transformer}.can_bus_mlp.2", dims // 2, dims)
    shapes |= vector_shapes(f"{transformer}.can_bus_mlp.norm", dims)
    for i in range(layers):
        layer = f"{transformer}.encoder.layers.{i}"
        temporal, spatial = f"{layer}.attentions.0", f"{layer}.attentions.1"
        sampler = f"{spatial}.deformable_attention"
        shapes |= linear_shapes(f"{temporal}.sampling_offsets", 2 * dims, 2 * heads * 4 * 2)
        shapes |= linear_shapes(f"{temporal}.attention_weights", 2 * dims, 2 * heads * 4)
        shapes |= linear_shapes(f"{sampler}.sampling_offsets", dims, heads * levels * 8 * 2)
        shapes |= linear_shapes(f"{sampler}.attention_weights", dims, heads * levels * 8)
        for name in (f"{temporal}.value_proj", f"{temporal}.output_proj", f"{sampler}.value_proj"):
            shapes |= linear_shapes(name, dims, dims)
        shapes |= linear_shapes(f"{spatial}.output_proj", dims, dims)
        shapes |= linear_shapes(f"{layer}.ffns.0.layers.0.0", dims, ffn)
        shapes |= linear_shapes(f"{layer}.ffns.0.layers.1", ffn, dims)
        for norm in range(3):
            shapes |= vector_shapes(f"{layer}.norms.{norm}", dims)
    return shapes


def decoder_shapes(dims, heads=8, ffn=512):
    """What BEVFormer has beside that and we do not take: the detection decoder and its branches."""
    head, transformer = "pts_bbox_head", "pts_bbox_head.transformer"
    shapes = {f"{head}.query_embedding.weight": (900, 2 * dims)}
    shapes |= linear_shapes(f"{transformer}.reference_points", dims, 3)
    for i in range(6):
        layer, sampler = f"{transformer}.decoder.layers.{i}", f"{transformer}.decoder.layers.{i}.attentions.1"
        attention = f"{layer}.attentions.0.attn"
        shapes |= {f"{attention}.in_proj_weight": (3 * dims, dims), f"{attention}.in_proj_bias": (3 * dims,)}
        shapes |= linear_shapes(f"{attention}.out_proj", dims, dims)
        shapes |= linear_shapes(f"{sampler}.sampling_offsets", dims, heads * 4 * 2)
        shapes |= linear_shapes(f"{sampler}.attention_weights", dims, heads * 4)
        shapes |= linear_shapes(f"{sampler}.value_proj", dims, dims) | linear_shapes(
            f"{sampler}.output_proj", dims, dims
        )
        shapes |= linear_shapes(f"{layer}.ffns.0.layers.0.0", dims, ffn)
        shapes |= linear_shapes(f"{layer}.ffns.0.layers.1", ffn, dims)
        for norm in range(3):
            shapes |= vector_shapes(f"{layer}.norms.{norm}", dims)
        classes, boxes = f"{head}.cls_branches.{i}", f"{head}.reg_branches.{i}"
        for part in (0, 3):
            shapes |= linear_shapes(f"{classes}.{part}", dims, dims) | vector_shapes(f"{classes}.{part + 1}", dims)
        shapes |= linear_shapes(f"{classes}.6", dims, 10) | linear_shapes(f"{boxes}.4", dims, 10)
        shapes |= linear_shapes(f"{boxes}.0", dims, dims) | linear_shapes(f"{boxes}.2", dims, dims)
    return shapes


def bevformer_config(dims, heads, ffn, rows, columns, layers, depths, widths, base=False):
    named = load_model_config("bevformer_base") if base else BASE
    backbone = replace(named.backbone, depths=depths, widths=widths, stem_width=widths[0])
    bev = replace(named.bev, rows=rows, columns=columns, layers=layers)
    if not base:
        backbone, bev = replace(backbone, out_stages=(3,)), replace(bev, feature_levels=1)
    return replace(named, name="bevformer", dims=dims, heads=heads, ffn_dims=ffn, backbone=backbone, bev=bev)


def random_state(shapes):
    generator = torch.Generator().manual_seed(0)
    counters = {key: torch.tensor(7) for key, shape in shapes.items() if shape == ()}
    return {key: torch.rand(shape, generator=generator) + 0.5 for key, shape in shapes.items() if shape} | counters


def test_bevformer_tiny_fits_entry_for_entry_at_its_published_size():
    sizes = (256, 8, 512, 50, 50, 3, RESNET50, (64, 128, 256, 512))
    wanted = bevformer_shapes(*sizes)
    theirs = {key: torch.empty(shape, device="meta") for key, shape in (wanted | decoder_shapes(256)).items()}
    mapped = map_public_state(theirs, bevformer_config(*sizes), "bevformer")
    assert (mapped.missing, mapped.unknown, mapped.misfits) == ([], [], [])
    assert set(mapped.unused) == decoder_shapes(256).keys() | {"pts_bbox_head.code_weights"}
    assert len(mapped.state) == len(wanted) - 1


def base_checkpoint():
    """All entries of BEVFormer-base, without memory."""
    sizes = (256, 8, 512, 200, 200, 6, RESNET101, (64, 128, 256, 512), True)
    shapes = bevformer_shapes(*sizes) | decoder_shapes(256)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_bevformer_base_fits_entry_for_entry_at_its_published_size():
    theirs = base_checkpoint()
    assert len(theirs) == 1089
    mapped = map_public_state(theirs, load_model_config("bevformer_base"), "bevformer")
    assert (mapped.missing, mapped.unknown, mapped.misfits) == ([], [], [])
    assert set(mapped.unused) == decoder_shapes(256).keys() | {"pts_bbox_head.code_weights"}


def test_bevformer_base_on_another_backbone_is_refused_with_its_leftovers_and_the_configuration(tmp_path):
    small = (32, 4, 48, 5, 4, 2, (1, 1, 1, 1), (4, 4, 4, 8))
    torch.save(random_state(bevformer_shapes(*small, base=True)), tmp_path / "base.pth")
    config = bevformer_config(*small, base=True)
    config = replace(config, backbone=replace(config.backbone, deformable_stages=()))
    with pytest.raises(WeightsError) as error:
        import_public(tmp_path / "base.pth", config, "bevformer")
    for part in ("img_backbone.layer3.0.conv2.conv_offset.weight", "backbone.deformable_stages", "bevformer_base"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    "sizes",
    [
        (32, 4, 48, 5, 4, 2, (1, 2, 1, 1), (8, 8, 8, 16)),
        (32, 4, 48, 5, 4, 6, RESNET101, (4, 4, 4, 8), True),  # every entry of base, narrow
    ],
    ids=["tiny", "base"],
)
def test_bevformer_goes_in_and_out_without_a_bit_changed(tmp_path, sizes):
    config = replace(
        bevformer_config(*sizes),
        objects=replace(NANO.objects, queries=8),
        map=replace(NANO.map, instances=4),
        ego=EgoConfig(),
    )
    theirs = random_state(bevformer_shapes(*sizes))
    torch.save({"state_dict": theirs | random_state(decoder_shapes(32, 4, 48))}, tmp_path / "bevformer.pth")
    model, _ = import_public(tmp_path / "bevformer.pth", config, "bevformer")
    encoder, last = "pts_bbox_head.transformer.encoder.layers.1", model.bev_encoder.layers[1]
    for ours, name in (
        (last.temporal.output_proj, "attentions.0.output_proj"),
        (last.spatial.output_proj, "attentions.1.output_proj"),
        (last.spatial.sampler.sampling_offsets, "attentions.1.deformable_attention.sampling_offsets"),
        (last.norm_temporal, "norms.0"),
        (last.norm_spatial, "norms.1"),
        (last.norm_feed_forward, "norms.2"),
        (last.feed_forward.contract, "ffns.0.layers.1"),
    ):
        assert torch.equal(ours.weight, theirs[f"{encoder}.{name}.weight"])
        assert torch.equal(ours.bias, theirs[f"{encoder}.{name}.bias"])
    export_public(model.state_dict(), config, tmp_path / "back.pth", "bevformer")
    back = read_public_checkpoint(tmp_path / "back.pth")
    assert back.keys() == theirs.keys() - {"pts_bbox_head.code_weights"}
    assert all(torch.equal(back[key], theirs[key]) and back[key].dtype == theirs[key].dtype for key in back)


@pytest.fixture(scope="module")
def resnet50():
    """A state dict as torchvision's ResNet-50 has it, with random values that keep the activations in range."""
    shapes = resnet_shapes(RESNET50, (64, 128, 256, 512)) | linear_shapes("fc", 2048, 1000)
    generator = torch.Generator().manual_seed(0)
    state = random_state(shapes)
    for key, shape in shapes.items():
        if len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            state[key] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
    return state


def resnet50_features(state, images):
    """ResNet-50 with the stride in the 3x3 convolutions, in plain functions: features of the last three stages."""

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.max_pool2d(F.relu(norm(conv(images, "conv1", 2), "bn1")), 3, 2, 1)
    features = []
    for stage, depth in enumerate(RESNET50):
        for block in range(depth):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            out = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            out = F.relu(norm(conv(out, f"{name}.conv2", stride), f"{name}.bn2"))
            out = norm(conv(out, f"{name}.conv3"), f"{name}.bn3")
            kept = x if block else norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(out + kept)
        features.append(x)
    return features[1:]


@pytest.mark.parametrize("counters", [True, False], ids=["with", "without"])
def test_imported_resnet50_computes_what_a_plain_resnet50_computes(resnet50, tmp_path, counters):
    config = replace(NANO, backbone=BackboneConfig(), bev=replace(NANO.bev, rows=4, columns=4, feature_levels=3))
    kept = {key: value for key, value in resnet50.items() if counters or "num_batches" not in key}
    torch.save(kept, tmp_path / "resnet50.pth")
    model, mapped = import_public(tmp_path / "resnet50.pth", config, "torchvision")
    assert (mapped.missing, mapped.unused) == ([], ["fc.bias", "fc.weight"])
    assert len(mapped.state) == (318 if counters else 265)
    images = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, expected = model.backbone(images), resnet50_features(resnet50, images)
    assert [feature.shape for feature in ours] == [(1, 512, 12, 8), (1, 1024, 6, 4), (1, 2048, 3, 2)]
    for feature, wanted in zip(ours, expected, strict=True):
        assert wanted.std() > 0.1
        torch.testing.assert_close(feature, wanted, atol=1e-4, rtol=1e-4)


def test_a_resnet50_that_lacks_a_weight_is_refused(resnet50, tmp_path):
    torch.save({k: v for k, v in resnet50.items() if k != "layer3.2.conv2.weight"}, tmp_path / "lacks.pth")
    with pytest.raises(WeightsError, match=r"backbone\.stages\.2\.2\.conv2\.weight"):
        import_public(tmp_path / "lacks.pth", replace(NANO, backbone=BackboneConfig()), "torchvision")
