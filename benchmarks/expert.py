"""How well the privileged expert drives the embedded world, and what a plan costs. No rendering.

    python benchmarks/expert.py --towns alder birch --routes 50 --out out/expert.json

Prints a table per scenario and writes JSON with every drive, so that a failure can be driven again by its episode.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rsd_world.expert.expert import Expert
from rsd_world.scenarios import scenario_catalogue
from rsd_world.score.episode_score import EpisodeScore, aggregate, score_episode
from rsd_world.world import Episode, World

WEATHERS = ("clear", "overcast", "rain", "fog", "dusk", "night")


def drive(episode: Episode) -> tuple[EpisodeScore, dict]:
    """One drive of the expert and what it was like."""
    world = World(episode)
    expert = Expert(world)
    milliseconds = []
    while not world.done:
        start = time.perf_counter()
        plan = expert.plan()
        milliseconds.append(1e3 * (time.perf_counter() - start))
        world.step(plan.control)
    score = score_episode(world)
    drive_report = {
        "episode": asdict(episode),
        "outcome": world.outcome,
        "seconds": world.time,
        "completion": world.progress,
        "driving_score": score.driving_score,
        "success": score.success,
        "collided": score.collided,
        "last_reason": plan.reason,
        "infractions": [
            f"{i.time:.1f} s {i.kind.value}: {i.detail}" for i in world.infractions if i.percentage is None
        ],
        "plan_ms": [float(np.mean(milliseconds)), float(np.percentile(milliseconds, 99))],
    }
    return score, drive_report


def episodes(towns: list[str], routes: int, scenarios: list[str | None], seed: int) -> list[Episode]:
    """`routes` drives per town, taking the scenarios in turn; None is plain driving."""
    return [
        Episode(
            town=town,
            route=k // len(scenarios),
            scenario=scenarios[k % len(scenarios)],
            weather=WEATHERS[k % len(WEATHERS)],
            seed=seed + k,
        )
        for town in towns
        for k in range(routes)
    ]


def _safely(episode: Episode) -> tuple[EpisodeScore | None, dict]:
    try:
        return drive(episode)
    except ValueError as error:  # a scenario without a place in this town
        return None, {"episode": asdict(episode), "error": str(error)}


def print_drive(score: EpisodeScore | None, report: dict) -> None:
    """One line per drive, as it ends."""
    e = report["episode"]
    name = f"{e['town']} {e['scenario'] or 'plain'} route {e['route']} seed {e['seed']}"
    if score is None:
        print(f"not driven: {name}: {report['error']}", flush=True)
        return
    verdict = (
        "ok" if score.success else f"{report['outcome']} {100 * report['completion']:.0f} % {report['infractions']}"
    )
    print(f"{name}: {report['seconds']:.0f} s {verdict} ({report['last_reason']})", flush=True)


def print_table(scores: list[EpisodeScore], reports: list[dict]) -> None:
    """Per town and per scenario: drives, finished without a collision, successes, collided, blocked, driving score."""
    print(f"{'':34s} drives  finished clean  success  collided  blocked  driving score")
    drives = list(zip(scores, reports, strict=True))
    groups = {"town": lambda d: d[1]["episode"]["town"], "scenario": lambda d: d[0].scenario, "all": lambda d: "all"}
    for key in groups.values():
        for name in sorted({key(drive) for drive in drives}):
            print_row(name, [drive for drive in drives if key(drive) == name])
    mean, worst = np.mean([r["plan_ms"][0] for r in reports]), np.max([r["plan_ms"][1] for r in reports])
    print(f"plan(): mean {mean:.2f} ms, p99 of the slowest drive {worst:.2f} ms")


def print_row(name: str, drives: list[tuple[EpisodeScore, dict]]) -> None:
    """One line of the table; finished clean: the whole route, and no collision."""
    clean = sum(r["outcome"] == "completed" and not s.collided for s, r in drives)
    success, collided = sum(s.success for s, _ in drives), sum(s.collided for s, _ in drives)
    blocked = sum(r["outcome"] == "blocked" for _, r in drives)
    score = np.mean([s.driving_score for s, _ in drives])
    print(f"{name:34s} {len(drives):6d} {clean:15d} {success:8d} {collided:9d} {blocked:8d} {score:14.1f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towns", nargs="+", default=["alder", "birch"])
    parser.add_argument("--routes", type=int, default=50, help="drives per town")
    parser.add_argument("--scenarios", nargs="*", default=None, help="names; 'plain' for none; default: plain and all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    names = arguments.scenarios or ["plain", *(info.name for info in scenario_catalogue())]
    chosen = [None if name == "plain" else name for name in names]
    todo = episodes(arguments.towns, arguments.routes, chosen, arguments.seed)
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        results = []
        for score, report in pool.imap_unordered(_safely, todo):
            results.append((score, report))
            print_drive(score, report)
    scores = [score for score, _ in results if score is not None]
    reports = [report for score, report in results if score is not None]
    print_table(scores, reports)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table = aggregate(scores) | {"machine": platform.processor() or platform.machine(), "drives_in_detail": reports}
        arguments.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
