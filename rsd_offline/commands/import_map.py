"""`rsd import-map`: any OpenDRIVE town for the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_map(
    source: Annotated[Path, typer.Argument(help="OpenDRIVE file, for example Town03.xodr.")],
    out: Annotated[
        Path | None, typer.Option(help="Map file to write; default: beside the source, ending in .npz.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the town from above into this image file.")] = None,
    seed: Annotated[int, typer.Option(help="Decides where buildings, trees and mid-block crossings stand.")] = 0,
    style: Annotated[str, typer.Option(help="Look of the buildings: brick or stucco.")] = "brick",
    sidewalk_width: Annotated[float, typer.Option(min=1.0, max=6.0, help="Metres.")] = 3.0,
) -> None:
    """Import an OpenDRIVE town, so that the embedded world can drive in it (town=PATH.npz).

    Lanes, links, markings, lane changes and speed limits come from the file, read by CARLA's own offline map (extra
    [opendrive]). Traffic lights and stop signs come from the file's signals. A file without any gets lights at
    junctions of four or more approaches and a stop sign on the stem of every T junction. What such a file does not
    hold is derived: sidewalks follow the edge of the asphalt, crossings lie before junctions and on long streets,
    parking spots lie on parking lanes (or wide shoulders), buildings, trees and lamps are placed by seed beside the
    roads, never on a lane. Roads above 23 m/s (83 km/h) get neither sidewalks nor crossings nor parking.
    """
    from rsd_world.roads.import_town import import_town
    from rsd_world.roads.town_storage import save_town

    target = out or source.with_suffix(".npz")
    try:
        town = import_town(source, seed, style, sidewalk_width)
        save_town(town, target)
    except (ValueError, OSError, ImportError) as error:
        typer.secho(f"import-map: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    if picture is not None:
        from rsd_world.roads.plot import plot_town

        plot_town(town, picture)
    lanes = town.lanes.lanes
    junctions = len({lane.junction for lane in lanes} - {-1})
    kilometres = sum(lane.length for lane in lanes) / 1000.0
    typer.echo(
        f"{town.name}: {len(lanes)} lanes, {kilometres:.1f} km, {junctions} junctions, "
        f"{len(town.lights)} lights, {len(town.stop_signs)} stop signs, {len(town.crossings)} crossings, "
        f"{len(town.buildings)} buildings, {len(town.parking)} parking spots -> {target}"
    )
