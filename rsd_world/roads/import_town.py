"""OpenDRIVE to a whole town: lanes, and everything beside the road that the file does not hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsd_world.roads.approaches import junction_approaches
from rsd_world.roads.import_lanes import import_roads
from rsd_world.roads.junction_furniture import controlled_approaches, place_crossings, place_lights, place_stop_signs
from rsd_world.roads.opendrive import read_opendrive
from rsd_world.roads.parking import place_parking
from rsd_world.roads.scenery import STYLES, place_buildings, place_props
from rsd_world.roads.surface import build_surface, road_triangles, sidewalk_paths, sidewalk_quads
from rsd_world.roads.town import Town

SIDEWALK_WIDTH = 3.0  # m


def import_town(path: str | Path, seed: int = 0, style: str = "brick", sidewalk_width: float = SIDEWALK_WIDTH) -> Town:
    """Import an `.xodr`. Same file, same seed: same town.

    Lights and stop signs come from the file's signals, else from the shape of its junctions
    (`controlled_approaches`). Sidewalks follow the edges of the asphalt; buildings, trees and lamps are placed by
    seed. Raises FileNotFoundError, OpenDriveError, or ImportError where the `[opendrive]` extra is missing.
    """
    if style not in STYLES:
        raise ValueError(f"no building style {style!r}; there are {', '.join(STYLES)}")
    source = read_opendrive(path)
    roads = import_roads(source)
    surface = build_surface(roads, sidewalk_width, source.roads_with_sidewalk)
    approaches = junction_approaches(roads.graph)
    lit, stopping = controlled_approaches(source, roads.graph, approaches)
    crossings = place_crossings(approaches, surface, seed)
    rng = np.random.default_rng(seed)
    buildings = place_buildings(surface, STYLES[style], rng)
    return Town(
        name=source.name,
        lanes=roads.graph,
        lights=place_lights(lit, roads.graph, surface),
        stop_signs=place_stop_signs(stopping, surface),
        crossings=crossings,
        sidewalks=sidewalk_paths(surface),
        sidewalk_polygons=sidewalk_quads(surface),
        buildings=buildings,
        props=place_props(surface, buildings, crossings, STYLES[style], rng),
        parking=place_parking(roads.strips, roads.graph, surface.fast_roads),
        road_triangles=road_triangles(surface),
        wide_asphalt=True,
        style=style,
    )
