"""nuScenes through the tables of nuscenes-devkit: its samples are key frames at 2 Hz.

base_link is nuScenes' ego frame at the time of the LiDAR sweep (rear axle on the ground).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsd_model.contracts import PLAN_STEPS, CameraRig
from rsd_model.geometry import yaw_of
from rsd_offline.datasets.frames import AnnotatedObjects, FrameSourceError, KeyFrame, future_positions
from rsd_offline.datasets.nuscenes import CAMERAS, read_images

NOT_VISIBLE_BELOW = 1  # LiDAR and radar points; boxes without any are drawn from other sweeps


class NuscenesFrames:
    """All samples of a nuScenes folder (with a `v1.0-*` folder of tables), scene by scene.

    Raises ImportError without nuscenes-devkit, FrameSourceError where the tables cannot be read.
    """

    def __init__(self, root: Path, version: str | None = None) -> None:
        try:
            from nuscenes.nuscenes import NuScenes
        except ImportError as error:
            raise ImportError("nuScenes tables need nuscenes-devkit and what it imports: see docs/labels.md") from error
        versions = sorted(path.name for path in Path(root).glob("v1.0-*") if path.is_dir())
        if not versions:
            raise FrameSourceError(f"{root} holds no v1.0-* folder of nuScenes tables")
        self._version, self.name = version or versions[0], f"nuscenes:{version or versions[0]}"
        try:
            self._tables = NuScenes(version=self._version, dataroot=str(root), verbose=False)
        except (OSError, AssertionError, KeyError, ValueError) as error:
            raise FrameSourceError(f"the tables in {root}/{self._version} cannot be read: {error!r}") from error
        self._places = [
            (scene, n, token) for scene in self._tables.scene for n, token in enumerate(self._samples(scene))
        ]

    def _samples(self, scene: dict) -> list[str]:
        tokens, token = [], scene["first_sample_token"]
        while token:
            tokens.append(token)
            token = self._tables.get("sample", token)["next"]
        return tokens

    def __len__(self) -> int:
        return len(self._places)

    def frame_id(self, index: int) -> str:
        """<scene>/<sample of the scene>."""
        scene, number, _ = self._places[index]
        return f"{scene['name']}/{number:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Read a sample; images are read when asked for."""
        scene, _, token = self._places[index]
        try:
            sample = self._tables.get("sample", token)
            pose = self._ego_pose(sample)
            rig, paths = self._cameras(sample)
            following = self._following(index, PLAN_STEPS)
            poses = np.stack([pose, *(self._ego_pose(s) for s in following)])
            future = future_positions(poses, 0, PLAN_STEPS)
            speed = float(np.linalg.norm(future[0]) / 0.5) if future is not None else None
            words = scene.get("description", "").lower()
            return KeyFrame(
                frame_id=self.frame_id(index), rig=rig, load_images=lambda: read_images(paths), ego_speed=speed,
                future=future, objects=self._objects(sample, pose), weather="rain" if "rain" in words else "clear",
                time_of_day="night" if "night" in words else "day", town=self._location(scene),
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            raise FrameSourceError(f"sample {token} of {scene['name']} is not complete: {error!r}") from error

    def _following(self, index: int, count: int) -> list[dict]:
        scene = self._places[index][0]
        places = self._places[index + 1 : index + 1 + count]
        return [self._tables.get("sample", token) for other, _, token in places if other is scene]

    def _location(self, scene: dict) -> str:
        return str(self._tables.get("log", scene["log_token"])["location"])

    def _ego_pose(self, sample: dict) -> np.ndarray:
        sweep = self._tables.get("sample_data", sample["data"]["LIDAR_TOP"])
        return _matrix(self._tables.get("ego_pose", sweep["ego_pose_token"]))

    def _cameras(self, sample: dict) -> tuple[CameraRig, list[Path]]:
        images = [self._tables.get("sample_data", sample["data"][name]) for name in CAMERAS]
        sensors = [self._tables.get("calibrated_sensor", i["calibrated_sensor_token"]) for i in images]
        sizes = np.array([[int(i["width"]), int(i["height"])] for i in images])
        rig = CameraRig(
            CAMERAS,
            np.array([s["camera_intrinsic"] for s in sensors], float),
            np.stack([_matrix(s) for s in sensors]),
            sizes,
        )
        return rig, [Path(self._tables.dataroot) / i["filename"] for i in images]

    def _objects(self, sample: dict, pose: np.ndarray) -> AnnotatedObjects:
        annotations = [self._tables.get("sample_annotation", token) for token in sample["anns"]]
        to_base = np.linalg.inv(pose)
        boxes, velocities, hidden = [], [], []
        for a in annotations:
            placed = to_base @ _matrix(a)
            width, length, height = a["size"]
            boxes.append([*placed[:3, 3], length, width, height, yaw_of(placed)])
            velocities.append((to_base[:3, :3] @ self._tables.box_velocity(a["token"]))[:2])
            hidden.append(a.get("num_lidar_pts", 1) + a.get("num_radar_pts", 0) < NOT_VISIBLE_BELOW)
        return AnnotatedObjects(
            boxes=np.array(boxes, float).reshape(-1, 7), velocities=np.array(velocities, float).reshape(-1, 2),
            classes=tuple(class_of(a["category_name"]) for a in annotations),
            ids=np.array([self._tables.getind("instance", a["instance_token"]) for a in annotations], np.int64),
            hidden=np.array(hidden, bool),
        )  # fmt: skip


def class_of(category: str) -> str:
    """nuScenes' category, such as `human.pedestrian.adult`, as the detection benchmark's class, or `others`."""
    for start, name in (
        ("human.pedestrian", "pedestrian"), ("vehicle.bus", "bus"), ("vehicle.car", "car"), ("vehicle.truck", "truck"),
        ("vehicle.trailer", "trailer"), ("vehicle.construction", "construction_vehicle"),
        ("vehicle.bicycle", "bicycle"),
        ("vehicle.motorcycle", "motorcycle"), ("vehicle.emergency", "van"),
        ("movable_object.trafficcone", "traffic_cone"),
        ("movable_object.barrier", "barrier"),
    ):  # fmt: skip
        if category.startswith(start):
            return name
    return "others"


def _matrix(record: dict) -> np.ndarray:
    """(4, 4) of a record with `rotation` (quaternion w, x, y, z) and `translation`."""
    w, x, y, z = np.array(record["rotation"], float) / np.linalg.norm(record["rotation"])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = record["translation"]
    return matrix
