"""Batch files: requests go out, results come back, with several samples in one request as from a live server."""

import asyncio
import json

import pytest
from label_runs import faults, rows
from small_frames import SmallFrames
from teacher_server import Reply, completion, good_answer

from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.run import LabelRun, RunConfig
from rsd_offline.labeling.teachers.batch_files import BatchFiles
from rsd_offline.labeling.teachers.openai_server import ServerConfig

THREE = LabelConfig(samples=3)


def label(out, frames=3, choices=8, temperature=0.7):
    """One run; its progress, and the lines that it newly wrote."""
    before = lines(out)
    teacher = BatchFiles(out / "batch", ServerConfig("m", temperature=temperature, choices=choices))
    run = LabelRun(SmallFrames(frames), out, teacher, THREE, RunConfig(concurrency=4, shard_frames=4))
    progress = asyncio.run(run.run())
    return progress, lines(out)[len(before) :]


def lines(out):
    return [json.loads(line) for path in sorted(out.glob("batch/requests-*")) for line in path.open()]


def answered(line, reply=None):
    """A line of a result file."""
    reply = reply or Reply(good_answer(line["body"]))
    body = json.loads(completion(reply, line["body"])) if reply.status == 200 else {"error": {"message": "no"}}
    return {"custom_id": line["custom_id"], "response": {"status_code": reply.status, "body": body}, "error": None}


def hand_back(out, results, name="a"):
    folder = out / "batch" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(r) for r in results) + '\n{"custom')


def samples(out):
    return {o["samples"] for o in rows(out, "objects")}


def test_one_request_asks_for_every_sample_and_its_result_answers_them_all(tmp_path):
    progress, asked = label(tmp_path)
    assert (progress.pending, progress.labelled) == (3, 0)
    assert sorted(line["body"].get("n", 1) for line in asked) == [1, 1, 1, 3, 3, 3]
    assert len({line["custom_id"] for line in asked}) == 6
    assert max(len(line["custom_id"]) for line in asked) <= 64
    assert label(tmp_path)[1] == []
    hand_back(tmp_path, [answered(line) for line in asked])
    progress, asked = label(tmp_path)
    assert (progress.labelled, progress.failed, asked) == (3, 0, [])
    assert (progress.counts.requests, progress.counts.answers) == (6, 12)
    assert samples(tmp_path) == {3}
    assert {a["prompt_tokens"] for a in rows(tmp_path, "audit")} == {2000}


@pytest.mark.parametrize("how", [{"choices": 1}, {"temperature": 0.0}])
def test_samples_are_asked_for_singly_where_it_is_wished_or_nothing_varies(tmp_path, how):
    _, asked = label(tmp_path, frames=1, **how)
    assert [line["body"].get("n", 1) for line in asked] == [1, 1, 1, 1]
    hand_back(tmp_path, [answered(line) for line in asked])
    assert label(tmp_path, frames=1, **how)[0].labelled == 1


def test_samples_asked_for_singly_before_are_not_asked_for_again_together(tmp_path):
    _, asked = label(tmp_path, choices=1)
    assert label(tmp_path)[1] == []
    hand_back(tmp_path, [answered(line) for line in asked])
    progress, new = label(tmp_path)
    assert (progress.labelled, new, samples(tmp_path)) == (3, [], {3})


@pytest.mark.parametrize("frames", [2, 12])
def test_a_server_that_gives_one_answer_whatever_n_is_is_asked_for_the_rest(tmp_path, frames):
    _, asked = label(tmp_path, frames=frames)
    hand_back(tmp_path, [answered(line, Reply(choices=[good_answer(line["body"])])) for line in asked])
    progress, rest = label(tmp_path, frames=frames)
    assert progress.pending == frames
    assert [line["body"].get("n") for line in rest] == [None] * (2 * frames)
    assert label(tmp_path, frames=frames)[1] == []
    hand_back(tmp_path, [answered(line) for line in rest], "b")
    progress, new = label(tmp_path, frames=frames)
    assert (progress.labelled, new, samples(tmp_path)) == (frames, [], {3})


def test_a_server_that_refuses_n_is_asked_singly(tmp_path):
    def reply(line):
        return Reply(status=400) if "n" in line["body"] else Reply(good_answer(line["body"]))

    _, asked = label(tmp_path)
    hand_back(tmp_path, [answered(line, reply(line)) for line in asked])
    results = [answered(line, reply(line)) for line in asked]
    for name in ("b", "c", "d", "e"):
        progress, asked = label(tmp_path)
        assert not any("n" in line["body"] for line in asked)
        results += [answered(line) for line in asked]
        hand_back(tmp_path, [answered(line) for line in asked], name)
    assert (progress.labelled, samples(tmp_path)) == (3, {3})
    assert len({r["custom_id"] for r in results}) == len(results)


def test_what_failed_is_handed_in_again_once(tmp_path):
    _, asked = label(tmp_path)
    failed = {"custom_id": asked[0]["custom_id"], "response": None, "error": {"code": "batch_expired"}}
    hand_back(tmp_path, [failed] + [answered(line) for line in asked[1:]])
    progress, again = label(tmp_path)
    assert again == asked[:1]
    assert progress.labelled == 2
    assert label(tmp_path)[1] == []
    hand_back(tmp_path, [answered(asked[0])], "b")
    progress, new = label(tmp_path)
    assert (progress.labelled, new) == (3, [])


def test_an_answer_of_several_that_cannot_be_used_is_asked_for_anew_alone(tmp_path):
    def one_bad(line):
        good = good_answer(line["body"])
        return Reply(choices=[good, "I cannot tell", good + " "] if "n" in line["body"] else [good])

    _, asked = label(tmp_path, frames=1)
    hand_back(tmp_path, [answered(line, one_bad(line)) for line in asked])
    _, again = label(tmp_path, frames=1)
    assert [line["body"].get("n") for line in again] == [None]
    hand_back(tmp_path, [answered(line) for line in again], "b")
    assert label(tmp_path, frames=1)[0].labelled == 1
    assert faults(tmp_path) == {"not_json": "1"}
    assert samples(tmp_path) == {3}
