"""Each peculiarity of the public code is one switch that changes what it says and nothing else."""

from dataclasses import replace

import pytest
import torch

from rsd_model.bev.spatial_attention import project_pillars
from rsd_model.bev.temporal_attention import TemporalSelfAttention
from rsd_model.config import QuirkConfig, load_model_config
from rsd_model.heads.map import bounding_boxes
from rsd_model.layers import MultiHeadAttention
from rsd_model.network import Planner, example_inputs

NANO = load_model_config("nano")
NANO = replace(
    NANO,
    image=replace(NANO.image, width=96, height=64),
    motion=replace(NANO.motion, map_threshold=0.0),
    quirks=QuirkConfig(),
)
OFF = {
    "rotate_about": None,
    "shift_current_frame": False,
    "keep_initial_query": False,
    "map_anchor_at_corner": False,
    "ego_at_corner": False,
    "always_pad_map": False,
}


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    model = Planner(NANO).eval()
    return model.state_dict(), outputs_of(model)


def outputs_of(model, batch=1):
    inputs = example_inputs(model.config, batch)
    inputs.can_bus[:, [0, 1, 16, 17]] = torch.tensor([1.0, 2.0, 1.0, 8.0])
    generator = torch.Generator().manual_seed(1)
    cells = model.config.bev.rows * model.config.bev.columns
    history = torch.randn(batch, cells, model.config.dims, generator=generator)
    with torch.inference_mode():
        return model(replace(inputs, prev_bev=history))


@pytest.mark.parametrize("name", list(OFF))
def test_every_switch_changes_the_outcome(reference, name):
    state, with_quirks = reference
    config = replace(NANO, quirks=replace(NANO.quirks, **{name: OFF[name]}))
    model = Planner(config).eval()
    model.load_state_dict(state)
    without = outputs_of(model)
    bev_changes = name in ("rotate_about", "shift_current_frame", "keep_initial_query")
    assert torch.equal(without["bev_embed"], with_quirks["bev_embed"]) != bev_changes
    assert not torch.equal(without["ego_fut_preds"], with_quirks["ego_fut_preds"])


def test_quirks_are_on_in_base_and_off_in_what_is_trained_here():
    assert load_model_config("base").quirks == QuirkConfig()
    for name in ("tiny", "nano"):
        assert load_model_config(name).quirks == QuirkConfig(**OFF)


def test_mixing_a_batch_changes_nothing_for_one_sample_and_spares_the_first_of_more(reference):
    state, alone = reference
    config = replace(NANO, quirks=replace(NANO.quirks, mix_batch=True))
    models = [Planner(c).eval() for c in (NANO, config)]
    for model in models:
        model.load_state_dict(state)
    mixed = outputs_of(models[1])
    assert all(torch.equal(mixed[key], alone[key]) for key in alone)
    for model in models:
        model.bev_encoder.layers[0].temporal.sampling_offsets.weight.data.fill_(0.1)  # zero when built
    apart, mixed = (outputs_of(model, batch=2)["bev_embed"] for model in models)
    assert torch.equal(apart[:, 0], mixed[:, 0])
    assert not torch.allclose(apart[:, 1], mixed[:, 1])


@pytest.mark.parametrize(("mix", "second"), [(False, [3.0, 4.0]), (True, [4.0, 0.0])])
def test_mixed_temporal_attention_reads_its_offsets_from_another_sample(mix, second):
    """Two samples of two cells in a row; the offset to the right, in cells, is what the previous frame says."""
    layer = TemporalSelfAttention(1, 1, 1, mix_batch=mix)
    for linear in (layer.sampling_offsets, layer.attention_weights, layer.value_proj, layer.output_proj):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    layer.sampling_offsets.weight.data[[0, 2], 0] = 1.0  # x of both frames
    layer.value_proj.weight.data.fill_(1.0)
    layer.output_proj.weight.data.fill_(1.0)
    previous, current = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [6.0, 8.0]])
    frames = torch.stack([previous, current], 1)[..., None]
    reference = torch.tensor([[0.25, 0.5], [0.75, 0.5]]).expand(2, 2, -1, -1)
    query, position = torch.zeros(2, 2, 1), torch.zeros(2, 1)
    out = layer(query, position, layer.previous(frames), layer.values(frames), (1, 2), reference)[..., 0]
    # Mixed, the second sample takes the first one's current frame, 1 everywhere: one cell to the right of each cell.
    torch.testing.assert_close(out.detach(), torch.tensor([[0.5, 0.5], second]))


@pytest.mark.parametrize(("mix", "cells", "places"), [(False, [0, 3], [0.5, 0.5]), (True, [0, 2], [0.5, -9.5])])
def test_mixed_cameras_attend_what_the_first_sample_sees(mix, cells, places):
    points = torch.tensor([[[0.0, 0.0, 1.0]], [[10.0, 0.0, 1.0]]])
    lidar2img = torch.eye(4).repeat(2, 1, 1, 1)  # image of 1 x 1 px, u = x + shift, v = 0.5
    lidar2img[:, 0, 0, 2] = torch.tensor([0.5, -9.5])
    lidar2img[:, 0, 1] = torch.tensor([0.0, 0.0, 0.5, 0.0])
    views = project_pillars(points, lidar2img, (1, 1), mix_batch=mix)
    assert views.cells.tolist() == cells
    assert views.reference[:, 0, 0].tolist() == places
    assert views.share.flatten().tolist() == [1.0] * 4


@pytest.mark.parametrize(("at_corner", "expected"), [(True, [0.1, 0.1]), (False, [0.5, 0.4])])
def test_anchor_of_a_map_line_is_nearest_to_corner_or_ego(at_corner, expected):
    config = replace(NANO, quirks=replace(NANO.quirks, map_anchor_at_corner=at_corner))
    head = Planner(config).map_head
    points = torch.tensor([[0.1, 0.1], [0.5, 0.4], [0.9, 0.9]])[None, None]
    assert torch.allclose(head._anchors(points)[0, 0], torch.tensor(expected))


@pytest.mark.parametrize("pad", [True, False])
def test_motion_map_layer_equals_plain_attention_over_its_own_keys(pad):
    """The shared-key form must equal keys built for each query, as the published text describes them."""
    torch.manual_seed(0)
    config = replace(NANO, quirks=replace(NANO.quirks, always_pad_map=pad))
    head = Planner(config).motion_head
    layer, encode = head.map_layers[0], head.map_position
    torch.nn.init.normal_(layer.attention.in_proj_bias)
    queries, lanes, dims = 5, 4, config.dims
    query, features = torch.randn(1, queries, dims), torch.randn(1, lanes, dims)
    place, anchors = torch.rand(1, queries, 2), torch.rand(1, lanes, 2)
    near = torch.rand(1, queries, lanes) > 0.4
    near[0, 0] = False
    ours = layer(query, place, features, anchors, near, encode, pad)

    attention: MultiHeadAttention = layer.attention
    expected = []
    for i in range(queries):
        kept = near[0, i]
        keys = features[0, kept] + encode(anchors[0, kept] - place[0, i])
        values = features[0, kept]
        if pad or not kept.any():
            keys = torch.cat([keys, encode(torch.ones(1, 2))])
            values = torch.cat([values, torch.zeros(1, dims)])
        asked = query[:, i : i + 1] + encode(torch.zeros(1, 1, 2))
        expected.append(attention(asked, keys[None], values[None]))
    torch.testing.assert_close(ours, layer.finish(query, torch.cat(expected, 1)), atol=1e-5, rtol=1e-5)


def test_bounding_box_is_centre_and_size():
    box = bounding_boxes(torch.tensor([[0.1, 0.2], [0.5, 0.8], [0.3, 0.4]]))
    torch.testing.assert_close(box, torch.tensor([0.3, 0.5, 0.4, 0.6]))
