import pytest

from rsd_offline.labeling.store import FrameLabel, LabelStoreError, ObjectLabel, read_judged, read_risks, write_shard


def test_risks_read_back_and_invalid_ones_stay_out(tmp_path):
    objects = [
        ObjectLabel("e/00000", 4, "car", 0.25, rank=2, cause="parked", weight=0.5),
        ObjectLabel("e/00000", 7, "pedestrian", None, valid=False),
    ]
    write_shard(tmp_path, "s0", [FrameLabel("e/00000", judged="all")], objects, {"model": "test"})
    assert read_risks(tmp_path) == {"e/00000": {4: (0.25, 0.5)}}
    assert read_judged(tmp_path) == {"e/00000": "all"}


def test_a_valid_label_needs_a_risk_between_zero_and_one():
    with pytest.raises(LabelStoreError, match=r"1\.5"):
        ObjectLabel("e/00000", 1, "car", 1.5)


def test_an_empty_store_is_named(tmp_path):
    with pytest.raises(LabelStoreError, match="holds no"):
        read_risks(tmp_path)
