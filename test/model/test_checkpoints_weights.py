"""Our weight files say what they are for, and a wrong one is told."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from rsd_model.checkpoints.weights import (
    WeightsError,
    average_weights,
    config_differences,
    load_into,
    load_planner,
    load_weights,
    read_metadata,
    save_weights,
)
from rsd_model.config import load_model_config
from rsd_model.network import Planner

NANO = load_model_config("nano")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model, path = Planner(NANO), tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_weights(model, path, {"steps": "7"})
    return model, path


def test_round_trip_is_bit_exact_and_brings_the_configuration(saved):
    model, path = saved
    config, state = load_weights(path)
    assert config == NANO
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert read_metadata(path)["steps"] == "7"
    loaded = load_planner(path, expected=NANO)
    assert not loaded.training


@pytest.mark.parametrize("kept", [0, 5, 5000, 200_000])
def test_truncated_file_is_told(saved, tmp_path, kept):
    path = tmp_path / "half.safetensors"
    path.write_bytes(saved[1].read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"half\.safetensors: not a whole safetensors file"):
        load_weights(path)


def test_whoever_may_read_other_new_files_may_read_weights(saved, tmp_path):
    (tmp_path / "other").touch()
    assert saved[1].stat().st_mode == (tmp_path / "other").stat().st_mode


def test_missing_file_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors: no such weight file"):
        load_weights(tmp_path / "gone.safetensors")


def test_file_of_another_kind_is_told(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="no model configuration"):
        load_weights(tmp_path / "foreign.safetensors")


def test_weights_of_another_configuration_are_refused_with_the_difference(saved):
    wider = replace(NANO, objects=replace(NANO.objects, queries=50))
    with pytest.raises(WeightsError, match=r"objects\.queries is 40, expected 50"):
        load_planner(saved[1], expected=wider)


def test_loss_weights_and_name_do_not_make_another_network():
    renamed = replace(NANO, name="own", loss=replace(NANO.loss, plan=3.0))
    assert config_differences(NANO, renamed) == []


def test_state_that_does_not_fit_lists_its_entries(saved):
    state = dict(saved[0].state_dict())
    before, state["ego_head.plan_branch.4.bias"] = state["ego_head.plan_branch.4.bias"], torch.zeros(3)
    state["extra"] = state.pop("bev_encoder.level_embedding")
    with pytest.raises(WeightsError) as error:
        load_into(Planner(NANO), state, "own file")
    told = (
        "own file",
        "missing bev_encoder.level_embedding",
        "unknown extra",
        f"plan_branch.4.bias is (3,), expected {tuple(before.shape)}",
    )
    assert all(part in str(error.value) for part in told)


def test_the_average_of_two_weight_files_is_their_mean_and_drives_as_one(tmp_path):
    torch.manual_seed(0)
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    models = [Planner(NANO) for _ in paths]
    for model, path in zip(models, paths, strict=True):
        save_weights(model, path)
    average_weights(paths, tmp_path / "mean.safetensors", {"note": "mean"})
    mean = load_planner(tmp_path / "mean.safetensors", NANO).state_dict()
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.5 * (models[0].state_dict()[key] + models[1].state_dict()[key]))
    assert read_metadata(tmp_path / "mean.safetensors")["note"] == "mean"


def test_weights_of_two_networks_are_not_averaged(tmp_path):
    other = replace(NANO, objects=replace(NANO.objects, queries=NANO.objects.queries + 1))
    for name, config in (("a", NANO), ("b", other)):
        save_weights(Planner(config), tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="cannot be averaged"):
        average_weights([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "c.safetensors")
