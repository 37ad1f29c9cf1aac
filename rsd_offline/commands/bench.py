"""`rsd bench model`: what the network costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def bench_model_command(
    size: Annotated[str, typer.Option(help="base, tiny, nano, or a model configuration file")] = "base",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1, help="timed forward passes of each measurement")] = 10,
    compiled: Annotated[
        bool | None, typer.Option(help="also measure under torch.compile, minutes; default: where a pass takes < 2 s")
    ] = None,
    compile_limit: Annotated[
        float, typer.Option(min=1.0, help="s; where compiling takes longer the table says so")
    ] = 900.0,
    precisions: Annotated[
        str | None, typer.Option(help="of the whole pass: fp32,bf16,fp16; default: all, on a cpu not fp16")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice")] = 0,
    clock: Annotated[str, typer.Option(help="wall, or process: CPU time alone, where others use the machine")] = "wall",
    out: Annotated[Path | None, typer.Option(help="default benchmarks/results/model_<size>_<hardware>.json")] = None,
) -> None:
    """Parameters, GFLOP, memory and latency by part, eager, traced and compiled, precisions, with and without RiskHead.

    Each precision and each mode adds `--repeats` passes, compiling minutes: --precisions fp32 --no-compiled is least.
    """
    import time

    import torch

    from rsd_model.config import ConfigError
    from rsd_offline.bench.measure import Stopwatch, hardware_name, write_result
    from rsd_offline.bench.model import bench_model

    if threads:
        torch.set_num_threads(threads)
    start = time.monotonic()

    def tell(text: str) -> None:
        typer.echo(f"{time.monotonic() - start:6.1f} s  {text}", err=True)

    try:
        chosen = precisions or ("fp32,bf16,fp16" if device == "cuda" else "fp32,bf16")
        wanted = [p for p in chosen.split(",") if p]
        report = bench_model(size, Stopwatch(device, repeats, clock), compiled, wanted, tell, compile_limit)
    except (ConfigError, ValueError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(2) from None
    print_report(report)
    out = out or Path("benchmarks/results") / f"model_{report['model']}_{hardware_name(device)}.json"
    write_result(out, report)
    typer.echo(f"written: {out}")


def print_report(report: dict[str, Any]) -> None:
    """The report as tables."""
    from rich.console import Console
    from rich.table import Table

    machine, console = report["hardware"], Console(width=110)
    cameras, height, width = report["images"]
    place = machine.get("gpu", f"{machine['cpu']}, {machine['threads']} threads")
    table = Table(title=f"{report['model']} ({cameras} x {width}x{height}, BEV {report['bev']}) on {place}")
    for column in ("part", "parameters", "GFLOP", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, latency in report["latency ms"].items():
        flops, parameters = report["GFLOP"].get(part), report["parameters"].get(part)
        table.add_row(
            part,
            "" if parameters is None else f"{parameters:,}",
            "" if flops is None else f"{flops:.2f}",
            f"{latency['p50']:.2f}",
            f"{latency['p99']:.2f}",
        )
    console.print(table)
    table = Table(title=f"whole forward pass, {report['clock']} clock")
    for column in ("mode", "precision", "p50 ms", "p99 ms", "FPS", "first call s"):
        table.add_column(column, justify="left" if column in ("mode", "precision") else "right")
    for row in report["variants"]:
        p50 = row.get("p50")
        times = (p50, row.get("p99"), None if p50 is None else 1e3 / p50, row.get("first call s"))
        table.add_row(row["mode"], row["precision"], *("" if value is None else f"{value:.2f}" for value in times))
    console.print(table)
    for row in report["variants"]:
        if "failed" in row:
            console.print(f"{row['mode']} {row['precision']}: not measured, it {row['failed']}", markup=False)
    for note in report["notes"]:
        console.print(note)
    memory, risk = report["peak memory MB"], report["RiskHead"]
    console.print(f"peak memory beyond the weights: {'not known here' if memory is None else f'{memory:.0f} MB'}")
    console.print(
        f"RiskHead: {risk['FPS with RiskHead']:.2f} FPS with, {risk['FPS without RiskHead']:.2f} without: "
        f"{risk['added ms']:+.2f} ms, {risk['added share']:+.1%} "
        f"({risk['own share']:.1%} by the time inside it)"
    )
