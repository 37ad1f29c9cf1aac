import numpy as np
import pytest
from synthetic_drives import CAR_SPEED, drive_frame, write_drives, write_small_model

from rsd_model.config import load_model_config
from rsd_model.network import risk_head_config
from rsd_offline.datasets.episode_store import Episode
from rsd_offline.training.targets import ego_future, object_boxes, resample_lines, sample_targets


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    root = tmp_path_factory.mktemp("targets")
    write_drives(root, 1)
    model = load_model_config(write_small_model(root / "model.yaml"))

    def of(index: int, risks: dict, judged_all: bool = True):
        episode = Episode(root / "drive_00000")
        return sample_targets(episode, index, model, risk_head_config(model), risks, judged_all)

    return of


def test_boxes_are_in_vads_lidar_frame():
    x, y, z, width, length, height, yaw, vx, vy = object_boxes(drive_frame(0))[0]
    assert (x, y, z) == pytest.approx((-3.0, 10.39, 0.75 - 1.84))
    assert (width, length, height) == (1.8, 4.5, 1.5)
    assert yaw == pytest.approx(-np.pi)
    assert (vx, vy) == pytest.approx((0.0, CAR_SPEED))


def test_futures_are_the_objects_way_over_ground_seen_from_now(targets):
    sample = targets(2, {})
    np.testing.assert_allclose(sample.object_futures[0], np.tile([0.0, CAR_SPEED * 0.5], (6, 1)), atol=1e-6)
    assert sample.object_future_masks[0].all()
    assert targets(7, {}).object_future_masks[0].tolist() == [1, 1, 0, 0, 0, 0]


def test_the_plan_becomes_offsets_forward_along_y():
    np.testing.assert_allclose(ego_future(drive_frame(0).plan), np.tile([0.0, 2.0], (6, 1)))


def test_a_risk_lies_where_its_object_is_and_goes(targets):
    sample = targets(0, {7: (0.6, 1.0)})
    assert sample.object_risks.tolist() == pytest.approx([0.6])
    row, column = np.unravel_index(np.argmax(sample.risk_map), sample.risk_map.shape)
    assert (-15 + 2 * column + 1, -30 + 2 * row + 1) == pytest.approx((-3, 10.39), abs=2.5)
    assert sample.risk_map[(20 + 30) // 2, column] > 0.1
    assert sample.risk_map[(-20 + 30) // 2].max() == 0.0
    assert sample.risk_map_mask.all()


def test_an_object_that_the_teacher_left_out_is_unknown_not_harmless(targets):
    sample = targets(0, {})
    assert np.isnan(sample.object_risks).all()
    assert not sample.risk_map_mask[int((10.39 + 30) // 2), ((-3 + 15) // 2)]
    assert not targets(0, {}, judged_all=False).risk_map_mask.any()


def test_resampled_lines_keep_their_ends_and_even_spacing():
    line = np.array([[[0.0, 0.0], [1.0, 0.0], [10.0, 0.0]]])
    resampled = resample_lines(line, 11)[0]
    np.testing.assert_allclose(resampled, np.stack([np.arange(11.0), np.zeros(11)], axis=1))
