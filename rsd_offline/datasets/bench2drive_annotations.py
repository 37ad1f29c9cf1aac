"""Bench2Drive's annotation files: reading, and every change of frame from CARLA's left-handed axes to base_link.

Layout and keys: Bench2Drive docs/anno.md. CARLA: x forward, y right, z up, yaw clockwise in degrees.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsd_model.contracts import CameraRig, Command
from rsd_model.geometry import OPTICAL_TO_BODY
from rsd_offline.datasets.frames import AnnotatedObjects, FrameSourceError

CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
FRAMES_PER_SECOND = 10
FLIP_Y = np.diag([1.0, -1.0, 1.0, 1.0])  # left-handed <-> right-handed, on either side
# Optical axes -> CARLA's camera axes (x forward, y right, z up).
OPTICAL_TO_CARLA = np.eye(4)
OPTICAL_TO_CARLA[:3, :3] = np.diag([1.0, -1.0, 1.0]) @ OPTICAL_TO_BODY
CLASS_OF_BASE_TYPE = {
    "car": "car", "van": "van", "truck": "truck", "bus": "truck", "bicycle": "bicycle", "motorcycle": "bicycle",
}  # fmt: skip
# Words in a blueprint's name, where base_type is missing; the first that fits counts.
CLASS_OF_WORD = {
    "ambulance": "van", "sprinter": "van", "volkswagen.t2": "van", "firetruck": "truck", "carlacola": "truck",
    "cybertruck": "car", "fusorosa": "truck", "crossbike": "bicycle", "century": "bicycle", "omafiets": "bicycle",
    "low_rider": "bicycle", "ninja": "bicycle", "yzf": "bicycle", "vespa": "bicycle", "cone": "traffic_cone",
}  # fmt: skip
# id: cloudiness, precipitation, sun altitude in degrees, fog density (leaderboard weather.xml)
WEATHERS = {
    0: (5, 0, 90, 2), 1: (5, 0, 15, 2), 2: (20, 30, 45, 3), 3: (60, 60, 45, 3), 5: (80, 0, 45, 3), 6: (5, 0, 15, 10),
    7: (5, 0, 45, 2), 8: (100, 100, 45, 7), 9: (70, 60, 45, 50), 10: (40, 100, 0, 7), 11: (100, 60, 45, 50),
    12: (5, 0, 45, 50), 13: (5, 0, 15, 50), 14: (100, 100, 45, 10), 15: (100, 50, 45, 10), 18: (40, 0, 15, 2),
    19: (40, 0, -90, 2), 20: (60, 30, -90, 3), 21: (100, 100, -90, 3), 22: (5, 0, -90, 60), 23: (80, 60, -90, 60),
    25: (100, 100, -90, 100), 26: (50, 0, 70, 0),
}  # fmt: skip
_CLIP = re.compile(r"^(?P<scenario>.+?)_(?P<town>Town[^_]*)_Route(?P<route>\d+)_Weather(?P<weather>\d+)$")


@dataclass(frozen=True)
class ClipName:
    """What a clip's folder is called after; empty and None where it is called otherwise."""

    scenario: str = ""
    town: str = ""
    weather_id: int | None = None

    @classmethod
    def parse(cls, name: str) -> ClipName:
        """`<Scenario>_Town<id>_Route<id>_Weather<id>`."""
        match = _CLIP.match(name)
        return cls() if match is None else cls(match["scenario"], match["town"], int(match["weather"]))

    @property
    def conditions(self) -> tuple[str, str]:
        """Weather (clear, overcast, rain, fog) and time of day (day, dusk, night); empty where unknown."""
        if self.weather_id not in WEATHERS:
            return "", ""
        clouds, rain, sun, fog = WEATHERS[self.weather_id]
        weather = "fog" if fog >= 45 else "rain" if rain >= 30 else "overcast" if clouds >= 60 else "clear"
        return weather, "night" if sun < 0 else "dusk" if sun <= 15 else "day"


def read_annotation(path: Path) -> dict:
    """One `anno/<frame>.json.gz`; NaN literals become nan. Raises FrameSourceError where it is damaged."""
    try:
        with gzip.open(path, "rt") as file:
            content = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FrameSourceError(f"{path} is not a readable annotation ({error}): unpack the clip again") from error
    if not isinstance(content, dict) or "bounding_boxes" not in content or "sensors" not in content:
        raise FrameSourceError(f"{path} lacks bounding_boxes or sensors")
    return content


def camera_rig(annotation: dict) -> CameraRig:
    """The six cameras in training order, in base_link."""
    sensors = [annotation["sensors"][name] for name in CAMERAS]
    cam_to_base = [FLIP_Y @ np.array(s["cam2ego"], float) @ OPTICAL_TO_CARLA for s in sensors]
    intrinsics = np.array([s["intrinsic"] for s in sensors], float)
    sizes = np.array([[int(s["image_size_x"]), int(s["image_size_y"])] for s in sensors])
    return CameraRig(CAMERAS, intrinsics, np.stack(cam_to_base), sizes)


def split_ego(annotation: dict) -> tuple[dict | None, list[dict]]:
    """The ego's box (class `ego_vehicle`, or a first `vehicle` that carries world2ego) and the others."""
    boxes = annotation["bounding_boxes"]
    for index, box in enumerate(boxes):
        if box.get("class") == "ego_vehicle" or (index == 0 and box.get("class") == "vehicle" and "world2ego" in box):
            return box, boxes[:index] + boxes[index + 1 :]
    return None, list(boxes)


def world_to_ego(annotation: dict) -> np.ndarray:
    """(4, 4) CARLA world -> CARLA ego axes, from what the annotation has. Raises FrameSourceError without any pose."""
    ego, _ = split_ego(annotation)
    if ego is not None and "world2ego" in ego:
        return np.array(ego["world2ego"], float)
    lidar = annotation["sensors"].get("LIDAR_TOP")
    if lidar is not None:
        return np.array(lidar["lidar2ego"], float) @ np.array(lidar["world2lidar"], float)
    if ego is not None:
        return np.linalg.inv(carla_matrix(ego["location"], ego["rotation"]))
    pose = [annotation.get(k, np.nan) for k in ("x", "y", "theta")]
    if not np.isfinite(np.array(pose, float)).all():
        raise FrameSourceError("the annotation has no ego box, no LiDAR pose, and no usable x, y, theta")
    yaw = np.degrees(pose[2] - np.pi / 2.0)  # the compass counts from north, clockwise
    return np.linalg.inv(carla_matrix([pose[0], pose[1], 0.0], [0.0, 0.0, yaw]))


def carla_matrix(location: list[float], rotation: list[float]) -> np.ndarray:
    """(4, 4) transform of a CARLA actor: location (3,) m, rotation [pitch, roll, yaw] in degrees, left-handed."""
    pitch, roll, yaw = np.radians(np.array(rotation, float))
    cp, sp, cr, sr, cy, sy = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll), np.cos(yaw), np.sin(yaw)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
        [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
        [sp, -cp * sr, cp * cr],
    ]
    matrix[:3, 3] = location
    return matrix


def ego_pose(annotation: dict) -> np.ndarray:
    """(4, 4) base_link -> map, right-handed."""
    return FLIP_Y @ np.linalg.inv(world_to_ego(annotation)) @ FLIP_Y


def annotated_objects(annotation: dict, previous: dict | None = None) -> AnnotatedObjects:
    """Everything but the ego in base_link.

    Velocity is the speed along the heading; of walkers it is the way since `previous`, the annotation 0.1 s before.
    """
    to_ego = world_to_ego(annotation)
    ego_yaw = float(np.degrees(np.arctan2(to_ego[0, 1], to_ego[0, 0])))  # CARLA yaw of the ego, degrees
    _, others = split_ego(annotation)
    earlier = {} if previous is None else {object_id(b): b for b in split_ego(previous)[1]}
    usable = [b for b in others if np.isfinite(np.array([*b["center"], *b["extent"], *b["rotation"]], float)).all()]
    rows = [_box(b, to_ego, ego_yaw) for b in usable]
    velocities = [_velocity(b, earlier.get(object_id(b)), to_ego, row[6]) for b, row in zip(usable, rows, strict=True)]
    return AnnotatedObjects(
        boxes=np.array(rows).reshape(-1, 7), velocities=np.array(velocities).reshape(-1, 2),
        classes=tuple(class_of(b) for b in usable), ids=np.array([object_id(b) for b in usable], np.int64),
        hidden=np.array([b.get("num_points") == 0 for b in usable], bool),
    )  # fmt: skip


def class_of(box: dict) -> str:
    """Name among OBJECT_CLASSES of an annotated box."""
    kind, name = str(box.get("class", "")), str(box.get("type_id", "")).lower()
    if kind in ("walker", "pedestrian"):
        return "pedestrian"
    if kind in ("traffic_light", "traffic_sign"):
        return kind
    by_name = next((c for word, c in CLASS_OF_WORD.items() if word in name), None)
    if by_name is not None:
        return by_name
    base_type = str(box.get("base_type", "")).lower()
    if base_type in CLASS_OF_BASE_TYPE:
        return CLASS_OF_BASE_TYPE[base_type]
    return "car" if kind == "vehicle" else "others"


def object_id(box: dict) -> int:
    """The actor's id as a number; a name that is none becomes its checksum."""
    try:
        return int(box["id"])
    except (ValueError, TypeError):
        return zlib.crc32(str(box["id"]).encode())


def command_of(annotation: dict) -> Command | None:
    """The near command, None where it is none of RoadOption's."""
    try:
        return Command.from_road_option(int(annotation["command_near"]))
    except (KeyError, ValueError, TypeError):
        return None


def _box(box: dict, to_ego: np.ndarray, ego_yaw: float) -> list[float]:
    centre = (FLIP_Y @ to_ego @ np.array([*box["center"], 1.0]))[:3]
    length, width, height = 2.0 * np.array(box["extent"], float)
    yaw = -np.radians(float(box["rotation"][2]) - ego_yaw)
    return [*centre, length, width, height, float((yaw + np.pi) % (2.0 * np.pi) - np.pi)]


def _velocity(box: dict, earlier: dict | None, to_ego: np.ndarray, yaw: float) -> np.ndarray:
    if box.get("class") in ("walker", "pedestrian") and earlier is not None:
        way = (np.array(box["center"], float) - np.array(earlier["center"], float)) * FRAMES_PER_SECOND
        return (FLIP_Y[:3, :3] @ to_ego[:3, :3] @ way)[:2]
    speed = box.get("speed")
    if speed is None:
        moves = box.get("class") in ("vehicle", "walker", "pedestrian")
        return np.full(2, np.nan) if moves else np.zeros(2)
    return float(speed) * np.array([np.cos(yaw), np.sin(yaw)])
