"""The base network computes what the public VAD computed: outputs, losses, and the command that proves it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rsd_model.checkpoints.golden import GoldenError, GoldenFile, rule_weight
from rsd_model.checkpoints.loss_parity import constraint_rows, find_frames, recorded_targets, term_rows
from rsd_model.checkpoints.parity import ParityRun
from rsd_model.checkpoints.public_tensors import layer_group
from rsd_model.checkpoints.recording_sizes import bev_candidates, image_size_candidates
from rsd_model.config import load_model_config
from rsd_model.losses.planner_loss import PlannerLoss
from rsd_offline.cli import app

FOLDER = Path(os.environ.get("RSD_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
FRAMES, LOSSES = FOLDER / "vad_b2d_bev20_96x160.npz", FOLDER / "vad_b2d_losses.npz"

pytestmark = pytest.mark.timeout(600)  # the base network is built and run once
needs_recording = pytest.mark.skipif(not FRAMES.is_file(), reason=f"no recorded outputs in {FOLDER} (set RSD_GOLDEN)")


@pytest.fixture(scope="module")
def recorded_run():
    """All rows of the recording and the raw outputs of its last frame, computed once."""
    run = ParityRun(GoldenFile(FRAMES))
    kept = {}
    run.model.register_forward_hook(lambda module, inputs, outputs: kept.update(outputs))
    return list(run.rows(strict=True)), kept, run.config


@needs_recording
def test_every_recorded_tensor_of_both_frames_agrees(recorded_run):
    rows, _, _ = recorded_run
    assert [row.name for row in rows if not row.passed] == []
    assert {layer_group(row.name) for row in rows} >= {
        "backbone",
        "fpn",
        "enc",
        "det_dec",
        "map_dec",
        "head",
        "decoded",
    }
    assert len(rows) == 76


@needs_recording
def test_all_48_loss_terms_agree(recorded_run):
    _, outputs, config = recorded_run
    outputs, losses = {key: value.clone() for key, value in outputs.items()}, GoldenFile(LOSSES)
    terms = PlannerLoss(config)(outputs, recorded_targets(losses.values, config.motion.steps))
    rows = list(term_rows(losses, terms, 1e-4))
    assert len(rows) == 48
    assert [row for row in rows if not row.passed] == []


@needs_recording
def test_planning_constraints_agree_where_each_is_not_zero():
    rows = list(constraint_rows(GoldenFile(LOSSES), load_model_config("base"), 1e-4))
    assert len(rows) == 3
    assert [row for row in rows if not row.passed] == []


@needs_recording
def test_point_orders_made_from_the_lines_are_the_recorded_ones():
    from rsd_model.losses.map_lines import equivalent_orders, resample_polyline

    values = GoldenFile(LOSSES).values
    lines = np.stack([resample_polyline(line, 20) for line in values["map_lines"]])
    ours = equivalent_orders(torch.from_numpy(lines).float()).numpy()
    assert np.abs(ours - values["map_pts_v2"][:, :2]).max() < 1e-4
    assert (values["map_pts_v2"][:, 2:] == -10000.0).all()


@needs_recording
def test_sizes_are_read_from_the_file():
    golden = GoldenFile(FRAMES)
    assert image_size_candidates(golden) == [(96, 160)]
    assert bev_candidates(golden)[0] == (20, 20)
    assert find_frames(GoldenFile(LOSSES)).path == FRAMES
    assert recorded_targets(GoldenFile(LOSSES).values, 6).batch_size == 1


def test_rule_gives_the_same_weight_for_the_same_name_and_seed():
    a = rule_weight("img_backbone.bn1.running_var", (4,), 0)
    assert (a >= 1.0).all()
    assert (a == rule_weight("img_backbone.bn1.running_var", (4,), 0)).all()
    assert (a != rule_weight("img_backbone.bn1.running_var", (4,), 1)).any()
    assert rule_weight("pts_bbox_head.code_weights", (10,), 0) is None


def test_comparison_fails_on_another_shape_and_on_another_value(tmp_path):
    values = np.linspace(-1.0, 1.0, 12, dtype=np.float32)
    recorded = {"shape": (3, 4), "step": 5, "stats": (values.mean(), values.std(), 1.0)}
    np.savez(tmp_path / "g.npz", **{"f0/head/x": values[::5]}, **{f"f0/head/x/{k}": v for k, v in recorded.items()})
    golden = GoldenFile(tmp_path / "g.npz")
    actual = values.reshape(3, 4)
    assert golden.compare(0, "head/x", actual).passed
    assert not golden.compare(0, "head/x", actual.T).passed
    changed = actual.copy()
    changed[0, 1] += 0.1  # between the sampled elements: only the spread tells
    assert not golden.compare(0, "head/x", changed).passed


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(GoldenError, match=r"broken\.npz"):
        GoldenFile(path)


def test_command_exits_with_an_error_on_a_file_without_recordings(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    result = CliRunner().invoke(app, ["parity", str(tmp_path / "other.npz")])
    assert result.exit_code == 2
    assert "neither frames" in result.output


@needs_recording
def test_command_exits_non_zero_on_a_miss(tmp_path):
    with np.load(LOSSES) as data:
        values = {key: data[key] for key in data.files if key.startswith("plan/")}
    path = tmp_path / "plan.npz"
    np.savez(path, **values)
    assert CliRunner().invoke(app, ["parity", str(path)]).exit_code == 0
    values["plan/loss/col"] = values["plan/loss/col"] * 1.001
    np.savez(path, **values)
    result = CliRunner().invoke(app, ["parity", str(path)])
    assert result.exit_code == 1
    assert "MISS" in result.output
