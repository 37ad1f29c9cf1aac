"""What RViz and Foxglove draw of a plan: boxes coloured by risk, futures, map, trajectory, the top risk in words."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from rsd_model.contracts import MAP_CLASSES, OBJECT_CLASSES, DetectedObjects, MapElements, PlannerOutput
from rsd_ros.conversions import yaw_quaternion
from rsd_ros.plan_messages import confident

MAP_COLORS = {
    "Broken": (0.9, 0.9, 0.9),
    "Solid": (1.0, 1.0, 1.0),
    "SolidSolid": (1.0, 0.8, 0.2),
    "Center": (0.4, 0.6, 0.9),
    "TrafficLight": (1.0, 0.2, 0.2),
    "StopSign": (1.0, 0.3, 0.8),
}
PLAN_COLOR = (0.1, 0.8, 1.0)
LINE_WIDTH = 0.15  # m


def risk_color(risk: float) -> tuple[float, float, float]:
    """Green at 0, yellow at 0.5, red at 1."""
    risk = float(np.clip(risk, 0.0, 1.0))
    return (min(1.0, 2.0 * risk), min(1.0, 2.0 - 2.0 * risk), 0.1)


def marker_array(output: PlannerOutput, trajectory: np.ndarray, min_score: float, header: Header) -> MarkerArray:
    """All markers of one plan, led by one that clears the plan before. `trajectory` (6, 2) is the one to drive."""
    shown = confident(output.objects, min_score)
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    markers += [_box(output.objects, int(k), header) for k in shown]
    markers.append(_futures(output.objects, shown, header))
    markers += _map_lines(output.map, min_score, header)
    markers.append(_lines("plan", [np.vstack([np.zeros((1, 2)), trajectory])], PLAN_COLOR, header, width=0.5))
    if len(shown):
        top = shown[np.argmax(output.objects.risks[shown])]
        markers.append(_text(output.objects, int(top), header))
    return MarkerArray(markers=markers)


def _marker(
    namespace: str, number: int, kind: int, color: tuple[float, float, float], alpha: float, header: Header
) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.color = ColorRGBA(r=color[0], g=color[1], b=color[2], a=alpha)
    return marker


def _box(objects: DetectedObjects, k: int, header: Header) -> Marker:
    x, y, z, length, width, height, yaw = objects.boxes[k].tolist()
    marker = _marker("objects", k, Marker.CUBE, risk_color(objects.risks[k]), 0.7, header)
    marker.pose = Pose(position=Point(x=x, y=y, z=z), orientation=yaw_quaternion(yaw))
    marker.scale = Vector3(x=max(length, 0.05), y=max(width, 0.05), z=max(height, 0.05))
    return marker


def _segments(line: np.ndarray, z: float) -> list[Point]:
    points = [Point(x=x, y=y, z=z) for x, y in line.tolist()]
    return [point for pair in zip(points[:-1], points[1:], strict=True) for point in pair]


def _lines(
    namespace: str,
    lines: list[np.ndarray],
    color: tuple[float, float, float],
    header: Header,
    width: float = LINE_WIDTH,
) -> Marker:
    marker = _marker(namespace, 0, Marker.LINE_LIST, color, 0.9, header)
    marker.scale.x = width
    marker.points = [point for line in lines for point in _segments(line, 0.1)]
    return marker


def _futures(objects: DetectedObjects, shown: np.ndarray, header: Header) -> Marker:
    """The most probable future of every shown object, in its risk's colour."""
    marker = _marker("futures", 0, Marker.LINE_LIST, (1.0, 1.0, 1.0), 0.9, header)
    marker.scale.x = LINE_WIDTH
    for k in shown:
        best = objects.futures[k][int(np.argmax(objects.future_probabilities[k]))]
        if not np.isfinite(best).all():
            continue
        points = _segments(np.vstack([objects.boxes[k, :2], best]), 0.3)
        red, green, blue = risk_color(objects.risks[k])
        marker.points += points
        marker.colors += [ColorRGBA(r=red, g=green, b=blue, a=0.9)] * len(points)
    return marker


def _map_lines(elements: MapElements, min_score: float, header: Header) -> list[Marker]:
    shown = (elements.scores >= min_score) & np.isfinite(elements.points).all(axis=(1, 2))
    return [
        _lines(f"map/{name}", list(elements.points[shown & (elements.labels == label)]), MAP_COLORS[name], header)
        for label, name in enumerate(MAP_CLASSES)
    ]


def _text(objects: DetectedObjects, k: int, header: Header) -> Marker:
    marker = _marker("top_risk", 0, Marker.TEXT_VIEW_FACING, (1.0, 1.0, 1.0), 1.0, header)
    x, y, z = objects.boxes[k, :3].tolist()
    marker.pose.position = Point(x=x, y=y, z=z + float(objects.boxes[k, 5]))
    marker.scale.z = 1.0
    marker.text = f"{OBJECT_CLASSES[int(objects.labels[k])]}: risk {objects.risks[k]:.2f}"
    return marker
