"""A whole town in one `.npz`: the lane graph's arrays and those of all that stands beside the road."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.storage import (
    MapFileError,
    field,
    lanes_from_arrays,
    lanes_to_arrays,
    pack_ragged,
    read_arrays,
    unpack_ragged,
    write_arrays,
)
from rsd_world.roads.town import Building, Crossing, ParkingSpot, Prop, StopSign, Town, TrafficLight

_FURNITURE: dict[str, tuple[str, type]] = {
    "lights": ("light", TrafficLight), "stop_signs": ("stop_sign", StopSign), "crossings": ("crossing", Crossing),
    "buildings": ("building", Building), "props": ("prop", Prop), "parking": ("parking", ParkingSpot),
}  # fmt: skip
_POLYLINES = {"sidewalks": "sidewalk", "sidewalk_polygons": "sidewalk_polygon"}


def save_town(town: Town, path: str | Path) -> None:
    """Write one compressed `.npz` that loads without pickling."""
    arrays = lanes_to_arrays(town.lanes.lanes)
    arrays |= {
        "town_name": np.array(town.name),
        "town_style": np.array(town.style),
        "road_triangles": town.road_triangles,
        "wide_asphalt": np.array(town.wide_asphalt),
    }
    for attribute, (prefix, kind) in _FURNITURE.items():
        arrays |= _pack(prefix, kind, getattr(town, attribute))
    for attribute, prefix in _POLYLINES.items():
        arrays |= pack_ragged(prefix, getattr(town, attribute), 3, np.float64)
    write_arrays(path, arrays)


def read_town(path: str | Path) -> Town:
    """Read and check a town; raises FileNotFoundError, or MapFileError that names the file, field and value."""
    arrays, source = read_arrays(path), str(path)
    graph = LaneGraph(lanes_from_arrays(arrays, source))
    parts: dict[str, Any] = {name: _unpack(arrays, *kind, source) for name, kind in _FURNITURE.items()}
    parts |= {name: tuple(unpack_ragged(arrays, prefix, source)) for name, prefix in _POLYLINES.items()}
    parts["road_triangles"] = field(arrays, "road_triangles", source).reshape(-1, 3, 3)
    _check_lane_links(parts, len(graph.lanes), source)
    return Town(
        name=str(field(arrays, "town_name", source)),
        lanes=graph,
        style=str(field(arrays, "town_style", source)),
        wide_asphalt=bool(arrays.get("wide_asphalt", False)),
        **parts,
    )


def _pack(prefix: str, kind: type, items: Sequence[Any]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for entry in fields(kind):
        values = [getattr(item, entry.name) for item in items]
        name = f"{prefix}_{entry.name}"
        if entry.name == "lanes":
            arrays |= pack_ragged(name, [np.array(value) for value in values], 1, np.int32)
        elif entry.type == "np.ndarray" or entry.name == "size":
            arrays[name] = np.array(values, np.float64).reshape(-1, 3)
        else:
            arrays[name] = np.array(values, {"int": np.int32, "float": np.float64, "str": np.str_}[str(entry.type)])
    return arrays


def _unpack(arrays: Mapping[str, np.ndarray], prefix: str, kind: type, source: str) -> tuple[Any, ...]:
    columns: dict[str, list[Any]] = {}
    for entry in fields(kind):
        name = f"{prefix}_{entry.name}"
        if entry.name == "lanes":
            columns[entry.name] = [tuple(part.tolist()) for part in unpack_ragged(arrays, name, source)]
        elif entry.type == "np.ndarray":
            columns[entry.name] = list(field(arrays, name, source))
        elif entry.name == "size":
            columns[entry.name] = [tuple(size) for size in field(arrays, name, source).tolist()]
        else:
            columns[entry.name] = field(arrays, name, source).tolist()
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise MapFileError(
            f"{source}: the fields {prefix}_* differ in length ({sorted(lengths)}); import the map again"
        )
    return tuple(kind(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


def _check_lane_links(parts: Mapping[str, Any], lanes: int, source: str) -> None:
    linked = [(item, lane) for name in ("lights", "stop_signs") for item in parts[name] for lane in item.lanes]
    linked += [(spot, spot.lane) for spot in parts["parking"]]
    for item, lane in linked:
        if not 0 <= lane < lanes:
            raise MapFileError(
                f"{source}: a {type(item).__name__} names lane {lane}, but there are {lanes}; import the map again"
            )
