"""`rsd eval closed-loop`: Bench2Drive's closed-loop figures from recorded results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from rsd_offline.evaluation.closed_loop_metrics import ClosedLoopFigures
    from rsd_offline.evaluation.closed_loop_metrics_check import Comparison


def closed_loop(
    results: Annotated[list[Path], typer.Argument(help="Result JSON files, a folder of them, or one recorded bundle.")],
    routes: Annotated[Path | None, typer.Option(help="Route file (XML): needed for the abilities.")] = None,
    metric_info: Annotated[
        Path | None, typer.Option(help="Folder with <save_name>/metric_info.json: needed for comfort.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Folder with <Town>.xodr: first junctions for Traffic_Signs (needs carla).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
    tolerance: Annotated[float, typer.Option(help="Largest absolute error that passes.")] = 1e-5,
    every: Annotated[bool, typer.Option("--all", help="A row for every number, comfort chunks included.")] = False,
) -> None:
    """Score closed-loop results by Bench2Drive 0.0.4's formulas, as published and corrected.

    A recorded bundle says what the public tools made of its inputs: each number is then checked, and a miss ends with
    exit code 1. Input that cannot be read ends with 2.
    """
    from rich.console import Console

    from rsd_offline.evaluation.closed_loop_metrics import closed_loop_figures
    from rsd_offline.evaluation.closed_loop_metrics_check import compare
    from rsd_offline.evaluation.records import read_results

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    try:
        loaded = read_results(results, routes, metric_info)
        figures = closed_loop_figures(loaded, _junction_lookup(maps))
    except (ValueError, ImportError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        raise typer.Exit(2) from error
    if out:
        content = {"published": figures.published, "corrected": figures.corrected, "notes": figures.notes}
        out.write_text(json.dumps(content, indent=1))
    comparisons = compare(loaded.expected, figures.published, tolerance)
    if comparisons:
        _print_comparisons(console, comparisons, every)
    _print_summary(console, figures)
    if any(not row.passed for row in comparisons):
        raise typer.Exit(1)


def _junction_lookup(maps: Path | None) -> Any:
    if maps is None:
        return None
    from rsd_offline.evaluation.closed_loop_metrics_junctions import junction_lookup

    try:
        import carla  # noqa: F401
    except ImportError as error:
        raise ImportError("--maps needs the carla package: pip install '.[opendrive]'") from error
    return junction_lookup(maps)


def _print_comparisons(console: Console, comparisons: list[Comparison], every: bool) -> None:
    from rich.table import Column, Table

    table = Table(
        Column("number", overflow="fold"), "expected", "computed", "error", "", title="Against the recorded numbers"
    )
    detail = [row for row in comparisons if "/chunks/" in row.name]
    for row in comparisons:
        if every or not row.passed or row not in detail:
            table.add_row(row.name, _text(row.expected), _text(row.computed), _text(row.error), _verdict(row.passed))
    if not every and detail:
        worst = max(row.error for row in detail)
        ok = all(row.passed for row in detail)
        table.add_row(f"comfort chunks, {len(detail)} numbers (--all lists them)", "", "", _text(worst), _verdict(ok))
    console.print(table)
    groups = Table("group", "numbers", "passed", "largest error", title="By group")
    for name in dict.fromkeys(row.group for row in comparisons):
        rows = [row for row in comparisons if row.group == name]
        passed = sum(row.passed for row in rows)
        groups.add_row(name, str(len(rows)), str(passed), _text(max(row.error for row in rows)))
    console.print(groups)


def _print_summary(console: Console, figures: ClosedLoopFigures) -> None:
    from rich.table import Table

    table = Table("figure", "as published (0.0.4)", "corrected", title="Closed loop, Bench2Drive 0.0.4 formulas")
    for name, published, corrected in _summary_rows(figures):
        table.add_row(name, _text(published), _text(corrected))
    console.print(table)
    for note in figures.notes:
        console.print(f"[yellow]note:[/yellow] {note}", highlight=False)


def _summary_rows(figures: ClosedLoopFigures) -> list[tuple[str, Any, Any]]:
    merged, right = figures.published["merge_route_json"], figures.corrected
    motion = figures.published["efficiency_smoothness_benchmark"]
    abilities = figures.published["ability_benchmark"]
    smoothness = motion["driving_smoothness"]
    rows = [
        ("routes", merged["eval num"], right["routes"]),
        ("driving score", merged["driving score"], right["driving_score"]),
        ("success rate, %", 100 * merged["success rate"], 100 * right["success_rate"]),
        ("efficiency, %", motion["driving_efficiency"], right["driving_efficiency"]),
        ("comfort, %", None if smoothness is None else 100 * smoothness, right["comfort_percent"]),
    ]
    broken = any(rate is None for rate in right["abilities"].values())
    for name, rate in right["abilities"].items():
        rows.append((f"{name}, %", _percent(abilities[name]), _percent(rate)))
    mean = _percent(right["mean_ability"])
    return [*rows, ("mean ability, %", None if broken else mean, mean)]


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


def _verdict(passed: bool) -> str:
    return "[green]pass[/green]" if passed else "[red]MISS[/red]"


def _text(value: Any) -> str:
    if value is None:
        return "not available"
    if isinstance(value, float):
        return "differs" if math.isinf(value) else f"{value:.6g}"
    return str(value)
