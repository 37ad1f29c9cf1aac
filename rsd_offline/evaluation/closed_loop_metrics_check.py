"""Compare computed figures with recorded ones, number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MISSING = "not computed"
# The public script prints successes in the order in which the file system lists its inputs.
UNORDERED = ("merge_route_json/success_routes",)
REMARKS = ("note",)


@dataclass(frozen=True)
class Comparison:
    """One expected value beside the computed one."""

    name: str  # path through the nested mappings, joined by /
    expected: Any
    computed: Any
    error: float  # absolute, inf where the values are no numbers and differ
    passed: bool

    @property
    def group(self) -> str:
        """First part of the name."""
        return self.name.split("/")[0]


def compare(expected: Any, computed: Any, tolerance: float = 1e-5) -> list[Comparison]:
    """A row for every leaf of `expected`; a leaf that was not computed is a miss. Numbers agree within `tolerance`."""
    return list(_walk("", expected, computed, tolerance))


def _walk(name: str, expected: Any, computed: Any, tolerance: float) -> Iterator[Comparison]:
    if isinstance(expected, dict):
        inside = computed if isinstance(computed, dict) else {}
        for key, value in expected.items():
            if key not in REMARKS:
                yield from _walk(f"{name}/{key}".lstrip("/"), value, inside.get(key, MISSING), tolerance)
        if isinstance(computed, dict) and len(computed) > len(expected) and name.endswith("_counts"):
            yield Comparison(f"{name}/(extra)", len(expected), len(computed), math.inf, False)
        return
    if isinstance(expected, list):
        yield from _walk_list(name, expected, computed, tolerance)
        return
    yield _leaf(name, expected, computed, tolerance)


def _walk_list(name: str, expected: list[Any], computed: Any, tolerance: float) -> Iterator[Comparison]:
    inside = list(computed) if isinstance(computed, list | tuple) else []
    yield _leaf(f"{name}/(length)", len(expected), len(inside), 0.0)
    if name in UNORDERED:
        expected, inside = sorted(expected), sorted(inside)
    for index, value in enumerate(expected):
        yield from _walk(f"{name}/{index}", value, inside[index] if index < len(inside) else MISSING, tolerance)


def _leaf(name: str, expected: Any, computed: Any, tolerance: float) -> Comparison:
    if _is_number(expected) and _is_number(computed):
        error = abs(float(expected) - float(computed))
        return Comparison(name, expected, computed, error, error <= tolerance)
    same = type(expected) is type(computed) and expected == computed
    return Comparison(name, expected, computed, 0.0 if same else math.inf, same)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
