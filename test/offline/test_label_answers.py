"""What is made of a teacher's raw answer: what can be used, what is counted, and that nothing breaks on it."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teacher_server import entry

from rsd_offline.labeling.answers import UnusableAnswer, parse_action, parse_json, parse_risk


@pytest.mark.parametrize(
    "text",
    [
        '{"objects": [{"id": 1, "rank": 1, "risk": 0.5, "crosses_ego_path": true, "cause": "x"}]}',
        'Here it is:\n```json\n{"objects": [{"id": "1", "rank": 1, "risk": 0.5, "crosses_ego_path": true}]}\n```',
        '<think>{"objects": []} no</think>{"objects": [{"id": 1.0, "risk": 0.5, "crosses_ego_path": true}]} Done.',
        'perhaps {"objects": []}</think>{"objects": [{"id": 1, "risk": 0.5, "crosses_ego_path": true}]} or {not}',
    ],
)
def test_json_is_found_among_fences_thoughts_and_words(text):
    found = parse_risk(text, [1])
    assert found.judgements[1].risk == 0.5
    assert found.judgements[1].crosses_ego_path
    assert found.omitted == ()


@settings(max_examples=60)
@given(st.text(max_size=60), st.booleans())
def test_no_text_breaks_the_parser(text, truncated):
    with contextlib.suppress(UnusableAnswer):
        parse_risk(text, [1, 2], truncated)


def test_deeply_nested_answers_are_refused_not_crashed_on():
    with pytest.raises(UnusableAnswer):
        parse_json('{"a":' * 100_000 + "1" + "}" * 100_000)


def test_duplicates_keep_the_first_and_are_counted():
    text = json.dumps({"objects": [entry(1, 0.2), entry(1, 0.9)]})
    found = parse_risk(text, [1])
    assert found.judgements[1].risk == 0.2
    assert found.faults == {"duplicate_id": 1}


def test_actions_outside_the_sets_are_refused():
    good = {
        "current_action": "a",
        "future_action": "b",
        "reason": "c",
        "control": "Stop",
        "turn": "none",
        "lane": "none",
    }
    assert parse_action(json.dumps(good))["control"] == "stop"
    with pytest.raises(UnusableAnswer):
        parse_action(json.dumps(good | {"turn": "drift"}))
    with pytest.raises(UnusableAnswer):
        parse_action(json.dumps(good | {"reason": " "}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<think>{"objects": []} is a draft', "truncated"),
        ("<think>nothing", "truncated"),
        ('[{"id": 1, "risk": 0.5}]', "wrong_shape"),
        ('{"objects": [{"id": 1, "risk": 0.5', "truncated"),
        ("", "empty"),
    ],
)
def test_an_answer_without_a_result_is_named(text, reason):
    with pytest.raises(UnusableAnswer) as caught:
        parse_risk(text, [1])
    assert caught.value.reason == reason


@pytest.mark.parametrize("risk", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "-Infinity"])
def test_a_risk_beyond_all_numbers_is_out_of_range(risk):
    found = parse_risk(f'{{"objects": [{{"id": 1, "risk": {risk}, "crosses_ego_path": true}}]}}', [1])
    assert (found.omitted, found.faults) == ((1,), {"risk_out_of_range": 1})


@pytest.mark.parametrize("crosses", ["yes", 1, None])
def test_whether_it_crosses_is_unknown_unless_said(crosses):
    found = parse_risk(json.dumps({"objects": [entry(1, 0.2) | {"crosses_ego_path": crosses}]}), [1])
    assert found.judgements[1].crosses_ego_path is None
    assert found.faults == {"bad_crossing": 1}


def test_words_that_no_file_can_hold_are_mended():
    text = r'{"objects": [{"id": 1, "risk": 0.5, "crosses_ego_path": true, "cause": "red \ud83d light \ud83d\udea6"}]}'
    assert parse_risk(text, [1]).judgements[1].cause == "red ? light \N{VERTICAL TRAFFIC LIGHT}"
