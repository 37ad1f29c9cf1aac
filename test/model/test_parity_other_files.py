"""Recordings of any size are read as they are, and what is wrong with a file is told."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rsd_model.bev.ego_motion import relative_can_bus
from rsd_model.checkpoints import loss_parity, recording_sizes
from rsd_model.checkpoints.golden import GoldenError, GoldenFile, set_rule_weights
from rsd_model.checkpoints.parity import ParityRun, frame_images
from rsd_model.checkpoints.public_tensors import Recorder, decoded_tensors, in_recorded_order
from rsd_model.checkpoints.recording_sizes import image_size_candidates
from rsd_model.config import BackboneConfig, EgoConfig, QuirkConfig, load_model_config
from rsd_model.geometry import bench2drive_rig, lidar_to_image
from rsd_model.network import Planner, PlannerInputs
from rsd_offline.cli import app

NANO = load_model_config("nano")
# VAD's structure at a size for tests; stands in for base.
SMALL = replace(
    NANO,
    dims=16,
    heads=2,
    ffn_dims=16,
    backbone=BackboneConfig("bottleneck", (1, 1, 1, 1), (8, 8, 8, 8), 8),
    bev=replace(
        NANO.bev, rows=6, columns=4, feature_levels=4, can_bus_query=True, pyramid_kernel=3, temporal_fusion=False
    ),
    objects=replace(NANO.objects, queries=20, max_decoded=30),
    map=replace(NANO.map, instances=10),
    ego=EgoConfig(),
    quirks=QuirkConfig(),
    risk_head=None,
)
MIDDLE = (
    "backbone/0",
    "backbone/2",
    "fpn/3",
    "enc0/0",
    "enc1/0",
    "det_dec/0",
    "map_dec/1",
    "motion_dec/0",
    "ego_map/0",
)


@dataclass(frozen=True)
class Recording:
    """What a file is made with."""

    image: tuple[int, int] = (48, 80)  # height, width
    bev: tuple[int, int] = (6, 6)
    frames: int = 2
    cameras: int = 6
    batch: int = 1
    seed: int = 0
    image_seed: int = 0
    crop: float = 0.0  # px the images were cut at the top: the principal point is not in their middle
    padding: int = 0  # px at the bottom that the rig knows nothing of
    map_distance: float = SMALL.motion.map_distance


def raw_can_bus(frame, batch=1):
    """(B, 18) with headings that turn the BEV, whose cells take the nearest place, by cells."""
    values = np.random.default_rng(frame).standard_normal((batch, 18))
    values[:, -1] *= 30.0  # degrees
    return values


def record(path, what, change=lambda values: None):
    """Write a recording of our own network; `change` may spoil its values."""
    bev = replace(SMALL.bev, rows=what.bev[0], columns=what.bev[1])
    image = replace(SMALL.image, height=what.image[0], width=what.image[1])
    quirks = replace(SMALL.quirks, mix_batch=True)
    motion = replace(SMALL.motion, map_distance=what.map_distance)
    config = replace(SMALL, cameras=what.cameras, image=image, bev=bev, motion=motion, quirks=quirks)
    model = Planner(config).eval()
    set_rule_weights(model, config, what.seed)
    rig = lidar_to_image(bench2drive_rig(image.width, image.height - what.padding))[: what.cameras]
    rig[:, 1] -= what.crop * rig[:, 2]
    recorder, values, prev, raw = Recorder(model), {}, None, None
    for frame in range(what.frames):
        raw, before = raw_can_bus(frame, what.batch), raw
        used = np.stack([relative_can_bus(raw[b], None if before is None else before[b]) for b in range(what.batch)])
        single = what.batch == 1
        values |= {f"f{frame}/lidar2img": rig, f"f{frame}/can_bus": raw[0] if single else raw}
        images = frame_images(config, what.image_seed, frame, what.batch)
        projection = torch.tensor(rig).float().expand(what.batch, -1, -1, -1)
        with torch.inference_mode():
            outputs = model(PlannerInputs(images, projection, torch.tensor(used), prev_bev=prev))
        prev = outputs["bev_embed"].transpose(0, 1)
        tensors = {f"mid/{name}": recorder.tensor(name) for name in MIDDLE}
        tensors |= {f"head/{name}": value for name, value in outputs.items() if name != "ego_features"}
        tensors |= {f"decoded/{name}": value for name, value in decoded_tensors(outputs, config).items()}
        for name, tensor in tensors.items():
            values |= stored(f"f{frame}/{name}", tensor.float().numpy())
    change(values)
    np.savez(path, **values)
    return path


def stored(title, tensor):
    step = max(1, tensor.size // 3000)
    stats = np.array([tensor.mean(), tensor.std(), np.abs(tensor).max()])
    about = {"shape": np.array(tensor.shape), "step": np.array(step), "stats": stats}
    return {title: tensor.ravel()[::step], **{f"{title}/{key}": value for key, value in about.items()}}


@pytest.fixture(autouse=True)
def small_base(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(recording_sizes, "load_model_config", lambda name: SMALL)


@pytest.mark.parametrize(
    "what",
    [
        Recording(),
        Recording(image=(50, 70), bev=(9, 4), frames=1, cameras=4),
        Recording(image=(33, 47), bev=(4, 9), frames=3, cameras=1, seed=7, image_seed=7),
        Recording(seed=5, image_seed=0, batch=3),
        Recording(image=(40, 64), crop=11.0, seed=2),
        Recording(image=(48, 80), padding=5, frames=1),
    ],
    ids=[
        "as shared",
        "odd sizes, one frame",
        "three frames, one camera",
        "batch of three",
        "cropped images",
        "padded images",
    ],
)
def test_every_tensor_of_a_recording_of_other_sizes_agrees(tmp_path, what):
    run = ParityRun(GoldenFile(record(tmp_path / "other.npz", what)), what.seed)
    assert (run.config.image.height, run.config.image.width) == what.image
    assert (run.config.bev.rows, run.config.bev.columns) == what.bev
    assert run.image_seed == what.image_seed
    rows = list(run.rows())
    assert [row for row in rows if not row.passed] == []
    assert len(rows) == what.frames * (len(MIDDLE) + 9 + 9)


def without(*endings):
    def change(values):
        for key in [k for k in values if any(f"/{ending}" in k for ending in endings)]:
            del values[key]

    return change


@pytest.mark.parametrize("missing", [("mid/",), ("mid/backbone", "mid/enc", "decoded"), ("head/", "mid/enc0")])
def test_tensors_that_a_file_leaves_out_are_not_needed(tmp_path, missing):
    what = Recording(bev=(9, 4), seed=3)
    golden = GoldenFile(record(tmp_path / "few.npz", what, without(*missing)))
    run = ParityRun(golden, seed=3)
    assert (run.config.bev.rows, run.config.bev.columns) == what.bev
    rows = list(run.rows())
    assert rows
    assert all(row.passed for row in rows)


def test_other_types_and_layouts_of_the_inputs_are_taken(tmp_path):
    def change(values):
        for frame in range(2):
            values[f"f{frame}/lidar2img"] = values[f"f{frame}/lidar2img"][None, :, :3].astype(np.float32)
            bus, before = raw_can_bus(frame), raw_can_bus(frame - 1)[0] if frame else None
            del values[f"f{frame}/can_bus"]
            values[f"f{frame}/can_bus_used"] = relative_can_bus(bus[0], before)[None]
            whole = f"f{frame}/decoded/scores_3d"
            del values[f"{whole}/shape"], values[f"{whole}/step"], values[f"{whole}/stats"]

    golden = GoldenFile(record(tmp_path / "types.npz", Recording(), change))
    assert [row for row in ParityRun(golden).rows() if not row.passed] == []


def test_a_line_that_only_rounding_makes_near_agrees_and_one_that_is_not_near_misses(tmp_path, monkeypatch):
    run = ParityRun(GoldenFile(record(tmp_path / "plain.npz", Recording(frames=1))))
    ((_, _, recorder),) = run.frames()
    objects, lanes = recorder.seen["objects"], recorder.seen["map"]
    distances = torch.cdist(objects.centres.double(), lanes.anchors.double())
    pair = distances.ravel()[(distances - SMALL.motion.map_distance).abs().argmin()].item()
    golden = GoldenFile(record(tmp_path / "near.npz", Recording(frames=1, map_distance=pair + 4e-7)))
    for ours, agrees in ((pair - 4e-7, True), (pair - 0.01, False)):
        config = replace(SMALL, motion=replace(SMALL.motion, map_distance=ours))
        monkeypatch.setattr(recording_sizes, "load_model_config", lambda name, config=config: config)
        futures = {row.name: row for row in ParityRun(golden).rows(tolerance=1e-6)}["f0/head/all_traj_preds"]
        assert futures.error > 1e-6  # beyond the tolerance either way
        assert futures.by_rounding == futures.passed == agrees
        strict = {row.name: row for row in ParityRun(golden).rows(tolerance=1e-6, strict=True)}
        assert not strict["f0/head/all_traj_preds"].passed
        assert strict["f0/head/all_cls_scores"].passed


@pytest.mark.parametrize("quirk", [f.name for f in fields(QuirkConfig) if f.name != "mix_batch"])
def test_rounding_excuses_no_other_function(tmp_path, monkeypatch, quirk):
    golden = GoldenFile(record(tmp_path / "quirks.npz", Recording()))
    off = None if quirk == "rotate_about" else False
    config = replace(SMALL, quirks=replace(SMALL.quirks, **{quirk: off}))
    monkeypatch.setattr(recording_sizes, "load_model_config", lambda name: config)
    assert [row.name for row in ParityRun(golden).rows() if not row.passed]


def test_depth_and_image_seed_are_found_and_the_command_is_an_input(tmp_path, monkeypatch):
    def change(values):
        for frame in range(2):
            values[f"f{frame}/decoded/ego_fut_cmd"] = np.eye(3)[1].reshape(1, 1, 1, 3)

    golden = GoldenFile(record(tmp_path / "shallow.npz", Recording(image_seed=5), change))
    deeper = replace(SMALL, bev=replace(SMALL.bev, layers=4))
    monkeypatch.setattr(recording_sizes, "load_model_config", lambda name: deeper)
    run = ParityRun(golden)
    assert (run.config.bev.layers, run.image_seed) == (SMALL.bev.layers, 5)
    assert [row for row in run.rows() if not row.passed] == []


def test_images_of_a_seed_that_was_not_tried_are_told_and_can_be_named(tmp_path):
    path = record(tmp_path / "seed.npz", Recording(frames=1, image_seed=1234))
    unknown = CliRunner().invoke(app, ["parity", str(path)])
    assert unknown.exit_code == 1 and "no recorded feature confirms it, see --image-seed" in unknown.output
    named = CliRunner().invoke(app, ["parity", str(path), "--image-seed", "1234"])
    assert named.exit_code == 0 and "images of seed 1234\n" in named.output


def test_a_loss_that_rounding_alone_parts_agrees(tmp_path, monkeypatch):
    run = ParityRun(GoldenFile(record(tmp_path / "frames.npz", Recording(frames=1))))
    # As `loss_plan_bound`, which is large only against the little by which a distance misses its margin.
    steep = {"steep": lambda outputs: 1e3 * outputs["all_bbox_preds"].sum().double()}
    flat = {"flat": lambda outputs: outputs["all_bbox_preds"].square().sum().double()}
    monkeypatch.setattr(loss_parity, "recorded_targets", lambda values, steps: None)
    monkeypatch.setattr(
        loss_parity,
        "PlannerLoss",
        lambda config: lambda outputs, targets: {name: of(outputs) for name, of in (steep | flat).items()},
    )
    exact = {name: float(of(loss_parity.last_outputs(run, 99))) for name, of in (steep | flat).items()}
    losses = GoldenFile(tmp_path / "frames.npz")
    losses.values = {"loss/steep": np.array(exact["steep"]), "loss/flat": np.array(1.001 * exact["flat"])}
    rows = {row.name: row for row in loss_parity.run_rows(losses, run, tolerance=1e-12)}
    assert rows["loss/steep"].by_rounding and rows["loss/steep"].error > 1e-12
    assert not rows["loss/flat"].passed


def test_unknown_and_damaged_tensors_miss_with_a_reason(tmp_path):
    def change(values):
        values |= stored("f0/head/occupancy", np.zeros((3, 3))) | stored("f0/mid/backbone/7", np.zeros(3))
        del values["f0/head/bev_embed"]
        values["f0/mid/enc1/0"] = values["f0/mid/enc1/0"][:-5]
        values["f1/head/ego_fut_preds"] = np.full_like(values["f1/head/ego_fut_preds"], np.nan)
        values["f1/head/all_bbox_preds"] = np.array("text")

    path = record(tmp_path / "damaged.npz", Recording(), change)
    rows = {row.name: row for row in ParityRun(GoldenFile(path)).rows()}
    notes = {name: row.note for name, row in rows.items() if not row.passed}
    assert set(notes) == {
        "f0/head/occupancy", "f0/mid/backbone/7", "f0/head/bev_embed", "f0/mid/enc1/0", "f1/head/ego_fut_preds",
        "f1/head/all_bbox_preds",
    }  # fmt: skip
    assert "no counterpart" in notes["f0/head/occupancy"]
    assert "lacks its values" in notes["f0/head/bev_embed"]
    assert "of its values, expected" in notes["f0/mid/enc1/0"]
    assert "not finite" in notes["f1/head/ego_fut_preds"]
    result = CliRunner().invoke(app, ["parity", str(path)])
    assert result.exit_code == 1
    assert "6 cameras" not in result.output
    assert "2 frames, 1 x 6 images 80x48, BEV 6x6" in result.output


def test_the_principal_point_tells_the_image_size_where_it_fits_the_feature(tmp_path):
    plain = GoldenFile(record(tmp_path / "plain.npz", Recording(image=(50, 70), frames=1)))
    cropped = GoldenFile(record(tmp_path / "cropped.npz", Recording(image=(50, 70), frames=1, crop=20.0)))
    assert image_size_candidates(plain) == [(50, 70), (50, 72), (56, 70), (56, 72)]
    assert image_size_candidates(cropped)[:2] == [(56, 70), (55, 70)]
    assert {height for height, _ in image_size_candidates(cropped)} == set(range(49, 57))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values.pop("f1/lidar2img"), "f1/lidar2img is missing"),
        (lambda values: values.pop("f1/can_bus"), "f1/can_bus is missing, expected 18 finite numbers"),
        (lambda values: values.update({"f0/can_bus": np.zeros(7)}), r"f0/can_bus is of shape \(7,\)"),
        (lambda values: values["f0/lidar2img"].fill(np.nan), "expected finite numbers"),
        (lambda values: values.update({"f3/can_bus": np.zeros(18)}), r"has frames \[0, 1, 3\]"),
        (lambda values: without("head/", "mid/", "decoded/")(values), "the BEV's size cannot be read: give --bev"),
    ],
)
def test_a_file_that_cannot_be_run_is_told(tmp_path, change, told):
    path = record(tmp_path / "wrong.npz", Recording(), change)
    with pytest.raises(GoldenError, match=told) as error:
        ParityRun(GoldenFile(path))
    assert "wrong.npz" in str(error.value)
    result = CliRunner().invoke(app, ["parity", str(path)])
    assert result.exit_code == 2
    assert "parity: " in result.output


def test_truncated_archives_and_single_arrays_are_told(tmp_path):
    whole = record(tmp_path / "whole.npz", Recording(frames=1)).read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(200) + whole[middle + 200 :]
    for name, content in {"half.npz": whole[:middle], "damaged.npz": damaged}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GoldenError, match=f"{name}: not readable"):
            GoldenFile(tmp_path / name)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(GoldenError, match="a single array"):
        GoldenFile(tmp_path / "array.npy")
    result = CliRunner().invoke(app, ["parity", str(tmp_path / "gone.npz")])
    assert (result.exit_code, "no such file" in result.output) == (2, True)


def test_rows_of_equal_scores_stand_as_recorded(tmp_path):
    path = tmp_path / "ties.npz"
    scores, boxes = np.array([0.9, 0.5, 0.5 - 1e-7, 0.1]), np.arange(12.0).reshape(4, 3)
    recorded = boxes[[0, 2, 1, 3]]
    rig = {"f0/lidar2img": np.ones((1, 4, 4)), "f0/can_bus": np.zeros(18)}
    np.savez(path, **rig, **stored("f0/decoded/boxes_3d", recorded))
    ours = {"scores_3d": scores, "boxes_3d": boxes, "labels_3d": np.arange(4), "trajs_3d": boxes, "other": boxes}
    ours |= {f"map_{name}": boxes for name in ("boxes_3d", "scores_3d", "labels_3d", "pts_3d")}
    ordered = in_recorded_order({k: torch.from_numpy(v) for k, v in ours.items()}, GoldenFile(path), 0)
    assert ordered["labels_3d"].tolist() == [0, 2, 1, 3]
    assert ordered["boxes_3d"].numpy().tolist() == recorded.tolist()
    assert ordered["other"].numpy().tolist() == boxes.tolist()
