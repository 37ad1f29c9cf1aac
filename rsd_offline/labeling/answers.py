"""From a teacher's raw answer to checked judgements; whatever cannot be used is named, never guessed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

ACTION_SETS = {
    "control": ("go straight", "move slowly", "stop", "reverse"),
    "turn": ("turn left", "turn right", "turn around", "none"),
    "lane": (
        "change lane to the left", "change lane to the right", "merge into the left lane", "merge into the right lane",
        "none",
    ),
}  # fmt: skip
_THOUGHT = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)


class UnusableAnswer(ValueError):
    """An answer as a whole cannot be used; `reason` is one of empty, truncated, not_json, wrong_shape."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Judgement:
    """What one answer says of one object."""

    risk: float  # [0, 1]
    rank: float  # as given by the teacher, inf = none
    crosses_ego_path: bool | None  # None: not said, or not as true or false
    cause: str


@dataclass(frozen=True)
class RiskAnswer:
    """The usable part of a risk answer, and what was wrong with the rest."""

    judgements: dict[int, Judgement]  # by the object's number
    omitted: tuple[int, ...]  # asked, without a usable judgement
    # invented_id, duplicate_id, nan_risk, risk_out_of_range, bad_entry, bad_crossing
    faults: Counter = field(default_factory=Counter)


def parse_json(text: str, truncated: bool = False) -> dict:
    """The JSON object of an answer; fences, thoughts and words around it are cut away. Raises UnusableAnswer."""
    body = _THOUGHT.sub("", text)
    body = body.rpartition("</think>")[2].strip()  # some chat templates open the thought before the answer begins
    if not body:
        raise UnusableAnswer("truncated" if truncated or "<think>" in text else "empty")
    if "```" in body:
        body = next((part for part in reversed(body.split("```")) if "{" in part), body)
    start = body.find("{")
    if start < 0:
        raise UnusableAnswer("truncated" if truncated else "not_json")
    try:
        value, _ = json.JSONDecoder().raw_decode(body, start)
    except (ValueError, RecursionError):
        open_braces = body.count("{") > body.count("}") or body.count("[") > body.count("]")
        raise UnusableAnswer("truncated" if truncated or open_braces else "not_json") from None
    return value


def storable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can spell and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def parse_risk(text: str, asked: Sequence[int], truncated: bool = False) -> RiskAnswer:
    """Check a risk answer against the numbers that were asked for. Raises UnusableAnswer."""
    entries = parse_json(text, truncated).get("objects")
    if not isinstance(entries, list):
        raise UnusableAnswer("wrong_shape")
    faults: Counter = Counter()
    found: dict[int, Judgement] = {}
    seen = set()
    for entry in entries:
        number = _whole(entry.get("id")) if isinstance(entry, dict) else None
        if number is None:
            faults["bad_entry"] += 1
        elif number not in asked:
            faults["invented_id"] += 1
        elif number in seen:
            faults["duplicate_id"] += 1
        else:
            seen.add(number)
            judgement = _judgement(entry, faults)
            if judgement is not None:
                found[number] = judgement
    return RiskAnswer(found, tuple(n for n in asked if n not in found), faults)


def parse_action(text: str, truncated: bool = False) -> dict[str, str]:
    """Check an action answer: three texts and one action of each set. Raises UnusableAnswer."""
    value = parse_json(text, truncated)
    answer = {}
    for name in ("current_action", "future_action", "reason"):
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise UnusableAnswer("wrong_shape")
        answer[name] = storable(value[name].strip())
    for name, allowed in ACTION_SETS.items():
        chosen = str(value.get(name)).strip().lower()
        if chosen not in allowed:
            raise UnusableAnswer("wrong_shape")
        answer[name] = chosen
    return answer


def _judgement(entry: dict, faults: Counter) -> Judgement | None:
    risk = entry.get("risk")
    if type(risk) not in (int, float):  # a bool is no risk
        faults["bad_entry"] += 1
        return None
    if risk != risk:
        faults["nan_risk"] += 1
        return None
    if not 0.0 <= risk <= 1.0:
        faults["risk_out_of_range"] += 1
        return None
    crosses = entry.get("crosses_ego_path")
    if not isinstance(crosses, bool):
        faults["bad_crossing"] += 1
    rank = _whole(entry.get("rank"))
    given = float(rank) if rank is not None and 0 < rank < 10_000 else math.inf
    return Judgement(float(risk), given, crosses if isinstance(crosses, bool) else None, _cause(entry))


def _cause(entry: dict) -> str:
    cause = entry.get("cause")
    return storable(cause).strip()[:300] if isinstance(cause, str) else ""


def _whole(value: object) -> int | None:
    """An integer, also one written as text; None for anything else."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and value.strip().isdecimal() and len(value) < 19:
        return int(value)
    return None
