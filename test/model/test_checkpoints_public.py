"""Public checkpoints come in key by key and go out again without a bit changed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from rsd_model.checkpoints.public import (
    export_public,
    import_public,
    map_public_state,
    read_public_checkpoint,
    to_public_state,
)
from rsd_model.checkpoints.vad import rename, reverse, vad_table
from rsd_model.checkpoints.weights import WeightsError, load_weights
from rsd_model.config import BackboneConfig, EgoConfig, QuirkConfig, load_model_config
from rsd_model.network import Planner
from rsd_offline.cli import app

NANO = load_model_config("nano")
# VAD's structure at a size for tests: bottleneck blocks, an extra pyramid level, nothing that VAD lacks.
SMALL = replace(
    NANO,
    dims=32,
    heads=4,
    ffn_dims=48,
    backbone=BackboneConfig("bottleneck", (1, 1, 1, 1), (8, 8, 16, 16), 8),
    bev=replace(NANO.bev, rows=6, columns=4, feature_levels=4, temporal_fusion=False),
    ego=EgoConfig(),
    quirks=QuirkConfig(),
    risk_head=None,
)
KEYS = (
    Path(os.environ.get("RSD_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
    / "vad_b2d_base_keys.tsv"
)


def random_state(config, seed=0):
    torch.manual_seed(seed)
    return {
        key: value.normal_() if value.is_floating_point() else value
        for key, value in Planner(config).state_dict().items()
    }


@pytest.fixture
def checkpoint(tmp_path):
    """An mmcv-style checkpoint with VAD's names, and its tensors."""
    public, dropped = to_public_state(random_state(SMALL), SMALL)
    assert dropped == []
    path = tmp_path / "vad.pth"
    torch.save({"meta": {"epoch": 6, "time": "today"}, "state_dict": public}, path)
    return path, public


@pytest.mark.skipif(not KEYS.is_file(), reason=f"no key list in {KEYS.parent} (set RSD_GOLDEN)")
def test_every_key_and_shape_of_public_vad_is_covered():
    recorded = dict(line.split("\t") for line in KEYS.read_text().splitlines() if line.strip())
    config = load_model_config("base")
    with torch.device("meta"):
        state = Planner(config).state_dict()
    table = vad_table(config)
    ours = {rename(key, table): str(tuple(value.shape)) for key, value in state.items()}
    assert ours == recorded


def test_names_translate_both_ways():
    table = vad_table(SMALL)
    for key in Planner(SMALL).state_dict():
        assert rename(rename(key, table), reverse(table)) == key


def test_import_and_export_give_back_the_same_bits(checkpoint, tmp_path):
    path, public = checkpoint
    model, mapped = import_public(path, SMALL, "vad")
    assert (mapped.unknown, mapped.unused, mapped.missing, mapped.misfits) == ([], [], [], [])
    assert export_public(model.state_dict(), SMALL, tmp_path / "back.pth") == []
    back = read_public_checkpoint(tmp_path / "back.pth")
    assert back.keys() == public.keys()
    assert all(torch.equal(back[key], value) for key, value in public.items())
    assert all(back[key].dtype == value.dtype for key, value in public.items())


def test_module_prefix_and_bare_state_dict_are_taken(checkpoint, tmp_path):
    _, public = checkpoint
    torch.save({f"module.{key}": value for key, value in public.items()}, tmp_path / "bare.pth")
    assert import_public(tmp_path / "bare.pth", SMALL, "vad")[1].missing == []


def test_partial_checkpoint_is_refused_with_every_leftover_and_taken_when_told(checkpoint, tmp_path):
    _, public = checkpoint
    lost = "pts_bbox_head.ego_fut_decoder.4.bias"
    misfit = "pts_bbox_head.ego_query.weight"
    changed = {key: value for key, value in public.items() if key != lost}
    changed |= {misfit: torch.zeros(2, 32), "pts_bbox_head.unheard_of": torch.zeros(1)}
    torch.save({"state_dict": changed}, tmp_path / "partial.pth")
    with pytest.raises(WeightsError) as error:
        import_public(tmp_path / "partial.pth", SMALL, "vad")
    for part in ("ego_head.plan_branch.4.bias", misfit, "pts_bbox_head.unheard_of", "--allow-partial"):
        assert part in str(error.value)
    model, mapped = import_public(tmp_path / "partial.pth", SMALL, "vad", allow_partial=True)
    assert mapped.missing == ["ego_head.plan_branch.4.bias"]
    torch.testing.assert_close(model.ego_head.plan_branch[0].weight, public["pts_bbox_head.ego_fut_decoder.0.weight"])


def test_bevformer_gives_backbone_pyramid_and_encoder(checkpoint, tmp_path):
    _, public = checkpoint
    theirs = {
        k: v for k, v in public.items() if not any(part in k for part in ("map_", "motion", "ego_", "lane_", "traj"))
    }
    torch.save({"state_dict": theirs}, tmp_path / "bevformer.pth")
    model, mapped = import_public(tmp_path / "bevformer.pth", SMALL, "bevformer")
    assert mapped.missing == []
    assert all(key.startswith(("backbone.", "neck.", "bev_encoder.")) for key in mapped.state)
    assert any("cls_branches" in key for key in mapped.unused)
    key = "pts_bbox_head.transformer.encoder.layers.1.attentions.1.deformable_attention.value_proj.weight"
    assert torch.equal(model.bev_encoder.layers[1].spatial.sampler.value_proj.weight, public[key])


def test_torchvision_names_fill_the_backbone():
    config = load_model_config("base")
    with torch.device("meta"):
        shapes = {k.removeprefix("backbone."): v for k, v in Planner(config).state_dict().items() if "backbone." in k}
    theirs = {
        key.replace("stages.0", "layer1")
        .replace("stages.1", "layer2")
        .replace("stages.2", "layer3")
        .replace("stages.3", "layer4"): value
        for key, value in shapes.items()
    }
    theirs["fc.weight"] = torch.zeros(1000, 2048)
    mapped = map_public_state(theirs, config, "torchvision")
    assert (mapped.unused, mapped.unknown, mapped.missing) == (["fc.weight"], [], [])
    assert len(mapped.state) == 318


def test_backbone_with_more_than_ours_is_refused(checkpoint, tmp_path):
    deformable = "img_backbone.layer3.0.conv2.conv_offset.weight"
    torch.save({"state_dict": checkpoint[1] | {deformable: torch.zeros(1)}}, tmp_path / "dcn.pth")
    with pytest.raises(WeightsError, match="conv_offset"):
        import_public(tmp_path / "dcn.pth", SMALL, "bevformer")


def test_numbers_of_numpy_in_the_meta_data_are_taken(checkpoint, tmp_path):
    meta = {"lr": np.float64(2e-4), "mean": np.zeros(3), "epoch": np.int64(6)}
    torch.save({"state_dict": checkpoint[1], "meta": meta}, tmp_path / "numbers.pth")
    assert read_public_checkpoint(tmp_path / "numbers.pth").keys() == checkpoint[1].keys()


class Payload:
    """Pickles to a call: loading it must not run it."""

    def __reduce__(self):
        return (os.makedirs, ("should_not_exist",))


def test_pickled_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"x": torch.zeros(1)}, "meta": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="objects besides tensors"):
        read_public_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "should_not_exist").exists()


def test_truncated_and_missing_checkpoints_are_told(checkpoint, tmp_path):
    (tmp_path / "half.pth").write_bytes(checkpoint[0].read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"half\.pth"):
        read_public_checkpoint(tmp_path / "half.pth")
    with pytest.raises(WeightsError, match="no such checkpoint"):
        read_public_checkpoint(tmp_path / "gone.pth")


def test_commands_convert_in_and_out(checkpoint, tmp_path):
    path, public = checkpoint
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(_plain(SMALL.to_dict())))
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    run = CliRunner().invoke(app, ["import-weights", str(path), str(ours), "--model", str(tmp_path / "small.yaml")])
    assert run.exit_code == 0, run.output
    assert load_weights(ours)[0] == SMALL
    run = CliRunner().invoke(app, ["export-weights", str(ours), str(back), "--to", "vad"])
    assert run.exit_code == 0, run.output
    again = read_public_checkpoint(back)
    assert all(torch.equal(again[key], value) for key, value in public.items())
    run = CliRunner().invoke(app, ["import-weights", str(path), str(ours), "--model", "nano"])
    assert run.exit_code == 1
    assert "does not fit" in run.output


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
