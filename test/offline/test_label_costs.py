"""What a run may cost: a budget that holds whatever the server counts."""

import json

import pytest
from label_runs import label
from teacher_server import Reply, TeacherServer, good_answer

from rsd_offline.labeling.costs import Prices


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")


def test_a_budget_is_never_passed_and_a_larger_one_goes_on(tmp_path):
    prices = Prices(prompt=10.0, completion=10.0)  # 0.011 US$ an answer
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=12, prices=prices, budget=0.1)
        assert 0.0 < progress.cost <= 0.1
        assert "budget of 0.10 US$ is used up" in progress.stopped
        spent = len(server.bodies)
        progress = label(server, tmp_path, frames=12, prices=prices, budget=10.0)
        assert (progress.labelled, progress.stopped) == (12, None)
        assert len(server.bodies) == 12
        assert progress.cost == pytest.approx(0.011 * (12 - spent))


def test_a_budget_holds_where_pictures_cost_more_than_was_thought(tmp_path):
    """The test's server counts ten times the tokens that are estimated, as some families of models do."""
    dear = {"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 20_000, "completion_tokens": 100}}

    def script(_number, body):
        dear["choices"][0]["message"]["content"] = good_answer(body)
        return Reply(raw=json.dumps(dear).encode())

    with TeacherServer(script) as server:
        progress = label(server, tmp_path, frames=12, prices=Prices(prompt=10.0), budget=0.5, concurrency=12)
        assert 0.0 < progress.cost <= 0.5
        assert len(server.bodies) == 2  # 0.20 US$ each


def test_a_budget_holds_though_the_server_tells_no_tokens(tmp_path):
    def script(_number, body):
        return Reply(raw=json.dumps({"choices": [{"message": {"content": good_answer(body)}}]}).encode())

    with TeacherServer(script) as server:
        progress = label(server, tmp_path, frames=12, prices=Prices(completion=10.0), budget=0.05)
        assert len(server.bodies) == 2  # 2048 tokens each at most
    assert "is used up" in progress.stopped
