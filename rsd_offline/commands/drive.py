"""`rsd eval drive`: closed-loop drives in the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def drive(
    policy: Annotated[str, typer.Option(help="student, expert or constant (blind route follower)")] = "student",
    weights: Annotated[Path | None, typer.Option(help="safetensors of the student [shipped nano]")] = None,
    town: Annotated[str, typer.Option(help="town name or imported .npz")] = "birch",
    routes: Annotated[int, typer.Option(help="number of drives")] = 50,
    seed: Annotated[int, typer.Option(help="picks routes, traffic and places of the scenarios")] = 1,
    scenarios: Annotated[bool, typer.Option(help="one scenario a drive, all in turn; else plain driving")] = False,
    weather: Annotated[list[str] | None, typer.Option(help="weathers in turn; default all six")] = None,
    plan_every: Annotated[int, typer.Option(help="simulation ticks between two plans")] = 1,
    emergency_brake: Annotated[bool, typer.Option(help="brake fully before a contact, as the planner node")] = True,
    stop_signs: Annotated[bool, typer.Option(help="halt before each perceived stop line, as the planner node")] = True,
    workers: Annotated[int, typer.Option(help="processes")] = 2,
    out: Annotated[Path | None, typer.Option(help="write the report as JSON, anew after each drive")] = None,
    resume: Annotated[bool, typer.Option(help="keep the drives that OUT holds already")] = False,
) -> None:
    """Drive many routes in this process and print Bench2Drive's scores: results in the embedded world, not in CARLA."""
    from rsd_model.resources import config_path
    from rsd_offline.evaluation.drive import (
        DriveConfig,
        ReportError,
        drive_all,
        driven_before,
        evaluation_episodes,
        write_report,
    )
    from rsd_offline.training.run import progress_bar
    from rsd_world.render.weather import WEATHERS
    from rsd_world.scenarios import scenario_catalogue
    from rsd_world.score.episode_score import aggregate

    if resume and out is None:
        raise typer.BadParameter("give the report to go on with as --out", param_hint="--resume")
    if policy == "student" and weights is None:
        weights = config_path("weights/nano.safetensors")
    config = DriveConfig(
        policy, str(weights or ""), plan_every=plan_every, emergency_brake=emergency_brake, stop_signs=stop_signs
    )
    names = [info.name for info in scenario_catalogue()] if scenarios else []
    episodes = evaluation_episodes(town, routes, seed, names, weather or list(WEATHERS))
    try:
        results = driven_before(out, config, episodes) if resume and out is not None else []
    except ReportError as error:
        typer.secho(f"eval drive: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    driven = {result.episode for result in results}
    missing = [episode for episode in episodes if episode not in driven]
    with progress_bar() as progress:
        task = progress.add_task(f"{policy} in {town}", total=len(episodes), completed=len(results), text="")
        for result in drive_all(config, missing, workers):
            results.append(result)
            mean = sum(r.score.driving_score for r in results) / len(results)
            wins = sum(r.score.success for r in results)
            text = f"success {wins}/{len(results)}, driving score {mean:.1f}"
            progress.update(task, advance=1, text=text)
            if not progress.console.is_terminal:
                progress.console.print(f"{len(results)} of {len(episodes)} drives: {result.outcome}; so far {text}")
            if out is not None:  # what is driven is kept where the rest is cut off
                write_report(out, config, results, aggregate([r.score for r in results]))
    _print_table(f"{policy} in {town}", aggregate([r.score for r in results]))


def _print_table(driven: str, summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", title=f"{driven}: {summary['drives']} drives ({summary['version']})")
    for key in ("driving_score", "route_completion", "success_rate", "collision_rate", "efficiency", "comfort"):
        table.add_row(key.replace("_", " "), "n/a" if summary[key] is None else f"{summary[key]:.3f}")
    for name, row in summary["scenarios"].items():
        table.add_row(name, f"{row['success']}/{row['total']}, driving score {row['driving_score']:.1f}")
    Console().print(table)
