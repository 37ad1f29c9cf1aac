import dataclasses

import numpy as np
import pytest
import torch
from synthetic_drives import RIG, drive_frame, write_drives, write_small_model

from rsd_model.config import load_model_config
from rsd_model.network import risk_head_config
from rsd_offline.datasets.collect import CollectConfig
from rsd_offline.datasets.episode_store import Episode, find_episodes, write_episode
from rsd_offline.training.batches import StepBatches, moments, partings
from rsd_offline.training.config import MOMENTS, RoundConfig, TrainConfig

TRAIN = TrainConfig("test", "", (RoundConfig("first", 1),), CollectConfig(), batch_size=4, history_drop=0.0)


@pytest.fixture
def batches(tmp_path):
    write_drives(tmp_path / "data", 2)
    frames = [dataclasses.replace(drive_frame(i), velocity=np.zeros(3)) for i in range(6)]
    frames[2:] = [dataclasses.replace(f, plan=np.zeros((6, 2))) for f in frames[2:]]
    write_episode(tmp_path / "data" / "standing", frames, RIG, {})
    model = load_model_config(write_small_model(tmp_path / "model.yaml"))

    def with_settings(risks=None, **changes):
        train = dataclasses.replace(TRAIN, **changes)
        folders = find_episodes(tmp_path / "data")
        return StepBatches([folders], model, train, risk_head_config(model), risks or {}, {}, seed=0)

    return with_settings


def test_a_batch_is_a_function_of_its_step(batches):
    first, again, other = batches()[3], batches()[3], batches()[4]
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets.ego_future, again.targets.ego_future)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (2, 4, 6, 64, 64, 3)


def test_moments_tell_standing_from_starting_and_cruising_from_braking(tmp_path):
    stand, drive = np.zeros((6, 2)), drive_frame(0)
    frames = [
        drive,
        dataclasses.replace(drive, plan=0.3 * drive.plan),
        dataclasses.replace(drive, velocity=np.zeros(3), plan=stand),
        dataclasses.replace(drive, velocity=np.zeros(3)),
    ]
    write_episode(tmp_path / "four", frames, RIG, {})
    assert [MOMENTS[k] for k in moments(Episode(tmp_path / "four"))] == ["cruise", "brake", "wait", "start"]


def test_a_moments_share_decides_what_is_drawn(batches):
    starts = batches(moment_shares={"start": 1.0}, status_drop=0.0)[0]
    assert (starts.ego_status[-1] == torch.tensor([1.0, 0.0])).all()  # known, speed
    assert (starts.targets.ego_future.abs().sum(dim=(1, 2)) > 1.5).all()
    waits = batches(moment_shares={"wait": 1.0}, status_drop=0.0)[0]
    assert (waits.targets.ego_future == 0.0).all()


def test_dropped_status_is_zero_and_a_first_frame_has_no_history(batches):
    batch = batches(status_drop=1.0, history_drop=1.0)[0]
    assert len(batch.images) == 1
    assert (batch.ego_status == 0.0).all()


def test_dangers_share_draws_frames_in_which_the_teacher_sees_a_dangerous_object(batches):
    frame = drive_frame(3)
    risks = {"standing/00003": {int(frame.ids[0]): (0.9, 1.0)}, "standing/00004": {int(frame.ids[0]): (0.2, 1.0)}}
    batch = batches(risks, danger_share=1.0)[0]
    assert all(risk.nan_to_num().max() == pytest.approx(0.9) for risk in batch.targets.object_risks)
    assert not any((risk > 0.5).all() for risk in batches(risks, moment_shares={"cruise": 1.0})[0].targets.object_risks)


def student_drive(folder, speeds):
    """Frames 0.5 s apart at `speeds` m/s; the expert's plan is always 5 m/s."""
    along = np.cumsum([0.0, *(0.5 * s for s in speeds)])
    frames = []
    for i, x in enumerate(along):
        pose = np.eye(4)
        pose[0, 3] = x
        frames.append(dataclasses.replace(drive_frame(i), pose=pose, plan=straight(5.0)))
    write_episode(folder, frames, RIG, {"driver": "student.safetensors"})
    return Episode(folder)


def straight(speed):
    return np.column_stack([0.5 * speed * np.arange(1, 7), np.zeros(6)])


def test_a_parting_is_how_much_faster_than_the_expert_was_driven_to_the_last_frame(tmp_path):
    found = partings(student_drive(tmp_path / "drive", [5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0]))
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 0.0], atol=1e-6)


def test_partings_share_draws_where_the_student_drove_otherwise_than_the_expert(batches, tmp_path):
    student_drive(tmp_path / "data" / "student", [5.0, 5.0, 5.0, 8.0, 8.0, 2.0, 2.0, 2.0, 2.0])
    drawn = batches(parting_share=1.0, status_drop=0.0)
    for step in range(4):  # only frames of the student's drive, whose expert plans 5 m/s, are parted from
        torch.testing.assert_close(drawn[step].targets.ego_future.norm(dim=-1), torch.full((4, 6), 2.5))
