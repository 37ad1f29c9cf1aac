import dataclasses

import pytest
import torch
import yaml
from synthetic_drives import write_drives, write_small_model

from rsd_model.checkpoints.weights import load_planner
from rsd_offline.training.batches import StepBatches
from rsd_offline.training.config import ConfigError, load_train_config
from rsd_offline.training.run import TrainingRun
from rsd_offline.training.trainer import TrainingError, learning_rate

STEPS = 6


@pytest.fixture
def config(tmp_path):
    model = write_small_model(tmp_path / "model.yaml")
    values = {
        "name": "test", "model": str(model), "batch_size": 2, "warmup": 2, "checkpoint_every": 2, "loader_workers": 0,
        "validate_every": STEPS, "validation_batches": 1, "rounds": [{"name": "first", "steps": STEPS}],
        "validation": {"episodes": 1},
    }  # fmt: skip
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run_in(out, config, monkeypatch, stop_after=None):
    """Train on synthetic drives in `out`; `stop_after` steps the process 'dies'."""
    torch.set_num_threads(1)
    for name in ("first", "validation"):
        if not (out / "data" / name).exists():
            write_drives(out / "data" / name, 2)
    settings = load_train_config(config)
    stage = dataclasses.replace(settings.rounds[0], collect=settings.validation)
    settings = dataclasses.replace(settings, rounds=(stage,))
    run = TrainingRun(settings, out, torch.device("cpu"))
    monkeypatch.setattr(run, "_collect", lambda *_: None)
    optimise = run.trainer._optimise

    def dying(batch):
        if run.trainer.step == stop_after:
            raise KeyboardInterrupt
        return optimise(batch)

    monkeypatch.setattr(run.trainer, "_optimise", dying)
    return run.run()


@pytest.mark.parametrize("perspective", [0.0, 0.5])
def test_a_run_that_was_killed_ends_with_the_very_weights_of_one_that_was_not(
    tmp_path, config, monkeypatch, perspective
):
    config.write_text(config.read_text() + f"perspective_weight: {perspective}\n")
    whole = load_planner(run_in(tmp_path / "whole", config, monkeypatch)).state_dict()
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path / "killed", config, monkeypatch, stop_after=5)
    resumed = load_planner(run_in(tmp_path / "killed", config, monkeypatch)).state_dict()
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, msg=key)


def test_a_round_made_longer_replaces_its_weights(tmp_path, config, monkeypatch):
    weights = run_in(tmp_path / "run", config, monkeypatch)
    before = weights.read_bytes()
    config.write_text(config.read_text().replace(f"steps: {STEPS}", f"steps: {STEPS + 2}"))
    assert run_in(tmp_path / "run", config, monkeypatch).read_bytes() != before


def test_a_round_may_draw_dangers_by_a_share_of_its_own(tmp_path, config, monkeypatch):
    text, drawn = config.read_text(), []
    monkeypatch.setattr(StepBatches, "__getitem__", lambda batches, step: drawn.append(batches._train.danger_share))
    config.write_text(text.replace(f"steps: {STEPS}", f"steps: {STEPS}\n  danger_share: 0.25"))
    with pytest.raises(AttributeError):  # None is no batch
        run_in(tmp_path / "run", config, monkeypatch)
    assert drawn == [0.25]
    config.write_text(text.replace(f"steps: {STEPS}", f"steps: {STEPS}\n  danger_share: 2.0"))
    with pytest.raises(ConfigError, match=r"rounds\[0\].danger_share: 2.0"):
        run_in(tmp_path / "run", config, monkeypatch)


def test_a_checkpoint_of_other_heads_is_refused(tmp_path, config, monkeypatch):
    run_in(tmp_path / "run", config, monkeypatch)
    config.write_text(config.read_text() + "perspective_weight: 0.5\n")
    with pytest.raises(TrainingError, match="other heads"):
        run_in(tmp_path / "run", config, monkeypatch)


def test_training_changes_the_weights_and_scores_the_plan(tmp_path, config, monkeypatch):
    weights = run_in(tmp_path / "run", config, monkeypatch)
    assert (tmp_path / "run" / "validation.jsonl").read_text().count("plan_l2_3s") == 1
    torch.manual_seed(0)
    fresh = type(load_planner(weights))(load_planner(weights).config)
    changed = [
        not torch.equal(a, b) for a, b in zip(fresh.parameters(), load_planner(weights).parameters(), strict=True)
    ]
    assert sum(changed) > len(changed) // 2


def test_the_learning_rate_warms_up_and_ends_near_its_final_share(config):
    settings = load_train_config(config)
    assert learning_rate(0, settings) == pytest.approx(settings.learning_rate / 2)
    assert learning_rate(STEPS, settings) == pytest.approx(settings.learning_rate * settings.final_rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchsize": 3}, "unknown key batchsize = 3: allowed are"),
        ({"batch_size": "many"}, "batch_size = 'many': allowed is int"),
        ({"rounds": [{"name": "a"}]}, r"rounds\[0\].steps is missing"),
        ({"ema": 2}, "ema: 2.0 is not in"),
        ({"precision": "fp8"}, "'fp8' is none of"),
    ],
)
def test_a_wrong_configuration_names_file_key_value_and_what_is_allowed(config, change, message):
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | change))
    with pytest.raises(ConfigError, match=message) as error:
        load_train_config(config)
    assert str(config) in str(error.value)


def test_a_round_can_end_with_the_mean_of_its_weights_and_an_earlier_rounds(config, tmp_path, monkeypatch):
    values = yaml.safe_load(config.read_text())
    values["rounds"].append({"name": "second", "steps": 2, "average_with": "first"})
    config.write_text(yaml.safe_dump(values))
    for name in ("first", "validation"):
        write_drives(tmp_path / "out" / "data" / name, 2)
    settings = load_train_config(config)
    stages = dataclasses.replace(settings.rounds[0], collect=settings.validation), settings.rounds[1]
    run = TrainingRun(dataclasses.replace(settings, rounds=stages), tmp_path / "out", torch.device("cpu"))
    monkeypatch.setattr(run, "_collect", lambda *_: None)
    mean = load_planner(run.run()).state_dict()
    first, alone = (
        load_planner(tmp_path / f"out/weights/{n}.safetensors").state_dict() for n in ("first", "second_alone")
    )
    changed = [key for key, value in mean.items() if value.is_floating_point() and not torch.equal(value, first[key])]
    assert changed
    for key in changed:
        torch.testing.assert_close(mean[key], 0.5 * (first[key] + alone[key]))


def test_a_round_is_averaged_with_an_earlier_one_only(config):
    values = yaml.safe_load(config.read_text())
    values["rounds"][0]["average_with"] = "first"
    config.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="no earlier round"):
        load_train_config(config)


def test_a_checkpoint_whose_heads_had_other_outputs_is_refused(tmp_path, config, monkeypatch):
    values = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**values, "perspective_weight": 0.5}))
    out = tmp_path / "out"
    run_in(out, config, monkeypatch)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    state["network"]["perspective.output.bias"] = state["network"]["perspective.output.bias"][:-1]
    torch.save(state, out / "checkpoint.pt")
    with pytest.raises(TrainingError, match="other heads"):
        run_in(out, config, monkeypatch)
