"""A top-down picture of a town."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import Route
from rsd_world.roads.town import Building, Town

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TURN_COLORS = {Command.LEFT: "#e07b39", Command.RIGHT: "#3b7dd8", Command.STRAIGHT: "#3f9b57"}
_HOUSE_COLORS = ("#b5651d", "#a0522d", "#c08457", "#8d6e63", "#d8c3a5", "#e3d5b8", "#cbb994", "#b7b7a4")
_ROUTE_COLORS = {
    **_TURN_COLORS,
    Command.LANEFOLLOW: "#c2185b",
    Command.CHANGELANELEFT: "#ffd400",
    Command.CHANGELANERIGHT: "#00bcd4",
}


def plot_town(town: Town, path: str | Path, route: Route | None = None, size: float = 16.0) -> None:
    """Draw a town, and optionally a route coloured by command, into an image file of `size` inches across."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x0, y0, x1, y1 = town.lanes.bounds
    figure, axes = pyplot.subplots(figsize=(size, size * (y1 - y0 + 90.0) / (x1 - x0 + 90.0)))
    axes.set_facecolor("#dfe8d3")
    draw_town(axes, town)
    if route is not None:
        draw_route(axes, route)
    axes.set(xlim=(x0 - 45, x1 + 45), ylim=(y0 - 45, y1 + 45), aspect="equal", xlabel="x, m", ylabel="y, m")
    kilometres = sum(lane.length for lane in town.lanes.lanes) / 1000.0
    axes.set_title(f"{town.name}: {len(town.lanes.lanes)} lanes, {kilometres:.1f} km, {len(town.buildings)} buildings")
    axes.legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_town(axes: Axes, town: Town) -> None:
    """Everything that stands still, on given axes."""
    from matplotlib.collections import LineCollection, PolyCollection

    grounds: list[tuple[Iterable[np.ndarray], str, int]] = [
        (town.sidewalk_polygons, "#cfcac2", 1),
        (town.road_triangles, "#5b5e63", 2),
    ]
    for shapes, color, order in grounds:
        corners = [shape[:, :2] for shape in shapes]
        axes.add_collection(PolyCollection(corners, facecolors=color, edgecolors=color, linewidths=0.3, zorder=order))
    houses = [_outline(building) for building in town.buildings]
    shades = [_HOUSE_COLORS[building.style % len(_HOUSE_COLORS)] for building in town.buildings]
    axes.add_collection(PolyCollection(houses, facecolors=shades, edgecolors="#4e342e", linewidths=0.5, zorder=3))
    _draw_props(axes, town)
    for lane in town.lanes.lanes:
        in_junction = lane.junction >= 0
        axes.plot(
            lane.points[:, 0], lane.points[:, 1], color=_TURN_COLORS.get(lane.turn, "#f5f5f5"),
            linewidth=0.9 if in_junction else 0.6, zorder=4,
        )  # fmt: skip
    bars = [np.stack([crossing.start[:2], crossing.end[:2]]) for crossing in town.crossings]
    axes.add_collection(LineCollection(bars, colors="#fafafa", linewidths=4.5, linestyles=(0, (0.35, 0.35)), zorder=5))
    _draw_signals(axes, town)


def draw_route(axes: Axes, route: Route) -> None:
    """A route, coloured by its commands, with its start marked."""
    colors = [_ROUTE_COLORS[Command(command)] for command in route.commands.tolist()]
    axes.scatter(route.points[:, 0], route.points[:, 1], c=colors, s=14, zorder=8)
    axes.plot(*route.points[0, :2], "o", color="#c2185b", markersize=10, zorder=9, label=f"route, {route.length:.0f} m")


def _outline(building: Building) -> np.ndarray:
    c, s = np.cos(building.yaw), np.sin(building.yaw)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(building.size[:2]) / 2.0
    return corners @ np.array([[c, s], [-s, c]]) + building.center[:2]


def _draw_props(axes: Axes, town: Town) -> None:
    looks = {
        "tree": ("#4f8a4c", 30),
        "bush": ("#7fb069", 8),
        "lamp": ("#f9d56e", 5),
        "bench": ("#6d4c41", 5),
        "sign": ("#1565c0", 6),
    }
    for kind, (color, area) in looks.items():
        feet = np.array([prop.position[:2] for prop in town.props if prop.kind == kind]).reshape(-1, 2)
        axes.scatter(feet[:, 0], feet[:, 1], s=area, c=color, zorder=3.5, linewidths=0, label=f"{len(feet)} {kind}")
    spots = np.array([spot.position[:2] for spot in town.parking]).reshape(-1, 2)
    axes.scatter(
        spots[:, 0], spots[:, 1], s=5, c="#90a4ae", marker="s", zorder=4, linewidths=0, label=f"{len(spots)} parking"
    )


def _draw_signals(axes: Axes, town: Town) -> None:
    palette = ("#e53935", "#1e88e5", "#fdd835", "#8e24aa", "#00897b")
    for light in town.lights:
        color = palette[light.group % len(palette)]
        axes.plot(*light.position[:2], "o", color=color, markeredgecolor="black", markersize=5, zorder=7)
        for lane in light.lanes:
            _draw_stop_line(axes, town, lane, color)
    for sign in town.stop_signs:
        axes.plot(*sign.position[:2], "8", color="#b71c1c", markeredgecolor="white", markersize=6, zorder=7)
        for lane in sign.lanes:
            _draw_stop_line(axes, town, lane, "#ffffff")


def _draw_stop_line(axes: Axes, town: Town, lane: int, color: str) -> None:
    found = town.lanes.lanes[lane]
    heading, half = found.headings[-1], found.widths[-1] / 2.0
    across = np.array([-np.sin(heading), np.cos(heading)]) * half
    ends = np.stack([found.points[-1, :2] + across, found.points[-1, :2] - across])
    axes.plot(ends[:, 0], ends[:, 1], color=color, linewidth=1.6, zorder=6)
