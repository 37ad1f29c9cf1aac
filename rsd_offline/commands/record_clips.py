"""`rsd record-clips`: expert drives of the embedded world as a Bench2Drive dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def record_clips(
    out: Annotated[Path, typer.Argument(help="folder of the clips; clips that are there already are left")],
    clips: Annotated[int, typer.Option(min=1, help="how many")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="length of a clip at most")] = 20.0,
    town: Annotated[str, typer.Option(help="alder, birch, or the file of an imported town")] = "alder",
    scenario: Annotated[list[str] | None, typer.Option(help="in turn; default: plain driving")] = None,
    weather: Annotated[list[str] | None, typer.Option(help="in turn; default: clear")] = None,
    vehicles: Annotated[int, typer.Option(min=0)] = 30,
    pedestrians: Annotated[int, typer.Option(min=0)] = 20,
    seed: Annotated[int, typer.Option(help="of the first clip; the others count on from it")] = 0,
    width: Annotated[int, typer.Option(min=64, help="px; the height is 9/16 of it, Bench2Drive's own is 1600")] = 1600,
) -> None:
    """Let the expert drive in the embedded world and write what the cameras see as Bench2Drive clips.

    Written are six cameras (JPEG quality 20) with their depth (8-bit metres), annotations and calibration at 10 Hz, and
    the expert's action; in OUT/maps the town's HD map. Not written: LiDAR, radar, semantic images.
    """
    from rsd_model.geometry import bench2drive_rig
    from rsd_offline.datasets.bench2drive_map import write_hd_map
    from rsd_offline.datasets.bench2drive_writer import clip_name, record_clip
    from rsd_world.render.renderer import Renderer
    from rsd_world.world import Episode, World

    scenarios: list[str | None] = list(scenario or [None])
    weathers, renderer = weather or ["clear"], None
    try:
        for k in range(clips):
            world = World(
                Episode(
                    town, route=k, scenario=scenarios[k % len(scenarios)], weather=weathers[k % len(weathers)],
                    seed=seed + k, vehicles=vehicles, pedestrians=pedestrians,
                )
            )  # fmt: skip
            if (out / clip_name(world)).exists():
                typer.echo(f"{out / clip_name(world)} is there already")
                continue
            if renderer is None:
                rig = bench2drive_rig(width, width * 9 // 16)
                renderer = Renderer(world.town, rig, outputs=("rgb", "depth", "instance"))
                typer.echo(str(write_hd_map(out / "maps", world.town)))
            typer.echo(str(record_clip(out, world, renderer, seconds)))
    except (ValueError, OSError, RuntimeError) as error:
        typer.secho(f"rsd record-clips: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
