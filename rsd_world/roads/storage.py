"""Lane graphs and towns as `.npz` arrays without pickling, checked when read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import Lane

FORMAT_VERSION = 1
MARKINGS = ("Broken", "Solid", "SolidSolid", "None")
_SCALARS = {
    "left": np.int32, "right": np.int32, "opposite": np.int32, "left_marking": np.str_, "right_marking": np.str_,
    "left_change": np.bool_, "right_change": np.bool_, "junction": np.int32, "turn": np.int32,
    "speed_limit": np.float64, "road": np.int64, "opendrive_lane": np.int32,
}  # fmt: skip


class MapFileError(ValueError):
    """A map file that cannot be used; the message names the file, the field and what is wrong."""


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one compressed `.npz` at exactly `path`."""
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, format_version=np.array(FORMAT_VERSION), **arrays)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz`; raises FileNotFoundError or MapFileError."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"map file {path} does not exist; `rsd import-map TOWN.xodr --out {path}` makes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise MapFileError(f"map file {path} is not a readable .npz ({error}); import it again") from error
    version = int(arrays.get("format_version", np.array(-1)))
    if version != FORMAT_VERSION:
        raise MapFileError(
            f"map file {path} has format {version}, this program reads {FORMAT_VERSION}; import it again"
        )
    return arrays


def pack_ragged(name: str, parts: Sequence[np.ndarray], width: int, dtype: type) -> dict[str, np.ndarray]:
    """Sequences of different length as one array `name` and its (N + 1,) offsets `name_offsets`."""
    shape: tuple[int, ...] = (-1, width) if width > 1 else (-1,)
    flat: list[np.ndarray] = [np.asarray(part, dtype).reshape(shape) for part in parts]
    empty: np.ndarray = np.zeros((0, width) if width > 1 else (0,), dtype)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in flat])]).astype(np.int64)
    return {name: np.concatenate([empty, *flat]), f"{name}_offsets": offsets}


def unpack_ragged(arrays: Mapping[str, np.ndarray], name: str, source: str) -> list[np.ndarray]:
    """The parts of `pack_ragged`."""
    values, offsets = field(arrays, name, source), field(arrays, f"{name}_offsets", source)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise MapFileError(f"{source}: {name}_offsets do not cut {name} of length {len(values)}; import the map again")
    return [values[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def field(arrays: Mapping[str, np.ndarray], name: str, source: str) -> np.ndarray:
    """One array; raises MapFileError where it is missing or holds values that are not finite."""
    if name not in arrays:
        raise MapFileError(f"{source}: field {name!r} is missing; import the map again")
    value = arrays[name]
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise MapFileError(f"{source}: field {name!r} holds values that are not finite; import the map again")
    return value


def lanes_to_arrays(lanes: Sequence[Lane]) -> dict[str, np.ndarray]:
    """Lanes as flat arrays, names prefixed `lane_`."""
    arrays: dict[str, np.ndarray] = {
        f"lane_{name}": np.array([getattr(lane, name) for lane in lanes], dtype) for name, dtype in _SCALARS.items()
    }
    arrays |= pack_ragged("lane_points", [lane.points for lane in lanes], 3, np.float64)
    arrays |= pack_ragged("lane_widths", [lane.widths for lane in lanes], 1, np.float64)
    arrays |= pack_ragged("lane_successors", [np.array(lane.successors) for lane in lanes], 1, np.int32)
    arrays |= pack_ragged("lane_predecessors", [np.array(lane.predecessors) for lane in lanes], 1, np.int32)
    return arrays


def lanes_from_arrays(arrays: Mapping[str, np.ndarray], source: str) -> tuple[Lane, ...]:
    """The inverse of `lanes_to_arrays`, checked by `check_lanes`."""
    points = unpack_ragged(arrays, "lane_points", source)
    ragged = [unpack_ragged(arrays, f"lane_{name}", source) for name in ("widths", "successors", "predecessors")]
    scalars = {name: field(arrays, f"lane_{name}", source).tolist() for name in _SCALARS}
    for name, values in [*scalars.items(), *zip(("widths", "successors", "predecessors"), ragged, strict=True)]:
        if len(values) != len(points):
            raise MapFileError(
                f"{source}: lane_{name} has {len(values)} entries for {len(points)} lanes; import the map again"
            )
    lanes = []
    for i, line in enumerate(points):
        values = {name: column[i] for name, column in scalars.items()}
        if values["turn"] not in list(Command):
            raise MapFileError(f"{source}: lane {i} has turn {values['turn']}, which is no Command")
        values["turn"] = Command(values["turn"])
        widths, successors, predecessors = ragged[0][i], tuple(ragged[1][i].tolist()), tuple(ragged[2][i].tolist())
        lanes.append(Lane(id=i, points=line, widths=widths, successors=successors, predecessors=predecessors, **values))
    check_lanes(lanes, source)
    return tuple(lanes)


def check_lanes(lanes: Sequence[Lane], source: str) -> None:
    """Raise MapFileError where a lane's geometry or its links cannot be used."""
    if not lanes:
        raise MapFileError(f"{source}: holds no driving lane; is it a road map?")
    for lane in lanes:
        problem = _geometry_problem(lane) or _link_problem(lane, lanes)
        if problem:
            raise MapFileError(
                f"{source}: lane {lane.id} (road {lane.road}, {lane.opendrive_lane}) {problem}; import the map again"
            )


def _geometry_problem(lane: Lane) -> str | None:
    if lane.points.ndim != 2 or lane.points.shape[0] < 2 or lane.points.shape[1] != 3:
        return f"has points of shape {lane.points.shape}, expected (2 or more, 3)"
    if lane.widths.shape != lane.points.shape[:1]:
        return f"has {lane.widths.shape} widths for {len(lane.points)} points"
    if lane.arc_lengths[-1] <= 0 or (np.diff(lane.arc_lengths) <= 0).any():
        return "repeats a point"
    if lane.left_marking not in MARKINGS or lane.right_marking not in MARKINGS:
        return f"has markings {lane.left_marking!r} and {lane.right_marking!r}, allowed are {', '.join(MARKINGS)}"
    return None


def _link_problem(lane: Lane, lanes: Sequence[Lane]) -> str | None:
    links = [*lane.successors, *lane.predecessors, *(i for i in (lane.left, lane.right, lane.opposite) if i != -1)]
    for target in links:
        if not 0 <= target < len(lanes):
            return f"links to lane {target}, but there are {len(lanes)}"
    for target in lane.successors:
        if lane.id not in lanes[target].predecessors:
            return f"leads to lane {target}, which does not name it as predecessor"
    if lane.left != -1 and lanes[lane.left].right != lane.id:
        return f"has left neighbour {lane.left}, whose right neighbour is {lanes[lane.left].right}"
    if lane.right != -1 and lanes[lane.right].left != lane.id:
        return f"has right neighbour {lane.right}, whose left neighbour is {lanes[lane.right].left}"
    return None
