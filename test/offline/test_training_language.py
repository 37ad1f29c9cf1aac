"""The language heads learn from a label store beside the planner, and leave no trace in what is saved."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml
from synthetic_drives import write_drives, write_small_model

from rsd_model.checkpoints.weights import load_planner
from rsd_model.config import load_model_config
from rsd_model.heads.language import LanguageHeadConfig
from rsd_model.losses.language import UNKNOWN
from rsd_offline.labeling.store import FrameLabel, LabelStoreError, write_shard
from rsd_offline.labeling.text_embeddings import EMBEDDINGS_FILE, TextEmbeddings
from rsd_offline.training.config import load_train_config
from rsd_offline.training.language_answers import LanguageAnswers
from rsd_offline.training.run import TrainingRun
from rsd_offline.training.trainer import Trainer, TrainingError

HEADS = {"dims": 8, "layers": 1, "heads": 2, "text_dims": 4}
STEPS = 4


class LengthEncoder:
    """A unit vector for each length of text."""

    fingerprint = "length"

    def encode(self, texts):
        rows = np.stack([np.random.default_rng(len(text)).normal(size=4) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_answers(store, name="drive_00000", frames=10):
    """A store in which every second frame of a drive has answers."""
    told = {"current_action": "cruising", "reason": "free", "control": "go straight", "turn": "none", "lane": "none"}
    rows = [FrameLabel(f"{name}/{i:05d}", judged="all", **(told if i % 2 else {})) for i in range(frames)]
    write_shard(store, name, rows, [], {"model": "test"})
    TextEmbeddings(store / EMBEDDINGS_FILE, LengthEncoder()).add(["cruising", "free"])
    return store


@pytest.fixture
def settings(tmp_path):
    """A run of a few steps whose model has language heads and whose labels have answers."""
    path = write_small_model(tmp_path / "model.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"language_head": HEADS}))
    store = write_answers(write_answers(tmp_path / "answers"), "drive_00001")
    values = {
        "name": "test", "model": str(path), "labels": str(store), "batch_size": 4, "warmup": 1, "loader_workers": 0,
        "checkpoint_every": 2, "validate_every": STEPS, "validation_batches": 1, "validation": {"episodes": 1},
        "rounds": [{"name": "first", "steps": STEPS}],
    }  # fmt: skip
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(values))
    config = load_train_config(tmp_path / "train.yaml")
    return dataclasses.replace(config, rounds=(dataclasses.replace(config.rounds[0], collect=config.validation),))


def run_in(out, settings, monkeypatch):
    torch.set_num_threads(1)
    for name in ("first", "validation"):
        if not (out / "data" / name).exists():
            write_drives(out / "data" / name, 2)
    run = TrainingRun(settings, out, torch.device("cpu"))
    monkeypatch.setattr(run, "_collect", lambda *_: None)
    return run


def test_heads_train_beside_the_planner_and_are_absent_from_its_weights(tmp_path, settings, monkeypatch):
    run = run_in(tmp_path / "run", settings, monkeypatch)
    before = {key: value.clone() for key, value in run.trainer.network.language.state_dict().items()}
    weights = run.run()
    after = run.trainer.network.language.state_dict()
    assert sum(not torch.equal(after[key], before[key]) for key in before) > len(before) // 2
    scores = json.loads((tmp_path / "run" / "validation.jsonl").read_text().splitlines()[-1])
    assert scores["loss_text_alignment"] > 0.0
    assert scores["loss_action"] > 0.0
    assert not any("language" in key for key in load_planner(weights).state_dict())

    resumed = run_in(tmp_path / "run", settings, monkeypatch).trainer
    assert resumed.step == STEPS
    assert all(torch.equal(value, after[key]) for key, value in resumed.network.language.state_dict().items())


def test_the_planner_starts_from_the_same_weights_with_and_without_heads(tmp_path, settings):
    with_heads = load_model_config(settings.model)
    without = dataclasses.replace(with_heads, language_head=None)
    networks = [
        Trainer(m, settings, tmp_path, torch.device("cpu")).network.planner.state_dict() for m in (with_heads, without)
    ]
    assert all(torch.equal(value, networks[1][key]) for key, value in networks[0].items())


def test_what_the_store_lacks_is_unknown(tmp_path):
    answers = LanguageAnswers([write_answers(tmp_path)], LanguageHeadConfig(text_dims=4, dims=8))
    assert len(answers) == 5
    told, silent, foreign = (answers.of(f"drive_00000/{name}") for name in ("00001", "00002", "99999"))
    assert told["language_actions"].tolist() == [0, 3, 4]
    assert np.isfinite(told["language_text"]).all(axis=1).tolist() == [True, False, True]
    for nothing in (silent, foreign):
        assert (nothing["language_actions"] == UNKNOWN).all()
        assert np.isnan(nothing["language_text"]).all()


def test_embeddings_that_lack_or_do_not_fit_are_told_unless_only_actions_train(tmp_path):
    write_answers(tmp_path)
    with pytest.raises(LabelStoreError, match=r"holds 4 numbers a text, language_head.text_dims is 512"):
        LanguageAnswers([tmp_path], LanguageHeadConfig())
    (tmp_path / EMBEDDINGS_FILE).unlink()
    with pytest.raises(LabelStoreError, match="rsd labels embed"):
        LanguageAnswers([tmp_path], LanguageHeadConfig(text_dims=4))
    only_actions = LanguageAnswers([tmp_path], LanguageHeadConfig(text_dims=4, alignment_weight=0.0))
    assert only_actions.of("drive_00000/00001")["language_actions"].tolist() == [0, 3, 4]


def test_heads_without_any_answer_stop_the_run_with_the_remedy(tmp_path, settings, monkeypatch):
    silent = dataclasses.replace(settings, labels="")
    with pytest.raises(TrainingError, match=r"no actions or reasons are in .*: label with `rsd label --task action`"):
        run_in(tmp_path / "run", silent, monkeypatch).run()
