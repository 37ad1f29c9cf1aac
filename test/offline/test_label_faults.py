"""What may go wrong between us and a teacher, against a real HTTP server that misbehaves on a script."""

import json
import resource

import pytest
from label_runs import ONE, faults, label, names, rows
from small_frames import SmallFrames
from teacher_server import Reply, TeacherServer, asked_numbers, entry, good_answer, is_risk

from rsd_offline.labeling.asking import AskingConfig
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.teachers.openai_server import requested_wait, retry_after


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-written-down")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def first_time(reply):
    """The first request gets `reply(body)`, the others a good answer."""
    return lambda number, body: reply(body) if number == 0 else Reply(good_answer(body))


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("not_json", lambda b: Reply("I am sorry, I cannot see any object.")),
        ("truncated", lambda b: Reply(good_answer(b)[:60], finish_reason="length")),
        ("truncated", lambda b: Reply(good_answer(b)[:-20])),
        ("empty", lambda b: Reply("")),
        ("wrong_shape", lambda b: Reply('{"risks": []}')),
        ("wrong_shape", lambda b: Reply('{"objects": {"1": 0.5}}')),
    ],
)
def test_an_answer_that_cannot_be_used_is_counted_and_asked_anew(tmp_path, reason, reply):
    with TeacherServer(first_time(reply)) as server:
        progress = label(server, tmp_path)
    assert progress.stopped is None
    assert faults(tmp_path) == {reason: "1"}
    assert [round(o["risk"], 3) for o in rows(tmp_path, "objects")] == [0.5, 0.333, 0.25]
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("nan_risk", lambda n: entry(n, float("nan"))),
        ("risk_out_of_range", lambda n: entry(n, 7.0)),
        ("risk_out_of_range", lambda n: entry(n, -0.1)),
        ("invented_id", lambda n: entry(77, 0.9)),
        ("bad_entry", lambda n: {"id": n}),
        ("bad_entry", lambda n: "the pedestrian"),
    ],
)
def test_a_bad_entry_is_counted_and_its_object_asked_for_again(tmp_path, reason, bad):
    def spoiled(body):
        objects = json.loads(good_answer(body))["objects"]
        return Reply(json.dumps({"objects": [bad(1), *objects[1:]]}))

    with TeacherServer(first_time(spoiled)) as server:
        label(server, tmp_path)
    assert faults(tmp_path) == {reason: "1"}
    assert asked_numbers(server.bodies[1]) == [1]
    assert all(o["valid"] and o["risk"] > 0.0 for o in rows(tmp_path, "objects"))
    audit = rows(tmp_path, "audit")[0]
    assert (audit["omitted_first"], audit["omitted"]) == (1, 0)


def test_what_the_teacher_never_mentions_is_invalid_and_not_zero(tmp_path):
    def silent_on_two(_number, body):
        return Reply(json.dumps({"objects": [entry(n, 0.6) for n in asked_numbers(body) if n != 2]}))

    with TeacherServer(silent_on_two) as server:
        label(server, tmp_path)
    objects = {o["object_id"]: o for o in rows(tmp_path, "objects")}
    assert objects[102]["risk"] is None
    assert not objects[102]["valid"]
    assert objects[102]["weight"] == 0.0
    assert objects[101]["risk"] == pytest.approx(0.6)
    assert rows(tmp_path, "audit")[0]["omitted"] == 1
    assert len(server.bodies) == 2


def test_a_teacher_that_is_never_usable_fails_the_frame_after_bounded_attempts(tmp_path):
    with TeacherServer(lambda n, b: Reply("no")) as server:
        progress = label(server, tmp_path)
    audit = rows(tmp_path, "audit")[0]
    assert (progress.failed, audit["status"], audit["failure"]) == (1, "failed", "not_json")
    assert len(server.bodies) == ONE.attempts
    assert not any(o["valid"] for o in rows(tmp_path, "objects"))


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("http_429", Reply(status=429, headers={"retry-after": "0.05"}, raw=b"{}")),
        ("http_503", Reply(status=503, raw=b"<html>")),
        ("http_500", Reply(status=500, raw=b"{}")),
        ("no_connection", Reply(drop=True)),
        ("broken_response", Reply(raw=b"<html>proxy error</html>")),
        ("broken_response", Reply(raw=b'{"choices": []}')),
    ],
)
def test_a_server_in_trouble_is_asked_again_and_counted(tmp_path, reason, reply):
    with TeacherServer(first_time(lambda _b: reply)) as server:
        progress = label(server, tmp_path)
    assert progress.counts.failures == {reason: 1}
    assert progress.stopped is None
    assert all(o["valid"] for o in rows(tmp_path, "objects"))


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(tmp_path):
    with TeacherServer(first_time(lambda _b: Reply(delay=10_000.0))) as server:
        progress = label(server, tmp_path, timeout=2.0)
    assert set(progress.counts.failures) == {"timeout"}  # more than once only where this machine is too slow
    assert progress.stopped is None
    assert all(o["valid"] for o in rows(tmp_path, "objects"))


@pytest.mark.parametrize(
    "reply", [Reply(status=400, raw=b'{"error": "image"}'), Reply("", finish_reason="content_filter")]
)
def test_a_refused_image_fails_its_frame_only_and_is_not_sent_again(tmp_path, reply):
    with TeacherServer(first_time(lambda _b: reply)) as server:
        label(server, tmp_path, frames=3, concurrency=1)
        before = len(server.bodies)
        label(server, tmp_path, frames=3)
    assert sorted(a["status"] for a in rows(tmp_path, "audit")) == ["failed", "ok", "ok"]
    assert before == len(server.bodies) == 3


def test_a_server_that_refuses_everything_stops_the_run_and_is_asked_again_later(tmp_path):
    with TeacherServer(lambda n, b: Reply(status=400, raw=b'{"error": "json_schema is not supported"}')) as server:
        progress = label(server, tmp_path, frames=20, shard_frames=20)
        assert "json_schema is not supported" in progress.stopped
        assert "try --structure json_object or none" in progress.stopped
        assert len(server.bodies) < 20
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=20, shard_frames=20)
    assert (progress.labelled, progress.failed, len(server.bodies)) == (20, 0, 20)


def test_a_server_that_was_never_there_stops_the_run_early(tmp_path):
    with TeacherServer(lambda n, b: Reply(drop=True)) as server:
        progress = label(server, tmp_path, asking=AskingConfig(first_contact=0.2))
    assert "check --base-url" in progress.stopped


def test_a_wrong_key_stops_the_run_at_once_with_the_remedy(tmp_path):
    with TeacherServer(lambda n, b: Reply(status=401, raw=b"{}")) as server:
        progress = label(server, tmp_path, frames=8)
    assert "OPENAI_API_KEY" in progress.stopped
    assert len(server.bodies) <= 4
    assert progress.labelled == 0


def test_a_run_that_stops_does_not_wait_for_the_end_of_a_pause(tmp_path):
    busy = Reply(status=429, headers={"retry-after": "3000"}, raw=b"{}", wait_for=2)
    with TeacherServer(lambda n, b: busy if n == 0 else Reply(status=401, raw=b"{}", wait_for=2, delay=0.5)) as server:
        progress = label(server, tmp_path, frames=2, concurrency=2)
    assert "OPENAI_API_KEY" in progress.stopped


@pytest.mark.parametrize(("status", "frames"), [(500, 12), (504, 12), (500, 1)])
def test_one_poisonous_frame_does_not_hold_up_the_run(tmp_path, status, frames):
    poisoned = {}

    def script(_number, body):
        picture = body["messages"][1]["content"][0]["image_url"]["url"]
        poisoned.setdefault("picture", picture)
        return Reply(status=status, raw=b"{}") if picture == poisoned["picture"] else Reply(good_answer(body))

    with TeacherServer(script) as server:
        progress = label(server, tmp_path, frames=frames, concurrency=4, asking=AskingConfig(strikes=2))
    failed = [a for a in rows(tmp_path, "audit") if a["status"] == "failed"]
    assert progress.stopped is None
    assert [a["failure"] for a in failed] == [f"gave_up_http_{status}"]


def test_a_server_that_is_gone_for_a_while_costs_no_label_and_few_requests(tmp_path):
    def away(number, body):
        return Reply(drop=True) if 3 <= number < 12 else Reply(good_answer(body))

    with TeacherServer(away) as server:
        progress = label(server, tmp_path, frames=10)
    assert (progress.labelled, progress.failed, progress.stopped) == (10, 0, None)
    assert progress.counts.failures == {"no_connection": 9}
    assert len(server.bodies) == 19


def test_a_server_that_stays_away_stops_the_run_which_goes_on_later(tmp_path):
    with TeacherServer(lambda n, b: Reply(good_answer(b)) if n < 5 else Reply(status=503, raw=b"{}")) as server:
        progress = label(server, tmp_path, frames=8, concurrency=1, asking=AskingConfig(patience=0.3))
    assert "has not answered for 0 s" in progress.stopped
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=8)
    assert (progress.labelled, progress.stopped) == (8, None)
    assert len(server.bodies) == 3


def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(tmp_path):
    config = LabelConfig(tasks=("risk",), samples=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TeacherServer() as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, hard))
        try:
            with pytest.raises(OSError, match="disk") as caught:
                progress = label(server, tmp_path, frames=60, config=config)
                raise OSError(progress.stopped)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "make room" in str(caught.value) or "no more answers" in str(caught.value)
        progress = label(server, tmp_path, frames=60, config=config)
        assert (progress.labelled, progress.stopped) == (60, None)
        assert len(server.bodies) - len(names(server)) <= 4  # only what was on the way when the disk was full


def test_a_disk_that_gets_full_stops_the_run_before_anything_is_lost(tmp_path):
    with TeacherServer() as server:
        progress = label(server, tmp_path, frames=3, asking=AskingConfig(min_free_bytes=2**60))
        assert "make room and run again" in progress.stopped
        assert server.bodies == []


def test_requests_in_flight_are_bounded_and_a_second_run_asks_nothing(tmp_path):
    with TeacherServer(lambda n, b: Reply(good_answer(b), wait_for=5 if n < 5 else 0)) as server:
        label(server, tmp_path, frames=12, concurrency=5, config=LabelConfig(), choices=1)
        assert server.most_at_once == 5
        assert len(server.bodies) == len(names(server)) == 12 * 4
        progress = label(server, tmp_path, frames=12, config=LabelConfig(), choices=1)
        assert progress.labelled == 12
        assert len(server.bodies) == 12 * 4


def test_the_key_is_sent_and_never_written(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path)
    assert server.authorizations == {"Bearer sk-never-written-down"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 5
    assert not any(b"never-written" in path.read_bytes() for path in written)


def test_a_request_holds_picture_schema_and_what_is_known_of_the_objects(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, config=LabelConfig(), choices=1)
    body = next(b for b in server.bodies if is_risk(b))
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["objects"]
    assert body["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    text = body["messages"][1]["content"][1]["text"]
    assert "The ego vehicle drives at 8.0 m/s. It is 0.2 m left of the middle of its lane." in text
    assert "1: car; forward +10.0 m, left +0.0 m, range 10.0 m; 2.0 m/s the ego's way; front camera, box [" in text
    assert {b["seed"] for b in server.bodies if is_risk(b)} == {0, 1000, 2000}


def test_frames_that_cannot_be_read_or_have_no_objects_are_labelled_as_such(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, source=SmallFrames(3, damaged=(0,), empty=(1,)))
    audit = {a["frame_id"]: a for a in rows(tmp_path, "audit")}
    assert audit["clip/00000"]["failure"] == "unreadable: frame 0 is damaged"
    assert (audit["clip/00001"]["status"], audit["clip/00001"]["asked"]) == ("ok", 0)
    assert {o["frame_id"] for o in rows(tmp_path, "objects")} == {"clip/00002"}


def test_dark_frames_are_brightened_for_the_teacher(tmp_path):
    with TeacherServer() as server:
        label(server, tmp_path, source=SmallFrames(1, brightness=10))
    audit = rows(tmp_path, "audit")[0]
    assert audit["brightened"]
    assert audit["luminance"] < 50.0


def test_samples_that_disagree_are_gated(tmp_path):
    def moody(_number, body):
        of_all = [[entry(n, 0.95 if (n == 1) != flip else 0.05) for n in asked_numbers(body)] for flip in (False, True)]
        return Reply(choices=[json.dumps({"objects": objects}) for objects in of_all])

    with TeacherServer(moody) as server:
        label(server, tmp_path, config=LabelConfig(tasks=("risk",), samples=2))
    audit = rows(tmp_path, "audit")[0]
    assert audit["status"] == "gated"
    assert audit["diff_risk"] > 0.35
    assert not any(o["valid"] for o in rows(tmp_path, "objects"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "soon"}, 9.0),
        ({}, None),
    ],
)
def test_the_wait_that_a_server_asks_for(headers, seconds):
    assert requested_wait(headers) == seconds


def test_retry_after_may_be_a_date():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now=1445412470.0) == pytest.approx(10.0)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Wed, 99 Oct 2015 07:28:00 GMT") is None
