"""Where the time of the demo goes: world, transport and planner, stage by stage, with the real-time factor.

    python benchmarks/demo.py --seconds 30 --repeats 3 --out out/demo_benchmark.json

Every repeat is a demo of its own (three processes over DDS, recording, no display) of the same drive. The world's
stages come from its diagnostics, the planner's from its status; each figure is the median over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mcap_ros2.reader import read_ros2_messages
from rich.console import Console
from rich.table import Table

WORLD_STAGES = ("render", "publish", "wait", "step")
TARGET = 1.0  # real-time factor of the whole demo on two cores


def processor_name() -> str:
    """The CPU as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def world_stages(recording: Path) -> dict[str, float]:
    """Median milliseconds of a tick's stages, by the world's diagnostics (a sample a second)."""
    samples: dict[str, list[float]] = {name: [] for name in WORLD_STAGES}
    for record in read_ros2_messages(recording, topics=["/diagnostics"]):
        for status in record.ros_msg.status:
            values = {value.key: value.value for value in status.values}
            if status.name == "rsd/world: control" and set(WORLD_STAGES) <= set(values):
                for name in WORLD_STAGES:
                    samples[name].append(float(values[name]))
    return {name: float(np.median(found)) for name, found in samples.items() if found}


def drive_once(arguments: argparse.Namespace, folder: Path) -> dict:
    """One demo; raises SystemExit with its output where it broke."""
    command = [
        sys.executable, "-m", "rsd_ros.demo", "--duration", str(arguments.seconds), "--town", arguments.town,
        "--route", str(arguments.route), "--weights", arguments.weights, "--device", arguments.device,
        "--rig", arguments.rig, "--out", str(folder),
    ]  # fmt: skip
    load = os.getloadavg()[0]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = list(folder.glob("*/metrics.json"))
    metrics = json.loads(found[0].read_text()) if found else {}
    if run.returncode not in (0, 1) or not metrics.get("milliseconds"):
        raise SystemExit(f"the demo broke (exit code {run.returncode}):\n{run.stdout}")
    return {
        "real_time_factor": metrics["real_time_factor"],
        "wall_seconds": metrics["wall_seconds"],
        "plans": metrics["plans"],
        "world_ms": world_stages(found[0].parent / "drive.mcap"),
        "planner_ms": {name: values["median"] for name, values in metrics["milliseconds"].items()},
        "planner_p99_ms": metrics["milliseconds"]["total"]["p99"],
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }


def medians(runs: list[dict], key: str) -> dict[str, float]:
    """Median over the runs of each stage."""
    names = dict.fromkeys(name for run in runs for name in run[key])
    return {name: float(np.median([run[key][name] for run in runs if name in run[key]])) for name in names}


def print_table(runs: list[dict], machine: dict) -> None:
    """The table a reader wants."""
    table = Table(title=f"the demo on {machine['processor']} x {machine['cores']}, {machine['options']['rig']}")
    for column in ("process", "stage", "ms"):
        table.add_column(column, justify="right" if column == "ms" else "left")
    for process, key in (("world", "world_ms"), ("planner", "planner_ms")):
        for name, value in medians(runs, key).items():
            table.add_row(process, name, f"{value:.1f}")
    console = Console()
    console.print(table)
    console.print("The world's `wait` is the planner, the controller and the transport; its other stages come on top.")
    factors = sorted(run["real_time_factor"] for run in runs)
    median = float(np.median(factors))
    loads = ", ".join(f"{run['load_before']:.1f}" for run in runs)
    verdict = "reached" if median >= TARGET else "missed"
    console.print(
        f"real-time factor: median {median:.2f}, {factors[0]:.2f} to {factors[-1]:.2f} in {len(runs)} drives; "
        f"target of {TARGET:.1f} {verdict}; load before each: {loads}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated, per drive [30]")
    parser.add_argument("--repeats", type=int, default=3, help="drives [3]")
    parser.add_argument("--town", default="birch")
    parser.add_argument("--route", type=int, default=0)
    parser.add_argument("--rig", default="400x225")
    parser.add_argument("--weights", default="", help="as the demo's; random: an untrained network, same cost")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=None, help="JSON with all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [drive_once(arguments, Path(folder) / str(number)) for number in range(arguments.repeats)]
    options = {key: value for key, value in vars(arguments).items() if key != "out"}
    machine = {
        "processor": processor_name(), "cores": os.cpu_count(), "system": platform.platform(), "options": options
    }  # fmt: skip
    print_table(runs, machine)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        summary = {key: medians(runs, key) for key in ("world_ms", "planner_ms")}
        summary["real_time_factor"] = float(np.median([run["real_time_factor"] for run in runs]))
        arguments.out.write_text(json.dumps({"machine": machine, "median": summary, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
