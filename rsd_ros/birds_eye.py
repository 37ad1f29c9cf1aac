"""The bird's-eye panel of a moment: risk grid, map lines, boxes, futures, route and plan, with its legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from rsd_model.geometry import box_corners
from rsd_ros.drawn_text import Color, Labels, put_text
from rsd_ros.drive_drawing import (
    BACKGROUND,
    FAINT,
    PLAN,
    SHOWN_RISK,
    STOP_PLAN,
    object_box,
    risk_bgr,
    trajectory_points,
)
from rsd_ros.drive_log import Moment

EGO: Color = (235, 235, 235)
EGO_BOX = np.array([0.0, 0.0, 0.0, 4.9, 1.85, 1.5, 0.0])  # m
ROUTE: Color = (110, 200, 110)
RING: Color = (70, 65, 60)
MAP_NAMES = {
    "Broken": "broken line", "Solid": "solid line", "SolidSolid": "double line", "Center": "lane centre",
    "TrafficLight": "line at red light", "StopSign": "line at stop sign",
}  # fmt: skip
LINE = 15  # px of a legend's line
LEGEND = 140  # px, its width


class BirdsEye:
    """x forward is up, the vehicle a little below the middle; the legend has the left margin to itself."""

    def __init__(self, width: int, height: int, metres_ahead: float = 32.0, metres_behind: float = 22.0) -> None:
        self.width, self.height = width, height
        self._scale = height / (metres_ahead + metres_behind)
        self._centre = np.array([(width + LEGEND) / 2.0, metres_ahead * self._scale])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(P, 2) int32 pixels of base_link points (P, 2) m."""
        image = np.stack([-points[:, 1], -points[:, 0]], axis=1) * self._scale + self._centre
        return np.rint(np.clip(image, -9999, 9999)).astype(np.int32)

    def draw(self, moment: Moment, route: np.ndarray | None = None) -> np.ndarray:
        """(height, width, 3) BGR of one moment; `route` (R, 2) m, base_link."""
        panel = np.full((self.height, self.width, 3), BACKGROUND, np.uint8)
        if moment.risk is not None:
            self._draw_risk(panel, moment.risk)
        self._draw_rings(panel)
        if route is not None and len(route) > 1:
            cv2.polylines(panel, [self.pixels(route)], False, ROUTE, 1, cv2.LINE_AA)
        lines = map_markers(moment)
        self._draw_map(panel, lines)
        objects = sorted(moment.objects.objects if moment.objects is not None else [], key=lambda o: o.risk)
        for obj in objects:
            self._draw_object(panel, obj)
        self._draw_plan(panel, moment)
        self._outline(panel, EGO_BOX, EGO, filled=True)
        labels = Labels(panel)
        for obj in reversed(objects):
            if obj.risk >= SHOWN_RISK:
                x, y = self.pixels(object_box(obj)[None, :2])[0]
                labels.put(f"{obj.risk:.2f}", (int(x) + 9, int(y) - 7), 11, risk_bgr(obj.risk))
        self._legend(panel, lines, route is not None)
        return panel

    def _draw_rings(self, panel: np.ndarray) -> None:
        for reach in (10, 20, 30):
            cv2.circle(panel, tuple(self._centre.astype(int)), int(reach * self._scale), RING, 1, cv2.LINE_AA)
            at = self.pixels(np.array([[reach * 0.92, -reach * 0.39]]))[0]
            put_text(panel, f"{reach} m", (int(at[0]) + 3, int(at[1]) - 6), 9, FAINT)

    def _draw_plan(self, panel: np.ndarray, moment: Moment) -> None:
        color = STOP_PLAN if moment.trajectory.is_stop else PLAN
        points = self.pixels(trajectory_points(moment))
        cv2.polylines(panel, [points], False, color, 3, cv2.LINE_AA)
        for point in points[1:]:
            cv2.circle(panel, tuple(int(v) for v in point), 4, color, -1, cv2.LINE_AA)

    def _draw_risk(self, panel: np.ndarray, risk: Any) -> None:
        values = np.asarray(risk.data, np.float32).reshape(risk.height, risk.width)
        known = np.isfinite(values)
        shown = np.clip(np.where(known, values, 0.0), 0.0, 1.0)
        heat = cv2.applyColorMap((shown * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        origin = np.array([risk.origin.position.x, risk.origin.position.y])
        # Pixel centres of the grid picture are cell centres: cell (0, 0) is half a cell inside the corner.
        cells = origin + risk.resolution * (0.5 + np.array([[0, 0], [risk.width, 0], [0, risk.height]], float))
        target = np.stack([-cells[:, 1], -cells[:, 0]], axis=1) * self._scale + self._centre
        source = np.array([[0, 0], [risk.width, 0], [0, risk.height]], np.float32)
        transform = cv2.getAffineTransform(source, target.astype(np.float32))
        size = (self.width, self.height)
        warped = cv2.warpAffine(heat, transform, size, flags=cv2.INTER_LINEAR)
        alpha = cv2.warpAffine(shown.astype(np.float32), transform, size)
        inside = cv2.warpAffine(known.astype(np.float32), transform, size)[..., None]
        alpha = 0.25 * inside + 0.75 * np.sqrt(alpha)[..., None]
        panel[:] = (panel * (1.0 - alpha) + warped * alpha).astype(np.uint8)

    def _draw_map(self, panel: np.ndarray, lines: Sequence[Any]) -> None:
        for marker in lines:
            points = np.array([[p.x, p.y] for p in marker.points]).reshape(-1, 2)
            thick = 2 if marker.ns in ("map/TrafficLight", "map/StopSign") else 1
            for start, end in self.pixels(points).reshape(-1, 2, 2).tolist():
                cv2.line(panel, start, end, marker_color(marker), thick, cv2.LINE_AA)

    def _draw_object(self, panel: np.ndarray, obj: Any) -> None:
        box, color = object_box(obj), risk_bgr(obj.risk)
        future = max(obj.futures, key=lambda mode: mode.probability, default=None)
        if future is not None:
            points = np.array([box[:2], *([p.x, p.y] for p in future.positions)])
            if np.isfinite(points).all():
                cv2.polylines(panel, [self.pixels(points)], False, color, 1, cv2.LINE_AA)
        self._outline(panel, box, color, filled=obj.risk >= SHOWN_RISK)

    def _outline(self, panel: np.ndarray, box: np.ndarray, color: Color, filled: bool) -> None:
        corners = box_corners(box)[[0, 4, 6, 2], :2]
        pixels = self.pixels(corners)
        if filled:
            cv2.fillConvexPoly(panel, pixels, tuple(int(0.55 * c) for c in color), cv2.LINE_AA)
        cv2.polylines(panel, [pixels], True, color, 1, cv2.LINE_AA)

    def _legend(self, panel: np.ndarray, lines: Sequence[Any], has_route: bool) -> None:
        entries = [("plan, 3 s", PLAN), ("plan to stop", STOP_PLAN)]
        entries += [("route ahead", ROUTE)] if has_route else []
        entries += [(MAP_NAMES.get(m.ns[4:], m.ns[4:]), marker_color(m)) for m in lines]
        top = self.height - LINE * (len(entries) + 3) - 12
        for number, (name, color) in enumerate(entries):
            y = top + LINE * number
            cv2.line(panel, (8, y + 7), (26, y + 7), color, 2, cv2.LINE_AA)
            put_text(panel, name, (32, y), 10, FAINT)
        ramp = np.linspace(0.0, 1.0, 60)
        y = top + LINE * len(entries) + 4
        panel[y : y + 9, 8:68] = np.array([risk_bgr(r) for r in ramp])
        put_text(panel, "risk of object", (74, y - 3), 10, FAINT)
        heat = cv2.applyColorMap((ramp * 255).astype(np.uint8)[None], cv2.COLORMAP_INFERNO)
        panel[y + LINE : y + LINE + 9, 8:68] = heat
        put_text(panel, "risk of place", (74, y + LINE - 3), 10, FAINT)
        put_text(panel, "0", (8, y + 2 * LINE - 5), 10, FAINT)
        put_text(panel, "1", (62, y + 2 * LINE - 5), 10, FAINT)


def map_markers(moment: Moment) -> list[Any]:
    """The markers of the network's map lines, by class."""
    markers = moment.markers.markers if moment.markers is not None else []
    return [marker for marker in markers if marker.ns.startswith("map/")]


def marker_color(marker: Any) -> Color:
    """A marker's colour as BGR."""
    return tuple(int(255 * v) for v in (marker.color.b, marker.color.g, marker.color.r))
