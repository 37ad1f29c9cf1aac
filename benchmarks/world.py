"""How fast the embedded world draws and steps: six cameras, by resolution and outputs.

    python benchmarks/world.py --out out/world.json

A drive of the expert is recorded first; then every configuration draws the very same snapshots. Prints Hz (median of
the passes, and the fastest pass, which other work on the machine disturbs least) and writes JSON with the hardware's
name and load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import panda3d
from rich.console import Console
from rich.table import Table

from rsd_model.geometry import bench2drive_rig
from rsd_world.expert.expert import Expert
from rsd_world.render.renderer import Renderer
from rsd_world.roads.town import Town
from rsd_world.state import Snapshot
from rsd_world.world import Episode, World

RESOLUTIONS = ("240x136", "400x225", "640x360", "704x256", "1600x900")
OUTPUTS = (("rgb",), ("rgb", "depth"), ("rgb", "depth", "instance"))
TARGET = ("400x225", "rgb", 20.0)  # Hz with 40 actors on two cores


def processor_name() -> str:
    """The CPU as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def record_drive(town: str, weather: str, actors: int, frames: int) -> tuple[Town, list[Snapshot], dict]:
    """Snapshots of an expert's drive with the `actors` nearest the ego kept, and what a simulation step costs."""
    world = World(Episode(town=town, weather=weather, vehicles=actors * 3 // 4, pedestrians=actors // 2))
    expert, snapshots, steps = Expert(world), [], []
    while len(snapshots) < frames and not world.done:
        control = expert.plan().control
        start = time.perf_counter()
        snapshot = world.step(control)
        steps.append(1e3 * (time.perf_counter() - start))
        nearest = sorted(snapshot.actors, key=lambda a: float(np.linalg.norm(a.position - snapshot.ego.position)))
        kept = {"actors": tuple(nearest[:actors])}
        snapshots.append(Snapshot(**{**vars(snapshot), **kept}))
    timing = {
        "median_ms": float(np.median(steps)),
        "p99_ms": float(np.percentile(steps, 99)),
        "actors": len(snapshot.actors),
    }
    return world.town, snapshots, timing


def measure(
    town: Town, snapshots: list[Snapshot], size: tuple[int, int], outputs: tuple[str, ...], passes: int
) -> dict:
    """Hz of one configuration over several passes of the drive."""
    load = os.getloadavg()[0]
    with Renderer(town, bench2drive_rig(*size), outputs) as renderer:
        for snapshot in snapshots[:3]:
            renderer.render(snapshot)
        wall, processor = [], []
        for _ in range(passes):
            start, start_cpu = time.perf_counter(), time.process_time()
            for snapshot in snapshots:
                renderer.render(snapshot)
            wall.append((time.perf_counter() - start) / len(snapshots))
            processor.append((time.process_time() - start_cpu) / len(snapshots))
        driver = renderer.driver
    return {
        "resolution": "{}x{}".format(*size),
        "outputs": "+".join(outputs),
        "hz_median": 1.0 / float(np.median(wall)),
        "hz_best": 1.0 / min(wall),
        "ms_median": 1e3 * float(np.median(wall)),
        "cpu_ms": 1e3 * float(np.median(processor)),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "driver": driver,
    }


def print_table(results: list[dict], simulation: dict, machine: dict) -> None:
    """The table a reader wants."""
    table = Table(
        title=f"six cameras, {machine['actors']} actors, {machine['town']}, {machine['processor']} x {machine['cores']}"
    )
    for column in ("resolution", "outputs", "Hz median", "Hz best", "ms", "CPU ms", "load"):
        table.add_column(column, justify="right" if column not in ("resolution", "outputs") else "left")
    for r in results:
        numbers = (f"{r[k]:.1f}" for k in ("hz_median", "hz_best", "ms_median", "cpu_ms", "load_before"))
        table.add_row(r["resolution"], r["outputs"], *numbers)
    console = Console()
    console.print(table)
    console.print(f"driver: {results[0]['driver']}")
    console.print(
        "one step of the simulation: median {median_ms:.2f} ms, p99 {p99_ms:.2f} ms with {actors} actors".format(
            **simulation
        )
    )
    for r in results:
        if (r["resolution"], r["outputs"]) == TARGET[:2]:
            verdict = "reached" if r["hz_median"] >= TARGET[2] else "missed"
            console.print(
                f"target of {TARGET[2]:.0f} Hz at {TARGET[0]} {TARGET[1]}: {verdict} ({r['hz_median']:.1f} Hz)"
            )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--town", default="alder")
    parser.add_argument("--weather", default="clear")
    parser.add_argument("--actors", type=int, default=40)
    parser.add_argument("--frames", type=int, default=25, help="snapshots drawn in each pass")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--resolutions", nargs="+", default=list(RESOLUTIONS))
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    town, snapshots, simulation = record_drive(arguments.town, arguments.weather, arguments.actors, arguments.frames)
    machine = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "panda3d": panda3d.__version__,
        "town": arguments.town,
        "weather": arguments.weather,
        "actors": len(snapshots[0].actors),
        "frames": len(snapshots),
        "passes": arguments.passes,
    }
    sizes = [tuple(int(v) for v in text.split("x")) for text in arguments.resolutions]
    results = [measure(town, snapshots, size, outputs, arguments.passes) for size in sizes for outputs in OUTPUTS]
    print_table(results, simulation, machine)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(
            json.dumps({"machine": machine, "simulation_step": simulation, "rendering": results}, indent=1)
        )


if __name__ == "__main__":
    main()
