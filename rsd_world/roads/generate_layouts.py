"""The street plans of our own towns: where junctions lie, how they are controlled, and what streets join them."""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A junction, or a joint where two streets go on into each other."""

    at: Point  # m, map
    control: str  # signal | stop (the minor arms stop) | all_stop | joint


@dataclass(frozen=True)
class Street:
    """A street from one node to another; its centre line runs smoothly through `via`."""

    start: str
    end: str
    lanes: int = 1  # per direction
    speed: float = 50.0  # km/h
    via: tuple[Point, ...] = ()  # m, map
    parking: bool = False
    start_heading: float | None = None  # degrees, driving start -> end; None = towards the next point
    end_heading: float | None = None
    lane_width: float = 3.5  # m


@dataclass(frozen=True)
class Layout:
    """A whole town before geometry."""

    name: str
    nodes: dict[str, Node]
    streets: tuple[Street, ...]
    sidewalk_width: float  # m
    seed: int  # of everything that is placed beside the roads
    scenery: str  # name among `scenery.STYLES`


def _polar(radius: float, degrees: float) -> Point:
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))


def alder() -> Layout:
    """The training town: a bent grid with a four-lane avenue, a western ring and a southern highway."""
    nodes = {
        "L0": Node((-265, -95), "stop"), "L1": Node((-95, -80), "all_stop"), "L2": Node((45, -95), "signal"),
        "Q2": Node((142, -90), "stop"), "L3": Node((262, -85), "signal"),
        "M0": Node((-268, 55), "stop"), "M1": Node((-100, 45), "signal"), "M2": Node((40, 40), "signal"),
        "Q": Node((138, 47), "stop"), "M3": Node((255, 60), "signal"),
        "N1": Node((-105, 178), "all_stop"), "N2": Node((45, 165), "stop"),
        "H1": Node((195, -232), "joint"), "H2": Node((-200, -228), "joint"),
    }  # fmt: skip
    streets = (
        Street("M0", "M1", 2, 50, ((-185, 62),)), Street("M1", "M2", 2), Street("M2", "Q", 2), Street("Q", "M3", 2),
        Street("L0", "L1", 1, 40, ((-180, -100),), parking=True),
        Street("L1", "L2", 1, 40, ((-25, -76),), parking=True),
        Street("L2", "Q2", 1, 40), Street("Q2", "L3", 1, 40, ((200, -102),), parking=True),
        Street("M0", "N1", 1, 50, ((-262, 120), (-205, 178)), start_heading=90, end_heading=0),
        Street("N1", "N2", 1, 40, ((-30, 188),), parking=True),
        Street("N2", "M3", 1, 50, ((140, 172), (228, 152)), end_heading=-90),
        Street("L0", "M0", 1, 50, ((-277, -20),), start_heading=94, end_heading=86),
        Street("L3", "M3", 2, 50),
        Street("L1", "M1", 1, 30, ((-88, -15),), parking=True), Street("M1", "N1", 1, 30, ((-112, 110),), parking=True),
        Street("L2", "M2", 2, 50), Street("M2", "N2", 2, 50), Street("Q2", "Q", 1, 30, ((130, -25),), parking=True),
        Street("L1", "L2", 1, 30, ((-25, -172),), parking=True, start_heading=-90, end_heading=90),
        Street("L3", "H1", 2, 50, start_heading=-90, end_heading=180),
        Street("H1", "H2", 2, 90, ((0, -222),), start_heading=180, end_heading=180),
        Street("H2", "L0", 2, 50, start_heading=180, end_heading=90),
    )  # fmt: skip
    return Layout("alder", nodes, streets, 3.0, 11, "brick")


def birch() -> Layout:
    """The held-out town: a four-lane ring around a centre, winding spokes, narrower lanes and a curved highway."""
    ring = {"A": 90.0, "B": 30.0, "C": -30.0, "D": -90.0, "E": 210.0, "F": 150.0}
    control = {"A": "signal", "B": "signal", "C": "signal", "D": "stop", "E": "signal", "F": "stop"}
    nodes = {name: Node(_polar(98, angle), control[name]) for name, angle in ring.items()}
    nodes |= {
        "K": Node((0, 0), "all_stop"), "OA": Node((12, 228), "all_stop"), "OB": Node((222, 118), "stop"),
        "OC": Node((250, -98), "signal"), "OE": Node((-245, -108), "signal"), "OF": Node((-225, 112), "stop"),
        "P": Node((165, -72), "stop"), "W": Node((-162, -76), "all_stop"), "S": Node((0, -172), "stop"),
        "H1": Node((200, -198), "joint"), "H2": Node((-198, -205), "joint"),
    }  # fmt: skip
    narrow = 3.25
    streets = (
        *(_ring_street(a, b, ring) for a, b in ("AF", "FE", "ED", "DC", "CB", "BA")),
        Street("K", "A", 1, 30, ((8, 50),), True, 90, 90, narrow), Street("K", "C", 1, 30, (), True, -30, -30, narrow),
        Street("K", "E", 1, 30, (), True, 210, 210, narrow),
        Street("A", "OA", 1, 40, ((-8, 165),), True, 90, 80, narrow),
        Street("B", "OB", 1, 40, ((150, 70),), True, 30, 35, narrow),
        Street("C", "P", 1, 40, (), False, -30, -10, narrow), Street("P", "OC", 1, 40, (), False, -10, -25, narrow),
        Street("E", "W", 1, 40, (), False, 210, 195, narrow), Street("W", "OE", 1, 40, (), False, 195, 210, narrow),
        Street("F", "OF", 1, 40, ((-150, 95),), True, 150, 165, narrow),
        Street("D", "S", 1, 30, (), False, -90, -90, narrow),
        Street("S", "P", 1, 30, ((95, -160), (150, -125)), True, 0, 80, narrow),
        Street("W", "S", 1, 30, ((-150, -130), (-85, -165)), True, -75, 0, narrow),
        Street("OA", "OB", 1, 50, ((110, 215), (190, 180)), False, -10, -60, narrow),
        Street("OB", "OC", 1, 50, ((262, 30),), False, -55, -100, narrow),
        Street("OF", "OA", 1, 50, ((-185, 190), (-100, 236)), False, 75, -10, narrow),
        Street("OE", "OF", 1, 50, ((-262, 10),), False, 115, 75, narrow),
        Street("OC", "H1", 2, 50, (), False, -105, -145), Street("H1", "H2", 2, 90, (), False, -145, -213),
        Street("H2", "OE", 2, 50, (), False, 147, 115),
    )  # fmt: skip
    return Layout("birch", nodes, streets, 2.4, 29, "stucco")


def _ring_street(start: str, end: str, ring: dict[str, float]) -> Street:
    """A four-lane arc of birch's ring between two of its nodes."""
    turn = (ring[end] - ring[start] + 180.0) % 360.0 - 180.0
    tangent = 90.0 if turn > 0 else -90.0
    return Street(start, end, 2, 50, (), False, ring[start] + tangent, ring[end] + tangent, 3.25)


LAYOUTS = {"alder": alder, "birch": birch}
