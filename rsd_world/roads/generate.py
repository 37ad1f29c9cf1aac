"""Recipe of our own towns: `python -m rsd_world.roads.generate` writes maps/<name>.xodr and maps/<name>.npz.

Needs the packages of the `[opendrive]` extra; what it writes runs without them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from scenariogeneration import xodr

from rsd_world.roads.generate_layouts import LAYOUTS, Street
from rsd_world.roads.import_town import import_town
from rsd_world.roads.opendrive import STOP_SIGN_TYPE, TRAFFIC_LIGHT_TYPE
from rsd_world.roads.street_plan import Arm, Connection, StreetPlan, plan_streets
from rsd_world.roads.town_storage import save_town
from rsd_world.roads.towns import MAPS

PARKING_WIDTH = 2.4  # m
_PARKING_CLEARANCE = 8.0  # m from the stop line to where a parking lane begins to open
_PARKING_TAPER = 5.0  # m
_GEO_REFERENCE = "+proj=tmerc +lat_0=49 +lon_0=8 +k=1 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"
_JUNCTIONS = 500  # first junction id; carla.Map needs road and junction ids to differ
_CONNECTING_ROADS = 1000  # first road id inside junctions


def generate(name: str, folder: Path = MAPS) -> None:
    """Write one town's `.xodr` and `.npz` into `folder`."""
    layout = LAYOUTS[name]()
    path = folder / f"{name}.xodr"
    write_opendrive(plan_streets(layout), path)
    town = import_town(path, seed=layout.seed, style=layout.scenery, sidewalk_width=layout.sidewalk_width)
    # Our towns have no shoulders: lanes, gutters and parking rows cover their asphalt with fewer triangles.
    save_town(replace(town, wide_asphalt=False), path.with_suffix(".npz"))


def write_opendrive(plan: StreetPlan, path: Path) -> None:
    """Write a plan as OpenDRIVE 1.5; the same plan gives the same bytes."""
    document = xodr.OpenDrive(plan.layout.name, geo_reference=_GEO_REFERENCE)
    junctions = {name: _JUNCTIONS + i for i, name in enumerate(plan.layout.nodes)}
    for i in range(len(plan.layout.streets)):
        document.add_road(_street_road(plan, i, junctions))
    for name, node in plan.layout.nodes.items():
        if node.control != "joint":
            document.add_junction(xodr.Junction(name, junctions[name]))
    for i, connection in enumerate(plan.connections):
        number = _CONNECTING_ROADS + i
        document.add_road(_connecting_road(connection, number, junctions[connection.node]))
        _junction(document, junctions[connection.node]).add_connection(_link(connection, number))
    document.write_xml(str(path))
    path.write_text(re.sub(r' date="[^"]*"', ' date="2025-01-01T00:00:00"', path.read_text()))


def _junction(document: xodr.OpenDrive, number: int) -> xodr.Junction:
    return next(junction for junction in document.junctions if junction.id == number)


def _link(connection: Connection, number: int) -> xodr.Connection:
    link = xodr.Connection(connection.entry.street, number, xodr.ContactPoint.start)
    link.add_lanelink(_entry_id(connection.entry, connection.entry_lane), -1)
    return link


def _entry_id(arm: Arm, lane: int) -> int:
    """OpenDRIVE id of a lane that drives towards the node, counted from the left."""
    return lane + 1 if arm.at_start else -lane - 1


def _exit_id(arm: Arm, lane: int) -> int:
    return -_entry_id(arm, lane)


def _contact(arm: Arm) -> xodr.ContactPoint:
    return xodr.ContactPoint.start if arm.at_start else xodr.ContactPoint.end


def _plan_view(curves: tuple) -> xodr.PlanView:
    view = xodr.PlanView()
    for curve in curves:
        if max(abs(curve.KappaStart), abs(curve.KappaEnd)) < 1e-6:
            shape = xodr.Line(curve.length)
        elif abs(curve.KappaStart - curve.KappaEnd) < 1e-6:
            shape = xodr.Arc(curve.KappaStart, length=curve.length)
        else:
            shape = xodr.Spiral(curve.KappaStart, curve.KappaEnd, length=curve.length)
        view.add_fixed_geometry(shape, curve.XStart, curve.YStart, curve.ThetaStart)
    return view


def _street_road(plan: StreetPlan, index: int, junctions: dict[str, int]) -> xodr.Road:
    street, curves = plan.layout.streets[index], plan.curves[index]
    length = sum(curve.length for curve in curves)
    sides = _street_lanes(plan, index, length)
    section = xodr.LaneSection(0, _centre_mark(street))
    for right, left in sides:
        section.add_right_lane(right)
        section.add_left_lane(left)
    lanes = xodr.Lanes()
    lanes.add_lanesection(section)
    road = xodr.Road(index, _plan_view(curves), lanes, name=f"{street.start}-{street.end}")
    kind = xodr.RoadType.motorway if street.speed > 70 else xodr.RoadType.town
    road.add_type(kind, speed=street.speed, speed_unit="km/h")
    road.add_elevation(0, 0, 0, 0, 0)
    for at_start, add in ((True, road.add_predecessor), (False, road.add_successor)):
        name = street.start if at_start else street.end
        if plan.layout.nodes[name].control == "joint":
            other = _other_arm(plan, name, index)
            add(xodr.ElementType.road, other.street, _contact(other))
        else:
            add(xodr.ElementType.junction, junctions[name])
        _add_signal(road, plan, index, at_start, length)
    return road


def _other_arm(plan: StreetPlan, node: str, street: int) -> Arm:
    return next(arm for arm in plan.arms[node] if arm.street != street)


def _street_lanes(plan: StreetPlan, index: int, length: float) -> list[tuple[xodr.Lane, xodr.Lane]]:
    """Right and left lanes from the centre outwards: driving, parking, sidewalk."""
    street = plan.layout.streets[index]
    sides = []
    for number in range(1, street.lanes + 1):
        outermost = number == street.lanes
        pair = [_driving_lane(street.lane_width, outermost) for _ in range(2)]
        for lane, sign in zip(pair, (-1, 1), strict=True):
            _link_joints(plan, index, lane, sign * number)
        sides.append((pair[0], pair[1]))
    if street.parking:
        sides.append((_parking_lane(length), _parking_lane(length)))
    if street.speed <= 70:
        width = plan.layout.sidewalk_width
        sides.append((xodr.Lane(xodr.LaneType.sidewalk, width), xodr.Lane(xodr.LaneType.sidewalk, width)))
    return sides


def _link_joints(plan: StreetPlan, index: int, lane: xodr.Lane, number: int) -> None:
    street = plan.layout.streets[index]
    for name, at_start, kind in ((street.start, True, "predecessor"), (street.end, False, "successor")):
        if plan.layout.nodes[name].control == "joint":
            same_way = _other_arm(plan, name, index).at_start != at_start
            lane.add_link(kind, number if same_way else -number)


def _centre_mark(street: Street) -> xodr.Lane:
    lane = xodr.Lane(a=0)
    if street.lanes > 1:
        lane.add_roadmark(_mark(xodr.RoadMarkType.solid_solid, xodr.LaneChange.none))
    else:
        lane.add_roadmark(
            _mark(xodr.RoadMarkType.broken if street.speed <= 40 else xodr.RoadMarkType.solid, xodr.LaneChange.none)
        )
    return lane


def _mark(kind: xodr.RoadMarkType, change: xodr.LaneChange) -> xodr.RoadMark:
    return xodr.RoadMark(kind, 0.15, laneChange=change)


def _driving_lane(width: float, outermost: bool) -> xodr.Lane:
    lane = xodr.Lane(xodr.LaneType.driving, width)
    if outermost:
        lane.add_roadmark(_mark(xodr.RoadMarkType.solid, xodr.LaneChange.none))
    else:
        lane.add_roadmark(_mark(xodr.RoadMarkType.broken, xodr.LaneChange.both))
    return lane


def _parking_lane(length: float) -> xodr.Lane:
    """Opens and closes clear of the junctions, with smooth tapers."""
    width, taper = PARKING_WIDTH, _PARKING_TAPER
    square, cube = 3.0 * width / taper**2, 2.0 * width / taper**3
    opening, closing = _PARKING_CLEARANCE, length - _PARKING_CLEARANCE - taper
    lane = xodr.Lane(xodr.LaneType.parking, 0.0)
    lane.add_lane_width(0.0, 0.0, square, -cube, opening)
    lane.add_lane_width(width, soffset=opening + taper)
    lane.add_lane_width(width, 0.0, -square, cube, closing)
    lane.add_lane_width(0.0, soffset=closing + taper)
    return lane


def _connecting_road(connection: Connection, number: int, junction: int) -> xodr.Road:
    entry, leaving = connection.entry, connection.exit
    slope = (leaving.lane_width - entry.lane_width) / connection.curve.length
    lane = xodr.Lane(xodr.LaneType.driving, entry.lane_width, slope)
    lane.add_link("predecessor", _entry_id(entry, connection.entry_lane))
    lane.add_link("successor", _exit_id(leaving, connection.exit_lane))
    lane.add_roadmark(_mark(xodr.RoadMarkType.none, xodr.LaneChange.none))
    centre = xodr.Lane(a=0)
    centre.add_roadmark(_mark(xodr.RoadMarkType.none, xodr.LaneChange.none))
    section = xodr.LaneSection(0, centre)
    section.add_right_lane(lane)
    lanes = xodr.Lanes()
    lanes.add_lanesection(section)
    road = xodr.Road(number, _plan_view((connection.curve,)), lanes, road_type=junction)
    road.add_type(xodr.RoadType.town, speed=min(entry.speed, leaving.speed, 50.0), speed_unit="km/h")
    road.add_elevation(0, 0, 0, 0, 0)
    road.add_predecessor(xodr.ElementType.road, entry.street, _contact(entry))
    road.add_successor(xodr.ElementType.road, leaving.street, _contact(leaving))
    return road


def _add_signal(road: xodr.Road, plan: StreetPlan, index: int, at_start: bool, length: float) -> None:
    """A light or stop sign for the lanes that drive towards this end, where the node's control asks for one."""
    street = plan.layout.streets[index]
    name = street.start if at_start else street.end
    kind = _signal_type(plan, name, index)
    if kind is None:
        return
    side = 1 if at_start else -1
    dynamic = xodr.Dynamic.yes if kind == TRAFFIC_LIGHT_TYPE else xodr.Dynamic.no
    signal = xodr.Signal(
        0.5 if at_start else length - 0.5, side * (street.lanes * street.lane_width + 1.0), "DE", kind,
        dynamic=dynamic,
        orientation=xodr.Orientation.negative if at_start else xodr.Orientation.positive,
    )  # fmt: skip
    signal.add_validity(*sorted((side, side * street.lanes)))
    road.add_signal(signal)
    signal.id = str(2 * index + at_start)  # the library counts on from file to file


def _signal_type(plan: StreetPlan, node: str, street: int) -> str | None:
    control = plan.layout.nodes[node].control
    if control == "signal":
        return TRAFFIC_LIGHT_TYPE
    if control == "all_stop" or (control == "stop" and _is_minor(plan, node, street)):
        return STOP_SIGN_TYPE
    return None


def _is_minor(plan: StreetPlan, node: str, street: int) -> bool:
    """No way straight on leads from this street: it is the stem of the T."""
    mine = [
        connection for connection in plan.connections if connection.node == node and connection.entry.street == street
    ]
    return not any(_goes_straight(connection) for connection in mine)


def _goes_straight(connection: Connection) -> bool:
    return abs(connection.curve.ThetaEnd - connection.curve.ThetaStart) < 0.61


def main(names: list[str]) -> None:
    """Write the named towns, or all."""
    for name in names or list(LAYOUTS):
        if name not in LAYOUTS:
            raise SystemExit(f"no layout {name!r}; there are {', '.join(LAYOUTS)}")
        generate(name)


if __name__ == "__main__":
    main(sys.argv[1:])
