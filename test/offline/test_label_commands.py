"""`rsd label` and `rsd labels` as a user calls them: killed, resumed, across processes, and what the report says."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from small_frames import SmallFrames, write_world
from teacher_server import DyingTeacher, Reply, TeacherServer, completion, good_answer
from typer.testing import CliRunner

from rsd_offline.cli import app
from rsd_offline.labeling.answer_cache import AnswerCache
from rsd_offline.labeling.report import certain_frames, compare, distance_share, explained_share, figures, read_store
from rsd_offline.labeling.store import read_risks, read_table


def rsd(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return write_world(tmp_path / "world", 40)


@pytest.mark.parametrize(("choices", "per_frame"), [(1, 4), (8, 2)])
def test_a_run_that_is_killed_loses_nothing_and_asks_nothing_twice(tmp_path, world, choices, per_frame):
    out, processes = tmp_path / "out", []

    def kill_at_last(number, body):
        if number + 1 == 15 * per_frame:
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
        return Reply(good_answer(body))

    with TeacherServer(kill_at_last) as server:
        call = [
            "label",
            world,
            out,
            "--model",
            "m",
            "--base-url",
            server.url,
            "--shard-frames",
            8,
            "--choices",
            choices,
        ]
        command = [sys.executable, "-m", "rsd_offline.cli", *map(str, call), "--concurrency", "4"]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment))
        assert processes[0].wait() == -signal.SIGKILL
        assert 15 * per_frame <= len(server.bodies) <= 15 * per_frame + 3
        rsd(*call)
        asked = Counter(json.dumps([b["messages"], b["seed"]]) for b in server.bodies)
    assert len(asked) == 40 * per_frame
    assert sum(asked.values()) - len(asked) <= 4  # what was on the way when it was killed
    assert len(read_risks(out)) == 40
    assert sorted(read_table(out, "frames").column("frame_id").to_pylist()) == [f"drive/{i:05d}" for i in range(40)]


def test_a_run_that_is_interrupted_says_how_it_goes_on(tmp_path, world):
    processes = []

    def interrupt(number, body):
        if number == 10:
            processes[0].send_signal(signal.SIGINT)
        return Reply(good_answer(body), delay=10_000.0 if number >= 10 else 0.0)

    with TeacherServer(interrupt) as server:
        call = ["label", world, tmp_path / "out", "--model", "m", "--base-url", server.url]
        command = [sys.executable, "-m", "rsd_offline.cli", *map(str, call), "--concurrency", "4"]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True))
        said = processes[0].communicate()[1]
    assert processes[0].returncode == 3
    assert "what was answered is kept" in said
    assert "Traceback" not in said


def test_a_dry_run_estimates_and_asks_nothing(tmp_path, world):
    def estimate(*options):
        said = rsd(
            "label", world, tmp_path / "out", "--model", "m", "--base-url", server.url, "--dry-run",
            "--price-in", 1.0, "--price-out", 4.0, *options,
        )  # fmt: skip
        return said, float(said.split(" US$")[0].split()[-1])

    with TeacherServer() as server:
        (together, cost), (singly, cost_singly) = estimate(), estimate("--choices", 1)
        assert server.bodies == []
    assert "about 80 requests" in together
    assert "about 160 requests" in singly
    assert 0.0 < cost < cost_singly
    assert f"({cost_singly:.2f} if the server gives one answer to a request)" in together
    assert not (tmp_path / "out").exists()


def test_batch_files_go_out_and_their_results_come_back(tmp_path, world):
    out = tmp_path / "out"
    call = ("label", world, out, "--teacher", "batch", "--model", "m", "--limit", 3, "--samples", 2)
    assert "6 new requests written" in rsd(*call)
    assert "0 new requests written" in rsd(*call)
    requests = [json.loads(line) for line in (out / "batch" / "requests-00000.jsonl").read_text().splitlines()]
    assert {(r["method"], r["url"]) for r in requests} == {("POST", "/v1/chat/completions")}
    results = [
        {"custom_id": r["custom_id"], "error": None,
         "response": {"status_code": 200, "body": json.loads(completion(Reply(good_answer(r["body"])), r["body"]))}}
        for r in requests
    ]  # fmt: skip
    results[0]["response"] = {"status_code": 500, "body": {}}
    (out / "batch" / "results").mkdir()
    (out / "batch" / "results" / "first.jsonl").write_text("\n".join(json.dumps(r) for r in results) + '\n{"custom')
    said = rsd(*call)
    assert "5 answered, 1 failed" in said
    assert "1 new requests written" in said
    again = json.loads((out / "batch" / "requests-00001.jsonl").read_text())
    assert again["custom_id"] == results[0]["custom_id"]
    results[0]["response"] = {
        "status_code": 200,
        "body": json.loads(completion(Reply(good_answer(again["body"])), again["body"])),
    }
    (out / "batch" / "results" / "second.jsonl").write_text(json.dumps(results[0]))
    assert "3/3 frames labelled (0 incomplete)" in rsd(*call)
    assert len(read_risks(out)) == 3
    rsd("label", world, tmp_path / "dry", "--teacher", "batch", "--model", "m", "--dry-run")
    assert not (tmp_path / "dry").exists()
    assert "are paid for where they are handed in" in rsd(*call, "--price-in", 1, "--budget", 1, code=2)


def test_why_frames_have_no_label_is_said_at_the_end(tmp_path, world):
    (world / "drive" / "images.bin").write_bytes(b"cut off")
    said = rsd("label", world, tmp_path / "out", "--teacher", "batch", "--model", "m", "--limit", 2)
    assert "2/2 frames labelled (2 incomplete)" in said
    assert "lack risks or actions: 2 unreadable (such as: unreadable: " in said.replace("\n", "")


def test_mistakes_on_the_command_line_name_the_remedy(tmp_path, world):
    assert "needs --model" in rsd("label", world, tmp_path / "a", code=2)
    assert "must begin with http" in rsd(
        "label", world, tmp_path / "a", "--model", "m", "--base-url", "localhost:8000", code=2
    )
    (tmp_path / "file").touch()
    assert "choose another folder" in rsd("label", world, tmp_path / "file", "--teacher", "random", code=2)
    assert "choose among front, montage" in rsd(
        "label", world, tmp_path / "a", "--teacher", "random", "--view", "up", code=2
    )
    assert "choose among server, local" in rsd("label", world, tmp_path / "b", "--teacher", "oracle", code=2)
    assert "give --price-in" in rsd("label", world, tmp_path / "c", "--teacher", "random", "--budget", 1, code=2)
    (world / "labels").rename(world / "elsewhere")
    assert "for other datasets take geometric" in rsd("label", world, tmp_path / "e", "--teacher", "privileged", code=2)
    assert not (tmp_path / "c").exists()
    assert "choose among max_completion_tokens, max_tokens" in rsd(
        "label", world, tmp_path / "a", "--model", "m", "--base-url", "http://x", "--token-limit", "most", code=2
    )
    assert "holds none of" in rsd("label", tmp_path / "world" / "drive", tmp_path / "d", "--teacher", "random", code=2)


def test_report_and_picture_of_controls(tmp_path, world):
    stores = {kind: tmp_path / kind for kind in ("geometric", "random", "constant", "privileged")}
    for kind, out in stores.items():
        rsd("label", world, out, "--teacher", kind)
    stores["spoiled"] = tmp_path / "spoiled"
    rsd("label", world, stores["spoiled"], "--teacher", "privileged", "--misranking", 0.7)
    page = tmp_path / "page.html"
    rsd("labels", "report", stores["spoiled"], "--against", stores["geometric"], "--out", page, "--pictures", 2)
    found = json.loads(page.with_suffix(".json").read_text())
    assert found["frames"] == 40
    assert found["omission_rate"] == 0.0
    assert found["diff_risk"] > 0.05
    assert figures(read_store(stores["random"]))["valid_objects"] == 120  # a control must reach training
    assert found["against"]["geometric"]["frames"] > 0
    assert set(found["by_class"]) == {"car", "pedestrian", "truck"}
    assert page.read_text().count("data:image/jpeg;base64,") == 4
    assert "http" not in page.read_text().replace("http-equiv", "")
    assert figures(read_store(stores["constant"]))["distance_share"] is None
    assert figures(read_store(stores["geometric"]))["distance_share"] > 0.9
    assert compare(read_store(stores["geometric"]), read_store(stores["geometric"]))["diff_risk"] == 0.0
    picture = tmp_path / "frame.png"
    rsd("labels", "show", stores["privileged"], "drive/00003", "--out", picture)
    assert picture.stat().st_size > 10_000
    assert "not in the labels" in rsd("labels", "show", stores["privileged"], "drive/99999", "--out", picture, code=2)
    assert certain_frames(read_store(stores["constant"])) == ([], [])


def test_clips_of_the_embedded_world_are_recorded_once_and_labelled(tmp_path):
    call = ("record-clips", tmp_path / "clips", "--width", 64, "--seconds", 0.6, "--vehicles", 4, "--pedestrians", 2)
    assert "PlainDriving_TownAlder_Route00000_Weather19" in rsd(*call, "--weather", "night")
    assert "is there already" in rsd(*call, "--weather", "night")
    assert "unknown scenario" in rsd(*call, "--scenario", "Parade", code=2)
    out = tmp_path / "out"
    assert "2/2 frames labelled (0 incomplete)" in rsd("label", tmp_path / "clips", out, "--teacher", "geometric")
    audit = read_table(out, "audit").to_pylist()
    assert {(a["town"], a["time_of_day"]) for a in audit} == {("TownAlder", "night")}


def test_distance_share_tells_a_ruler_from_a_coin():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0, 60, 2000)
    assert distance_share(np.exp(-distance / 12.0), distance) > 0.97
    assert distance_share(rng.random(2000), distance) < 0.02
    assert distance_share(np.full(2000, 0.4), distance) is None
    assert explained_share(np.array([0.1, 0.9]), np.array([0.0, 1.0])) is None


def test_answers_of_other_writers_are_found(tmp_path):
    from rsd_offline.labeling.answer_cache import Answer

    first = AnswerCache(tmp_path, "one", shared=True)
    first.put(b"k", Answer("text", prompt_tokens=3))
    second = AnswerCache(tmp_path, "two", shared=True)
    assert second.get(b"k") == Answer("text", prompt_tokens=3)
    assert second.get(b"other") is None
    second.put(b"l", Answer("", refusal="http_400"))
    assert AnswerCache(tmp_path, "three").get(b"l").refusal == "http_400"


def test_a_shard_on_another_machine_is_grounded_by_the_detector_and_adds_up(tmp_path):
    from rsd_offline.labeling.detection import Detection
    from rsd_offline.labeling.engine_ray import ShardJob, sum_up
    from rsd_offline.labeling.labeler import LabelConfig
    from rsd_offline.labeling.run import RunConfig, RunProgress
    from rsd_offline.labeling.teachers.controls import ControlTeacher

    class OneVan:
        name = "one van"

        def detect(self, image):
            return [Detection("van", 0.9, (50.0, 40.0, 70.0, 60.0))]

    source, config = SmallFrames(6, damaged=(1,)), LabelConfig(tasks=("risk",))
    job = ShardJob(
        lambda: source, lambda: ControlTeacher("constant"), tmp_path, config, RunConfig(shard_frames=3), OneVan
    )
    total = sum_up([job.label(shard) for shard in (0, 1)], RunProgress(6))
    assert (total.labelled, total.failed, total.counts.answers, total.stopped) == (6, 1, 5, None)
    assert total.examples == {"unreadable": "unreadable: frame 1 is damaged"}
    assert set(read_table(tmp_path, "objects").column("class_name").to_pylist()) == {"van"}


def test_workers_of_a_cluster_find_a_dataset_that_was_named_from_here(tmp_path, world, monkeypatch):
    def label_elsewhere(job, shards, workers, address):
        monkeypatch.chdir(tmp_path / "out")
        return [job.label(shard) for shard in shards]

    monkeypatch.setattr("rsd_offline.labeling.engine_ray.label_with_ray", label_elsewhere)
    monkeypatch.chdir(tmp_path)
    said = rsd("label", world.name, "out", "--teacher", "privileged", "--engine", "ray")
    assert "40/40 frames labelled (0 incomplete)" in said


@pytest.mark.timeout(900)  # a cluster starts, loses a worker and starts another
def test_ray_workers_give_the_same_labels_though_one_is_killed(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    pytest.importorskip("pandas")  # Ray Data wants it
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.path.dirname(__file__)]))
    from rsd_offline.labeling.engine_ray import ShardJob, label_with_ray
    from rsd_offline.labeling.labeler import LabelConfig
    from rsd_offline.labeling.run import LabelRun, RunConfig

    def make_source():
        return SmallFrames(12)

    def make_teacher():
        return DyingTeacher(tmp_path)

    here, there = tmp_path / "here", tmp_path / "there"
    config, run_config = LabelConfig(tasks=("risk",)), RunConfig(shard_frames=3, concurrency=4)
    job = ShardJob(make_source, make_teacher, there, config, run_config)
    rows = label_with_ray(job, LabelRun(make_source(), there, make_teacher(), config, run_config).shards(), workers=2)
    assert (tmp_path / "killed").exists()
    assert sum(r["labelled"] for r in rows) == 12
    asked = Counter((tmp_path / "asked").read_text().split())
    assert set(asked.values()) == {1}
    import asyncio

    asyncio.run(LabelRun(make_source(), here, make_teacher(), config, run_config).run())
    for kind in ("frames", "objects", "maps"):
        assert read_table(there, kind).to_pylist() == read_table(here, kind).to_pylist()
