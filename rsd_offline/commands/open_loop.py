"""`rsd eval open-loop`: what the network sees, judges and plans while the expert drives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer


def open_loop(
    weights: Annotated[Path | None, typer.Option(help="safetensors of the network [shipped nano]")] = None,
    town: Annotated[str, typer.Option(help="town name or imported .npz")] = "birch",
    routes: Annotated[int, typer.Option(min=1, help="number of drives of the expert")] = 12,
    seed: Annotated[int, typer.Option(help="picks routes, traffic and places of the scenarios")] = 1,
    seconds: Annotated[float, typer.Option(min=1.0, help="of each drive, at most")] = 60.0,
    scenarios: Annotated[bool, typer.Option(help="one scenario a drive, all in turn; else plain driving")] = False,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="of a detection")] = 0.3,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    out: Annotated[Path | None, typer.Option(help="also write the figures as JSON")] = None,
) -> None:
    """Plan error, detections and risk against the embedded world's truth, one frame every 0.5 s of expert drives.

    Plan: m from the expert's plan. Detections: matched within 2 m whatever class they are given, of objects that a
    camera sees. Risk: against the privileged teacher; Diff_Risk as in docs/labels.md, 0 is best; Kendall's tau within
    each frame, 1 is best.
    """
    from rsd_model.resources import config_path
    from rsd_offline.bench.measure import write_result
    from rsd_offline.evaluation.drive import evaluation_episodes
    from rsd_offline.evaluation.open_loop import FrameScore, OpenLoopConfig, summary, watch_all
    from rsd_offline.training.run import progress_bar
    from rsd_world.render.weather import WEATHERS
    from rsd_world.scenarios import scenario_catalogue

    config = OpenLoopConfig(str(weights or config_path("weights/nano.safetensors")), device, min_score, seconds)
    names = [info.name for info in scenario_catalogue()] if scenarios else []
    episodes = evaluation_episodes(town, routes, seed, names, list(WEATHERS))
    frames: list[FrameScore] = []
    with progress_bar() as progress:
        task = progress.add_task(f"expert in {town}", total=len(episodes), text="")
        for scored in watch_all(config, episodes, workers):
            frames += scored
            progress.update(task, advance=1, text=f"{len(frames)} frames")
    found = {"drives": routes, **summary(frames)}
    _print(found, town)
    if out is not None:
        write_result(out, {"config": asdict(config), "town": town, "seed": seed, **found})
        typer.echo(f"written: {out}")


def _print(found: dict[str, Any], town: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console, title = Console(), f"{town}: {found['frames']} frames of {found['drives']} drives"
    errors = "   ".join(f"{key} {value:.2f} m" for key, value in found["plan error m"].items())
    console.print(f"{title}; plan error: {errors}", soft_wrap=True)
    kinds = list(found["objects"].values())
    table = Table("objects", *kinds[0], title="detections")
    for name, row in found["objects"].items():
        table.add_row(name, *(_number(value) for value in row.values()))
    console.print(table)
    risk = dict(found["risk"])
    rows = risk.pop("by risk")
    table = Table(*rows[0], title="risk of the objects")
    for row in rows:
        low, high = row["teacher"]
        table.add_row(f"{low:g} to {high:g}", *(_number(value) for key, value in row.items() if key != "teacher"))
    console.print(table)
    console.print("   ".join(f"{key}: {_number(value)}" for key, value in risk.items()), soft_wrap=True)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
