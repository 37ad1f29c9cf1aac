"""Runs that go on: over datasets that grow or change, limits, other runs, damaged and unfinished shards."""

import asyncio
import json
import threading
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from label_runs import ONE, faults, label, rows
from small_frames import SmallFrames
from teacher_server import Reply, TeacherServer, good_answer, is_risk

from rsd_offline.datasets.subset import FirstFrames
from rsd_offline.labeling.asking import AskingConfig
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.run import LabelRun, OtherRunError, RunConfig, claim_folder, only_writer
from rsd_offline.labeling.store import LabelStoreError, read_table
from rsd_offline.labeling.teachers.controls import ControlTeacher


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")


class Chosen(SmallFrames):
    """Some of the frames of a dataset that is called the same however many it holds."""

    def __init__(self, numbers):
        super().__init__(len(numbers))
        self.name, self._numbers = "chosen", list(numbers)

    def frame_id(self, index):
        return super().frame_id(self._numbers[index])

    def frame(self, index):
        return replace(super().frame(self._numbers[index]), frame_id=self.frame_id(index))


def labelled(out):
    return [row["frame_id"] for row in rows(out, "frames")]


def ids(numbers):
    return [f"clip/{n:05d}" for n in numbers]


def test_frames_that_a_dataset_has_gained_are_labelled_and_no_others_asked_again(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, source=Chosen(range(6)))
        progress = label(server, tmp_path, source=Chosen(range(11)))
        assert len(server.bodies) == 11
    assert (progress.labelled, progress.frames) == (11, 11)
    assert labelled(tmp_path) == ids(range(11))


def test_frames_that_moved_to_other_shards_are_there_once(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, source=Chosen(range(10)))
        label(server, tmp_path, source=Chosen(range(3, 10)))
        assert len(server.bodies) == 10
    assert labelled(tmp_path) == ids(range(3, 10))
    assert not list(tmp_path.glob("part-00002*"))


def test_a_limit_can_be_raised_and_lowered_in_the_same_store(tmp_path):
    with TeacherServer() as server:
        for limit in (3, 10, 2):
            label(server, tmp_path, source=FirstFrames(Chosen(range(10)), limit))
        assert len(server.bodies) == 10
    assert labelled(tmp_path) == ids(range(10))


def test_a_store_has_one_writer_at_a_time(tmp_path):
    another = pytest.raises(OtherRunError, match="another run is writing to")
    with only_writer(tmp_path), another, only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass


def test_a_cut_off_shard_is_named_and_written_anew_from_the_answers(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, frames=8)
        frames = tmp_path / "part-00001.frames.parquet"
        frames.write_bytes(frames.read_bytes()[:100])
        with pytest.raises(LabelStoreError, match=r"part-00001\.frames\.parquet is damaged .*run `rsd label` again"):
            read_table(tmp_path, "frames")
        label(server, tmp_path, frames=8)
        assert len(server.bodies) == 8
    assert labelled(tmp_path) == ids(range(8))


def test_a_shard_that_was_not_finished_is_not_read(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, frames=8)
    (tmp_path / "part-00001.frames.parquet").unlink()
    for kind in ("frames", "objects", "audit", "maps"):
        assert {row["frame_id"] for row in rows(tmp_path, kind)} == set(ids(range(4)))


def test_a_store_of_another_schema_is_refused(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, frames=2)
        path = tmp_path / "part-00000.frames.parquet"
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"rsd.schema_version": b"7"}), path)
        with pytest.raises(LabelStoreError, match="has schema version 7, this code reads 1"):
            label(server, tmp_path, frames=2)


def test_another_configuration_does_not_mix_into_a_store(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path)
        with pytest.raises(OtherRunError, match=r"samples was 1, is 2\): choose another folder"):
            label(server, tmp_path, config=LabelConfig(tasks=("risk",), samples=2))


def test_what_a_later_call_knows_of_prices_and_places_is_kept(tmp_path):
    for about in ({"path": "/old", "prices": {"prompt": 1.0}}, {"path": "/new", "prices": {}}):
        claim_folder(tmp_path, {"model": "m", "config": "{}"}, about)
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "identity": {"model": "m", "config": "{}"}, "path": "/new", "prices": {"prompt": 1.0},
    }  # fmt: skip


def test_a_damaged_run_file_is_named(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path)
        (tmp_path / "run.json").write_text('{"identity": {"mod')
        with pytest.raises(LabelStoreError, match=r"run\.json is damaged"):
            label(server, tmp_path)


def test_failed_frames_are_asked_for_anew_when_wanted(tmp_path):
    with TeacherServer(lambda n, b: Reply(status=400, raw=b"{}") if n == 1 else Reply(good_answer(b))) as server:
        label(server, tmp_path, frames=8, concurrency=1)
        assert [a["status"] for a in rows(tmp_path, "audit")].count("failed") == 1
        label(server, tmp_path, frames=8)
        assert len(server.bodies) == 8
        progress = label(server, tmp_path, frames=8, asking=AskingConfig(retry_refused=True))
    assert (progress.labelled, progress.failed, len(server.bodies)) == (8, 0, 9)
    assert {a["status"] for a in rows(tmp_path, "audit")} == {"ok"}


def test_a_missing_action_is_counted_as_failed_keeps_the_risks_and_is_asked_for_anew(tmp_path):
    refused = threading.Event()

    def script(_number, body):
        if not is_risk(body) and not refused.is_set():
            refused.set()
            return Reply(status=400, raw=b"{}")
        return Reply(good_answer(body))

    config = LabelConfig(samples=1)
    with TeacherServer(script) as server:
        progress = label(server, tmp_path, frames=4, config=config, concurrency=1)
        assert (progress.labelled, progress.failed) == (4, 1)
        assert progress.why_failed == {"action_http_400": 1}
        assert all(o["valid"] for o in rows(tmp_path, "objects"))
        progress = label(server, tmp_path, frames=4, config=config)
        assert (progress.failed, len(server.bodies)) == (1, 8)
        progress = label(server, tmp_path, frames=4, config=config, asking=AskingConfig(retry_refused=True))
        assert (progress.failed, len(server.bodies)) == (0, 9)
    assert {f["control"] for f in rows(tmp_path, "frames")} == {"go straight"}


def test_actions_alone_that_cannot_be_used_fail_their_frame(tmp_path):
    with TeacherServer(lambda n, b: Reply("turn left, I would say")) as server:
        progress = label(server, tmp_path, config=LabelConfig(tasks=("action",)))
    assert (progress.failed, rows(tmp_path, "audit")[0]["status"]) == (1, "failed")


def test_an_odd_frame_fails_alone_with_its_reason(tmp_path):
    class Odd(SmallFrames):
        def frame(self, index):
            return super().frame(index) if index != 1 else {}["images"]

    with TeacherServer() as server:
        progress = label(server, tmp_path, source=Odd(4))
    assert (progress.labelled, progress.failed, progress.stopped) == (4, 1, None)
    assert progress.why_failed == {"unreadable": 1}
    assert progress.examples == {"unreadable": "unreadable: KeyError('images')"}


def test_answers_that_no_file_can_hold_do_not_stop_a_run(tmp_path):
    def script(_number, body):
        return Reply(
            good_answer(body).replace("object 1", r"a \ud83d light").replace("0.5", "1" + "0" * 400) + "\ud83d"
        )

    with TeacherServer(script) as server:
        progress = label(server, tmp_path, config=replace(ONE, reasks=0))
    assert (progress.labelled, progress.stopped) == (1, None)
    assert faults(tmp_path) == {"risk_out_of_range": "1"}


def test_controls_do_not_make_up_what_the_ego_does(tmp_path):
    class Still(SmallFrames):
        def frame(self, index):
            return replace(super().frame(index), ego_speed=None, future=None)

    run = LabelRun(Still(1), tmp_path, ControlTeacher("geometric"), LabelConfig(), RunConfig())
    progress = asyncio.run(run.run())
    assert progress.why_failed == {"action_unknown_motion": 1}
    assert all(o["valid"] for o in rows(tmp_path, "objects"))
