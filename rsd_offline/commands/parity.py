"""`rsd parity`: the Planner against recorded outputs of the public VAD."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsd_model.checkpoints.golden import GoldenFile, Row


def parity(
    file: Annotated[Path, typer.Argument(help="Recorded frames (f0/...) or loss terms (loss/..., plan/...), .npz.")],
    seed: Annotated[int, typer.Option(help="Seed that the recorded weights were drawn with.")] = 0,
    frames: Annotated[
        Path | None, typer.Option(help="Recorded frames that loss terms belong to; default: the only ones beside FILE.")
    ] = None,
    bev: Annotated[str | None, typer.Option(help="ROWSxCOLUMNS of the BEV; default: found from the recording.")] = None,
    tolerance: Annotated[float, typer.Option(help="Largest relative error of a tensor that passes.")] = 1e-4,
    image_seed: Annotated[
        int | None, typer.Option(help="Seed that the images were drawn with; default: found from the recording.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Do not look whether rounding explains what is beyond the tolerance.")
    ] = False,
) -> None:
    """Compute every tensor recorded in FILE and compare: a row each, exit status 1 when one is off.

    Image size, BEV size, cameras, depth, number of frames and rig are read from FILE. What is beyond the tolerance is
    computed again, disturbed by as much as rounding does: if that moves it as far, it agrees, and its row says so.
    """
    from rsd_model.checkpoints.golden import GoldenError, GoldenFile

    try:
        golden = GoldenFile(file)
        failed = _print_rows(_rows(golden, seed, frames, bev, tolerance, image_seed, strict))
    except GoldenError as error:
        typer.secho(f"parity: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    if failed:
        raise typer.Exit(1)


def _rows(
    golden: GoldenFile,
    seed: int,
    frames: Path | None,
    bev: str | None,
    tolerance: float,
    image_seed: int | None,
    strict: bool,
) -> Iterator[Row]:
    from rsd_model.checkpoints.golden import GoldenError
    from rsd_model.checkpoints.loss_parity import loss_rows
    from rsd_model.checkpoints.parity import ParityRun

    if not golden.frames and not golden.has_losses:
        raise GoldenError(f"{golden.path}: holds neither frames (f0/...) nor loss terms (loss/..., plan/...)")
    if golden.frames:
        run = ParityRun(golden, seed, _bev_size(bev), image_seed)
        typer.echo(f"{golden.path}: {run.describe()}")
        yield from run.rows(tolerance, strict)
    if golden.has_losses:
        yield from loss_rows(golden, frames, seed, tolerance, strict)


def _bev_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdigit() and columns.isdigit()):
        raise typer.BadParameter(f"{text!r}: expected ROWSxCOLUMNS, for example 20x20", param_hint="--bev")
    return int(rows), int(columns)


def _print_rows(rows: Iterator[Row]) -> int:
    """Print a row each and the largest error of each group; returns how many are off."""
    from rsd_model.checkpoints.public_tensors import layer_group

    worst: dict[str, float] = {}
    count = failed = rounded = 0
    for row in rows:
        verdict = "pass" if row.passed else "MISS"
        shape = "x".join(map(str, row.shape)) or "scalar"
        typer.echo(f"{verdict}  {row.error:9.2e}  {row.name:32s} {shape}{'  ' + row.note if row.note else ''}")
        group = layer_group(row.name)
        worst[group] = max(worst.get(group, 0.0), row.error)
        count, failed, rounded = count + 1, failed + (not row.passed), rounded + row.by_rounding
    typer.echo("\nlargest relative error by group")
    for group, error in worst.items():
        typer.echo(f"  {group:16s} {error:9.2e}")
    typer.echo(f"{count - failed} of {count} tensors agree" + (f", {rounded} within rounding" if rounded else ""))
    if count == 0:
        typer.secho("parity: nothing was compared", fg="red", err=True)
        return 1
    return failed
