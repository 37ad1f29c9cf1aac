"""Several samples in one request, against servers that know `n`, ignore it, refuse it, or repeat themselves."""

import json

import pytest
from label_runs import faults, label, names, rows
from teacher_server import Reply, TeacherServer, asked_numbers, completion, entry, good_answer

from rsd_offline.labeling.asking import AskingConfig
from rsd_offline.labeling.costs import Prices
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.report import figures, read_store
from rsd_offline.labeling.together import TRIES

THREE = LabelConfig(tasks=("risk",), samples=3)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")


def singly(server):
    """Requests for one answer."""
    return [body for body in server.bodies if "n" not in body]


def drop_shards(folder):
    """Leave the answers alone."""
    for path in folder.glob("*.parquet"):
        path.unlink()


def test_one_request_brings_every_sample_and_is_paid_for_once(tmp_path):
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=2, config=THREE, prices=Prices(1.0, 10.0))
    assert [body["n"] for body in server.bodies] == [3, 3]
    assert (progress.counts.requests, progress.counts.answers) == (2, 6)
    assert (progress.counts.prompt_tokens, progress.counts.completion_tokens) == (2000, 600)
    assert progress.cost == pytest.approx(2 * (1000 * 1.0 + 300 * 10.0) / 1e6)
    assert progress.counts.why_singly == ""
    audit = rows(tmp_path, "audit")
    assert [(a["requests"], a["samples"], a["prompt_tokens"]) for a in audit] == [(1, 3, 1000)] * 2
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}


@pytest.mark.parametrize(("first", "then"), [(1, 8), (8, 1), (2, 3)])
def test_samples_asked_for_together_or_singly_have_the_same_names(tmp_path, first, then):
    with TeacherServer() as server:
        label(server, tmp_path, frames=3, config=THREE, choices=first)
        asked, before = len(server.bodies), rows(tmp_path, "objects")
        assert asked == 3 * -(-3 // first)
        drop_shards(tmp_path)
        progress = label(server, tmp_path, frames=3, config=THREE, choices=then)
    assert (len(server.bodies), progress.counts.cached) == (asked, 9)
    assert rows(tmp_path, "objects") == before


def test_a_server_that_ignores_n_is_asked_for_the_rest_and_soon_singly(tmp_path):
    frames = 2 * TRIES
    with TeacherServer(lambda _n, body: Reply(choices=[good_answer(body)])) as server:
        progress = label(server, tmp_path, frames=frames, config=THREE, concurrency=2)
    assert len(server.bodies) == len(names(server)) == progress.counts.requests == 3 * frames
    assert progress.counts.why_singly == "gives one answer"
    assert TRIES <= len(server.bodies) - len(singly(server)) <= TRIES + 4
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}
    assert {a["prompt_tokens"] for a in rows(tmp_path, "audit")} == {3000}


def test_samples_that_a_server_leaves_out_are_asked_for_singly(tmp_path):
    def two_at_most(_number, body):
        return Reply(choices=[good_answer(body) + i * " " for i in range(min(body.get("n", 1), 2))])

    with TeacherServer(two_at_most) as server:
        label(server, tmp_path, frames=2, config=THREE)
    assert [body["seed"] for body in singly(server)] == [2000, 2000]
    assert len(server.bodies) == 4
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}


def test_a_choice_that_cannot_be_used_is_asked_for_anew_without_the_others(tmp_path):
    def one_bad(_number, body):
        good = good_answer(body)
        return Reply(choices=[good, "I cannot tell", good + " "] if "n" in body else [good])

    with TeacherServer(one_bad) as server:
        label(server, tmp_path, config=THREE)
    assert faults(tmp_path) == {"not_json": "1"}
    assert [body.get("n") for body in server.bodies] == [3, None]
    assert server.bodies[1]["seed"] == 1001
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}


@pytest.mark.parametrize("bad", [None, "text", {}, {"message": "text"}, {"message": None}, {"message": {"content": 7}}])
def test_a_choice_of_another_shape_costs_that_sample_only(tmp_path, bad):
    def one_bad(_number, body):
        whole = json.loads(completion(Reply(good_answer(body)), body))
        if "n" in body:
            whole["choices"][1] = bad
        return Reply(raw=json.dumps(whole).encode())

    with TeacherServer(one_bad) as server:
        progress = label(server, tmp_path, config=THREE)
    assert progress.stopped is None
    assert sum(int(count) for count in faults(tmp_path).values()) == 1
    assert len(server.bodies) == 2
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_server_that_refuses_n_loses_no_label(tmp_path, status):
    frames = 2 * TRIES

    def refusing(_number, body):
        return Reply(status=status, raw=b'{"error": "n must be 1"}') if "n" in body else Reply(good_answer(body))

    with TeacherServer(refusing) as server:
        progress = label(server, tmp_path, frames=frames, config=THREE, concurrency=2)
    assert (progress.labelled, progress.failed, progress.stopped) == (frames, 0, None)
    assert progress.counts.why_singly == f"fails with http_{status}"
    assert len(singly(server)) == 3 * frames
    assert {o["samples"] for o in rows(tmp_path, "objects")} == {3}


def test_a_server_that_refuses_everything_still_stops_the_run(tmp_path):
    with TeacherServer(lambda n, b: Reply(status=400, raw=b'{"error": "no schemas"}')) as server:
        progress = label(server, tmp_path, frames=20, config=THREE, shard_frames=20)
    assert "try --structure json_object or none" in progress.stopped
    assert len(server.bodies) < 40


def test_an_answer_repeated_n_times_is_one_sample(tmp_path):
    def parrot(_number, body):
        risk = 0.3 + 0.0001 * (body["seed"] % 500) + 0.1 * (body["seed"] // 1000)
        text = json.dumps({"objects": [entry(n, risk) for n in asked_numbers(body)]})
        return Reply(choices=[text] * body.get("n", 1))

    frames = TRIES + 4
    with TeacherServer(parrot) as server:
        progress = label(server, tmp_path, frames=frames, config=THREE, concurrency=1)
    assert progress.counts.why_singly == "repeats its answer"
    assert len(server.bodies) == 3 * frames
    assert all(o["spread"] > 0.05 for o in rows(tmp_path, "objects"))
    together = len(server.bodies) - len(singly(server))
    assert progress.counts.completion_tokens == 100 * (3 * frames + 2 * together)  # what was not used was paid for, too


def test_a_server_that_gave_different_answers_may_give_equal_ones(tmp_path):
    def script(number, body):
        return Reply(good_answer(body)) if number == 0 else Reply(choices=[good_answer(body)] * body["n"])

    with TeacherServer(script) as server:
        label(server, tmp_path, frames=3, config=THREE, concurrency=1)
    assert len(server.bodies) == 3


def test_a_refused_image_is_refused_once_where_the_server_is_known(tmp_path):
    with TeacherServer(lambda n, b: Reply(status=400, raw=b"{}") if n == 1 else Reply(good_answer(b))) as server:
        label(server, tmp_path, frames=3, config=THREE, concurrency=1)
        drop_shards(tmp_path)
        label(server, tmp_path, frames=3, config=THREE)
    assert len(server.bodies) == 3
    audit = rows(tmp_path, "audit")
    assert [a["status"] for a in audit].count("failed") == 1
    assert [a["requests"] for a in audit] == [1, 1, 1]


def test_a_picture_that_breaks_the_server_is_given_up_with_all_its_samples(tmp_path):
    poisoned = {}

    def script(number, body):
        picture = body["messages"][1]["content"][0]["image_url"]["url"]
        if number == 1:
            poisoned["picture"] = picture
        return Reply(status=500, raw=b"{}") if picture == poisoned.get("picture") else Reply(good_answer(body))

    with TeacherServer(script) as server:
        progress = label(server, tmp_path, frames=12, config=THREE, asking=AskingConfig(strikes=2))
    failed = [a for a in rows(tmp_path, "audit") if a["status"] == "failed"]
    assert [a["failure"] for a in failed] == ["gave_up_http_500"]
    assert progress.stopped is None


def test_the_budget_holds_for_all_answers_of_a_request(tmp_path):
    prices = Prices(prompt=10.0, completion=10.0)  # 0.013 US$ a request
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=12, config=THREE, prices=prices, budget=0.2)
        assert 0.0 < progress.cost <= 0.2
        assert "budget of 0.20 US$ is used up" in progress.stopped
        progress = label(server, tmp_path, frames=12, config=THREE, prices=prices, budget=10.0)
    assert (progress.labelled, len(server.bodies)) == (12, 12)


def test_without_randomness_samples_are_asked_for_singly(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, config=THREE, temperature=0.0)
    assert len(singly(server)) == len(server.bodies) == 3


def test_the_report_counts_unusable_answers_of_all_answers(tmp_path):
    def bad_together(_number, body):
        return Reply(choices=["no", "neither", "nor"] if "n" in body else [good_answer(body)])

    with TeacherServer(bad_together) as server:
        label(server, tmp_path, config=THREE)
    found = figures(read_store(tmp_path))
    assert (found["requests"], found["answers"], found["parse_failure_rate"]) == (4, 6, 0.5)


def test_seeds_of_samples_asked_for_together_are_no_others(tmp_path):
    """vLLM adds the number of the answer to the seed."""
    with TeacherServer(lambda _n, body: Reply("no" if "n" in body else good_answer(body))) as server:
        label(server, tmp_path, config=THREE)
    together = [body["seed"] + i for body in server.bodies for i in range(body.get("n", 0))]
    alone = [body["seed"] for body in singly(server)]
    assert together == [500, 501, 502]
    assert sorted(alone) == [1, 1001, 2001]
