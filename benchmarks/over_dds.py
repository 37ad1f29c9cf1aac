"""Same episodes driven in one process and over DDS by three ROS 2 nodes: do the scores agree?

    python benchmarks/over_dds.py --routes 10 --out out/over_dds.json

Three drives of each episode. `in process` is that of `rsd eval drive`: the network gets the world's state directly.
`through messages` hands the nodes' messages over by calls in one process (`message_policy.py`); over DDS it has to come
out the same. Between the first two lie last bits (a command is a float32 in its message), and those steer into other
traffic within seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from message_policy import drive_through_messages
from rich.console import Console
from rich.table import Table

from rsd_model.resources import config_path
from rsd_offline.evaluation.drive import DriveConfig, drive_all, evaluation_episodes
from rsd_offline.training.run import progress_bar
from rsd_ros.demo_processes import process_environment
from rsd_world.render.weather import WEATHERS
from rsd_world.scenarios import scenario_catalogue
from rsd_world.score.episode_score import score_episode
from rsd_world.world import Episode

FIGURES = ("in_process", "through_messages", "over_dds", "real_time_factor")


def drive_over_dds(episode: Episode, weights: Path, folder: Path) -> dict[str, Any]:
    """One episode by the demo's processes; returns the world's closing report."""
    options = {
        "town": episode.town, "route": episode.route, "seed": episode.seed, "weather": episode.weather,
        "scenario": episode.scenario or "", "vehicles": episode.vehicles, "pedestrians": episode.pedestrians,
        "weights": weights, "out": folder,
    }  # fmt: skip
    words = [f"--{key}={value}" for key, value in options.items() if value != ""]
    command = [sys.executable, "-m", "rsd_ros.demo", "--no-record", *words]
    done = subprocess.run(command, env=process_environment(), capture_output=True, text=True, check=False)
    reports = sorted(folder.glob("*/metrics.json"))
    if not reports:
        raise RuntimeError(f"the demo wrote no metrics.json (exit code {done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(reports[-1].read_text())


def score_through_messages(episode: Episode, weights: Path) -> float:
    """Driving score of the nodes' code in one process."""
    return score_episode(drive_through_messages(episode, weights=str(weights))[0].record()).driving_score


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of all drives: their scores, and the real-time factor over DDS."""
    weights = options.weights or config_path("weights/nano.safetensors")
    names = [info.name for info in scenario_catalogue()] if options.scenarios else []
    episodes = evaluation_episodes(options.town, options.routes, options.seed, names, list(WEATHERS))
    rows, inside = [], {}
    with progress_bar() as progress:
        task = progress.add_task("in process", total=3 * len(episodes), text="")
        for result in drive_all(DriveConfig(weights=str(weights)), episodes, workers=2):
            inside[result.episode] = result.score.driving_score
            progress.update(task, advance=1, text=result.outcome)
        for episode in episodes:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:  # gone before the next drive
                passed = alone.submit(score_through_messages, episode, weights).result()
            progress.update(task, description="through messages, over DDS", advance=1)
            with tempfile.TemporaryDirectory() as folder:
                outside = drive_over_dds(episode, weights, Path(folder))
            row = {
                "route": episode.route, "scenario": episode.scenario or "-", "weather": episode.weather,
                "in_process": inside[episode], "through_messages": passed,
                "over_dds": outside["world"]["score"]["driving_score"],
                "real_time_factor": outside["real_time_factor"],
            }  # fmt: skip
            rows.append(row)
            text = f"route {episode.route}: " + ", ".join(f"{row[key]:.2f} {key}" for key in FIGURES)
            progress.update(task, advance=1, text=text)
            if not progress.console.is_terminal:
                progress.console.print(text)
    return rows


def main() -> None:
    """Drive, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routes", type=int, default=10)
    parser.add_argument("--town", default="birch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", action="store_true", help="one scenario a drive")
    parser.add_argument("--weights", type=Path, default=None, help="default: the shipped nano weights")
    parser.add_argument("--out", type=Path, default=Path("out/over_dds.json"))
    options = parser.parse_args()
    rows = compare(options)
    means = {key: sum(row[key] for row in rows) / len(rows) for key in FIGURES}
    table = Table("route", "scenario", "weather", "in process", "through messages", "over DDS", "real-time factor")
    for row in [*rows, {"route": "mean", "scenario": "", "weather": "", **means}]:
        scores = (f"{row[key]:.1f}" for key in FIGURES[:3])
        table.add_row(str(row["route"]), row["scenario"], row["weather"], *scores, f"{row['real_time_factor']:.2f}")
    Console().print(table)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "means": means, "routes": rows}, indent=1))


if __name__ == "__main__":
    main()
