"""What an OpenDRIVE file says beyond geometry: roads, lane sections, lane types, speed limits and signals."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SPEED = 13.9  # m/s where a road names none
_SPEED_UNITS = {"m/s": 1.0, "km/h": 1.0 / 3.6, "mph": 0.44704}
TRAFFIC_LIGHT_TYPE = "1000001"  # German sign catalogue, as CARLA uses it
STOP_SIGN_TYPE = "206"


class OpenDriveError(ValueError):
    """An OpenDRIVE file that cannot be imported; the message names the file and what is wrong."""


@dataclass(frozen=True)
class LaneSection:
    """One lane section of one road."""

    road: int
    index: int
    start: float  # m along the road's reference line
    end: float
    junction: int  # -1 = none
    lane_types: dict[int, str]  # signed lane id -> OpenDRIVE lane type; the centre lane 0 is left out
    speed_limit: float  # m/s


@dataclass(frozen=True)
class RoadSignal:
    """A traffic light or stop sign that governs some lanes of a road."""

    road: int
    type: str  # TRAFFIC_LIGHT_TYPE | STOP_SIGN_TYPE
    s: float  # m along the road's reference line
    orientation: str  # "+" governs lanes that run with the reference line (negative ids), "-" the others
    lanes: tuple[int, int]  # lowest and highest lane id governed


@dataclass(frozen=True)
class OpenDriveMap:
    """A parsed file."""

    name: str
    text: str
    sections: tuple[LaneSection, ...]
    signals: tuple[RoadSignal, ...]

    @property
    def roads_with_sidewalk(self) -> frozenset[int]:
        """Ids of the roads that have a lane of type sidewalk."""
        return frozenset(section.road for section in self.sections if "sidewalk" in section.lane_types.values())


def read_opendrive(path: str | Path) -> OpenDriveMap:
    """Read an `.xodr`; raises FileNotFoundError or OpenDriveError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"OpenDRIVE file {path} does not exist")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise OpenDriveError(f"{path} is not valid XML: {error}") from error
    if root.tag != "OpenDRIVE":
        raise OpenDriveError(f"{path} is not OpenDRIVE: its root element is <{root.tag}>")
    roads = root.findall("road")
    if not roads:
        raise OpenDriveError(f"{path} holds no road")
    _check_roads(roads, path)
    try:
        sections = tuple(section for road in roads for section in _sections(road))
        return OpenDriveMap(path.stem, text, sections, tuple(_signals(roads)))
    except ValueError as error:
        raise OpenDriveError(f"{path} holds a value that is not a number: {error}") from error


def _check_roads(roads: list[ElementTree.Element], path: Path) -> None:
    """What would crash or mislead the import, named."""
    for road in roads:
        name = f"{path}: road {road.get('id')}"
        if road.find("planView/geometry") is None:
            raise OpenDriveError(f"{name} has no geometry; is the file complete?")
        if road.find("lanes/laneSection") is None:
            raise OpenDriveError(f"{name} has no lane section; is the file complete?")
        if road.get("rule", "RHT") != "RHT":
            raise OpenDriveError(f"{name} drives on the left; only right-hand traffic can be imported")


def _sections(road: ElementTree.Element) -> list[LaneSection]:
    length = float(road.get("length", 0.0))
    elements = road.findall("lanes/laneSection")
    starts = [float(element.get("s", 0.0)) for element in elements]
    sections = []
    for index, (element, start) in enumerate(zip(elements, starts, strict=True)):
        end = starts[index + 1] if index + 1 < len(starts) else length
        types = {int(lane.get("id", 0)): lane.get("type", "none") for lane in element.iter("lane")}
        types.pop(0, None)
        junction = int(road.get("junction", -1))
        sections.append(LaneSection(int(road.get("id", 0)), index, start, end, junction, types, _speed(road, start)))
    return sections


def _speed(road: ElementTree.Element, s: float) -> float:
    """Speed limit in m/s at `s`: the last <type> that begins at or before it."""
    limit = DEFAULT_SPEED
    for entry in road.findall("type"):
        speed = entry.find("speed")
        if speed is None or float(entry.get("s", 0.0)) > s + 1e-6:
            continue
        try:
            limit = float(speed.get("max", "")) * _SPEED_UNITS.get(speed.get("unit", "m/s"), 1.0)
        except ValueError:  # "no limit" and "undefined" are allowed values
            limit = DEFAULT_SPEED
    return limit


def _signals(roads: list[ElementTree.Element]) -> list[RoadSignal]:
    types = {signal.get("id"): signal.get("type", "") for road in roads for signal in road.iter("signal")}
    found = []
    for road in roads:
        for element in [*road.iter("signal"), *road.iter("signalReference")]:
            kind = types.get(element.get("id"), "")
            if kind not in (TRAFFIC_LIGHT_TYPE, STOP_SIGN_TYPE):
                continue
            found.append(_signal(int(road.get("id", 0)), kind, element))
    return found


def _signal(road: int, kind: str, element: ElementTree.Element) -> RoadSignal:
    validity = element.find("validity")
    lanes = (-1000, 1000)
    if validity is not None:
        lanes = (int(validity.get("fromLane", -1000)), int(validity.get("toLane", 1000)))
    return RoadSignal(
        road, kind, float(element.get("s", 0.0)), element.get("orientation", "none"), (min(lanes), max(lanes))
    )
