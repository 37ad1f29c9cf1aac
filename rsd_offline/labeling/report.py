"""What a label store is worth: rates of failure, agreement, and how much of the risk is no more than distance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsd_offline.labeling.consistency import diff_risk, kendall_tau
from rsd_offline.labeling.costs import Prices
from rsd_offline.labeling.store import LabelStoreError, count_answers, read_table

PARSE_FAULTS = ("empty", "truncated", "not_json", "wrong_shape")
RANGE_BIN = 2.5  # m
# Of 100,000 frames, raw answers and image boxes would fill the memory.
FRAME_COLUMNS = ("frame_id", "kendall_tau")
OBJECT_COLUMNS = ("frame_id", "object_id", "class_name", "box", "risk", "valid", "spread", "weight")


@dataclass(frozen=True)
class StoreColumns:
    """A label store as columns; objects carry the row of their frame."""

    frames: dict[str, list]
    audit: dict[str, list]
    objects: dict[str, list]
    frame_row: np.ndarray  # (objects,) row in `audit`
    risk: np.ndarray  # (objects,) nan = invalid
    position: np.ndarray  # (objects, 2) m, nan = unknown
    about: dict
    answers: int  # that came back, usable or not

    @property
    def distance(self) -> np.ndarray:
        """(objects,) m."""
        return np.linalg.norm(self.position, axis=1)


def read_store(folder: Path) -> StoreColumns:
    """Read a store that `rsd label` wrote. Raises LabelStoreError where there is none."""
    try:
        about = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError) as error:
        raise LabelStoreError(f"{folder} has no readable run.json ({error}): was it written by `rsd label`?") from error
    columns = (("frames", FRAME_COLUMNS), ("audit", None), ("objects", OBJECT_COLUMNS))
    frames, audit, objects = (read_table(folder, kind, wanted).to_pydict() for kind, wanted in columns)
    rows = {frame_id: row for row, frame_id in enumerate(audit["frame_id"])}
    risk = np.array(
        [np.nan if r is None or not v else r for r, v in zip(objects["risk"], objects["valid"], strict=True)]
    )
    position = np.array([(np.nan, np.nan) if b is None else b[:2] for b in objects["box"]], float).reshape(-1, 2)
    frame_row = np.array([rows[f] for f in objects["frame_id"]], int)
    return StoreColumns(frames, audit, objects, frame_row, risk.astype(float), position, about, count_answers(folder))


def figures(store: StoreColumns, others: Mapping[str, StoreColumns] | None = None) -> dict:
    """All figures of the report page; shares in [0, 1], None = there is nothing to say."""
    audit = store.audit
    faults = fault_counts(audit)
    samples, valid = sum(audit["samples"]), np.isfinite(store.risk)
    weight = np.array(store.objects["weight"], float)[valid]
    spread = [s for s, v in zip(store.objects["spread"], store.objects["valid"], strict=True) if v and s is not None]
    prices = Prices(**store.about.get("prices", {}))
    tokens = sum(audit["prompt_tokens"]), sum(audit["completion_tokens"])
    return {
        "teacher": store.about["identity"],
        "frames": len(audit["frame_id"]),
        "status": dict(Counter(audit["status"])),
        "failures": dict(Counter(f.partition(": ")[0] for f in audit["failure"] if f).most_common(20)),
        "objects": len(store.risk),
        "valid_objects": int(valid.sum()),
        "valid_share": _share(int(valid.sum()), len(store.risk)),
        "gated_share": _share(audit["status"].count("gated"), len(audit["status"])),
        "max_diff_risk": json.loads(store.about["identity"]["config"])["max_diff_risk"],
        "requests": sum(audit["requests"]),
        "answers": store.answers,
        **_rates(audit),
        "parse_failure_rate": _share(sum(faults[f] + faults[f"action_{f}"] for f in PARSE_FAULTS), store.answers),
        "inventions_per_sample": _share(faults["invented_id"], samples),
        "faults": dict(faults.most_common()),
        "spread": float(np.mean(spread)) if spread else None,
        "weight": _mean(weight),
        "risk_histogram": _histogram(store.risk),
        "weight_histogram": _histogram(weight),
        "diff_risk_histogram": _histogram(audit["diff_risk"]),
        "kendall_tau": _mean(store.frames["kendall_tau"]),
        "diff_risk": _mean(audit["diff_risk"]),
        "distance_share": distance_share(store.risk, store.distance),
        "position_share": position_share(store.risk, store.position),
        "risk_by_distance": risk_by_distance(store.risk, store.distance),
        "by_class": _by_class(store),
        "by_weather": _by_condition(store, "weather"),
        "by_time_of_day": _by_condition(store, "time_of_day"),
        "brightened_share": _share(sum(audit["brightened"]), sum(seen is not None for seen in audit["luminance"])),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "cost": prices.cost(*tokens),
        "against": {name: compare(store, other) for name, other in (others or {}).items()},
    }


def fault_counts(audit: Mapping[str, list]) -> Counter:
    """Reason -> how often, over all frames."""
    counts: Counter = Counter()
    for entries in audit["faults"]:
        for entry in entries or ():
            reason, _, number = entry.rpartition(":")
            counts[reason] += int(number)
    return counts


def distance_share(risk: np.ndarray, distance: np.ndarray) -> float | None:
    """Share of the variance of the risk that is explained by distance alone; None without variance or data."""
    return explained_share(risk, np.floor(distance / RANGE_BIN))


def position_share(risk: np.ndarray, position: np.ndarray) -> float | None:
    """The same for the place: 5 m of distance, ahead or behind, within 2.5 m of the ego's axis or not."""
    distance = np.linalg.norm(position, axis=1)
    place = np.floor(distance / 5.0) * 4 + (position[:, 0] < 0.0) * 2 + (np.abs(position[:, 1]) > 2.5)
    return explained_share(risk, place)


def explained_share(risk: np.ndarray, groups: np.ndarray) -> float | None:
    """Share of variance between groups (epsilon squared: eta squared less what chance gives), in [0, 1]."""
    usable = np.isfinite(risk) & np.isfinite(groups)
    risk, groups = risk[usable], groups[usable]
    names, at = np.unique(groups, return_inverse=True)
    if len(risk) < len(names) + 20 or risk.var() < 1e-9:
        return None
    sums, counts = np.bincount(at, weights=risk), np.bincount(at)
    within = float(((risk - (sums / counts)[at]) ** 2).sum()) / (len(risk) - len(names))
    total = float(((risk - risk.mean()) ** 2).sum()) / (len(risk) - 1)
    return float(np.clip(1.0 - within / total, 0.0, 1.0))


def risk_by_distance(risk: np.ndarray, distance: np.ndarray) -> list[tuple[float, float, float, int]]:
    """(distance in m, mean risk, standard deviation, objects) per 5 m."""
    usable = np.isfinite(risk) & np.isfinite(distance)
    bins = np.floor(distance[usable] / 5.0)
    found = []
    for number in np.unique(bins):
        inside = risk[usable][bins == number]
        found.append((float(number * 5.0 + 2.5), float(inside.mean()), float(inside.std()), len(inside)))
    return found


def compare(store: StoreColumns, other: StoreColumns) -> dict:
    """Mean Diff_Risk and tau between two stores over the frames and objects that both judge."""
    mine, theirs = _risks_by_frame(store), _risks_by_frame(other)
    shared = [f for f in mine if f in theirs]
    return {
        "frames": len(shared),
        "diff_risk": _mean([diff_risk(mine[f], theirs[f]) for f in shared]),
        "kendall_tau": _mean([kendall_tau(mine[f], theirs[f]) for f in shared]),
    }


def certain_frames(store: StoreColumns, count: int = 20) -> tuple[list[str], list[str]]:
    """The most and the least certain frames by Diff_Risk between samples; of frames with two objects or more."""
    rated = [
        (d, f)
        for f, d, asked in zip(*(store.audit[c] for c in ("frame_id", "diff_risk", "asked")), strict=True)
        if d is not None and asked >= 2
    ]  # fmt: skip
    ordered = [f for _, f in sorted(rated)]
    count = min(count, len(ordered) // 2)
    return ordered[:count], ordered[len(ordered) - count :][::-1]


def _rates(audit: Mapping[str, list]) -> dict:
    """Omissions as shares of the judgements that usable answers owed."""
    owed = sum(a * s for a, s in zip(audit["asked"], audit["samples"], strict=True))
    return {
        "omission_rate_first": _share(sum(audit["omitted_first"]), owed),
        "omission_rate": _share(sum(audit["omitted"]), owed),
    }


def _by_class(store: StoreColumns) -> dict[str, dict]:
    classes = np.array(store.objects["class_name"])
    spread = np.array([np.nan if s is None else s for s in store.objects["spread"]], float)
    table = {}
    for name in sorted(set(store.objects["class_name"])):
        rows = classes == name
        valid = rows & np.isfinite(store.risk)
        table[name] = {
            "objects": int(rows.sum()), "valid": _share(int(valid.sum()), int(rows.sum())),
            "risk": _mean(store.risk[valid]), "spread": _mean(spread[valid & np.isfinite(spread)]),
            "distance_share": distance_share(store.risk[rows], store.distance[rows]),
        }  # fmt: skip
    return table


def _by_condition(store: StoreColumns, column: str) -> dict[str, dict]:
    values = store.audit[column]
    table = {}
    for name in sorted(set(values)):
        rows = [i for i, v in enumerate(values) if v == name]
        audit = {key: [entries[i] for i in rows] for key, entries in store.audit.items()}
        of_objects = np.isin(store.frame_row, rows)
        table[name or "unknown"] = {
            "frames": len(rows), **_rates(audit), "diff_risk": _mean(audit["diff_risk"]),
            "not_ok": _share(sum(s != "ok" for s in audit["status"]), len(rows)),
            "distance_share": distance_share(store.risk[of_objects], store.distance[of_objects]),
        }  # fmt: skip
    return table


def _risks_by_frame(store: StoreColumns) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for frame_id, number, risk in zip(store.objects["frame_id"], store.objects["object_id"], store.risk, strict=True):
        if np.isfinite(risk):
            found.setdefault(frame_id, {})[number] = float(risk)
    return found


def _histogram(values: Sequence[float | None] | np.ndarray, bins: int = 25) -> tuple[list[float], list[int]]:
    """Edges and counts of what is known, from 0 to 1."""
    known = np.array([np.nan if v is None else v for v in values], float)
    counts, edges = np.histogram(known[np.isfinite(known)], bins, (0.0, 1.0))
    return edges.tolist(), counts.tolist()


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: object) -> float | None:
    numbers = [float(v) for v in values if v is not None and np.isfinite(v)]  # type: ignore[attr-defined]
    return float(np.mean(numbers)) if numbers else None
