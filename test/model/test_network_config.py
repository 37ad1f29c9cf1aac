"""Sizes come from configuration, and a wrong one is told at start."""

import json
from dataclasses import replace

import pytest
import torch

from rsd_model.config import NAMED_CONFIGS, ConfigError, ModelConfig, load_model_config
from rsd_model.network import Planner, parameter_count, risk_head_config


def test_base_has_the_published_size():
    with torch.device("meta"):
        model = Planner(load_model_config("base"))
    assert parameter_count(model) == 58_379_324
    assert len(model.state_dict()) == 1062


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_configuration_survives_json(name):
    config = load_model_config(name)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_every_size_takes_a_risk_head_of_default_settings(name):
    config = replace(load_model_config(name), risk_head={})
    with torch.device("meta"):
        assert Planner(config).risk_head is not None
    cells = risk_head_config(config)
    assert cells.map_resolution == pytest.approx(0.512 if name == "bevformer_base" else 0.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bev: {row: 3}", ["unknown key bev.row = 3", "rows"]),
        ("dims: wide", ["dims = 'wide'", "int"]),
        ("dims: 90", ["dims = 90", "multiple"]),
        ("backbone: {block: dense}", ["backbone.block = 'dense'", "basic, bottleneck"]),
        ("backbone: {style: tensorflow}", ["backbone.style = 'tensorflow'", "pytorch, caffe"]),
        ("backbone: {block: basic, style: caffe}", ["backbone.style = 'caffe'", "pytorch with basic"]),
        ("backbone: {deformable_stages: [4]}", ["backbone.deformable_stages = (4,)", "4 stages"]),
        ("backbone: {block: basic, deformable_stages: [1]}", ["backbone.deformable_stages", "none with basic"]),
        ("image: {channels: grb}", ["image.channels = 'grb'", "rgb, bgr"]),
        ("bev: {range: [1, 2]}", ["bev.range", "six numbers"]),
        ("bev: {spatial_points: 6}", ["bev.spatial_points = 6", "bev.heights"]),
        ("ego: {bev_points: 4}", ["ego.bev_points = 4", "route"]),
        ("heads: true", ["heads = True", "int"]),
        ("quirks: 3", ["quirks", "mapping"]),
        ("bev: [", ["not valid YAML"]),
    ],
)
def test_wrong_configuration_names_file_key_value_and_what_is_allowed(tmp_path, text, told):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_model_config(path)
    assert all(part in str(error.value) for part in ["own.yaml", *told])


def test_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="base, tiny, nano"):
        load_model_config("huge")


def test_padded_size_is_the_next_multiple():
    assert load_model_config("nano").image.padded_size == (160, 256)
    assert load_model_config("base").image.padded_size == (736, 1280)
