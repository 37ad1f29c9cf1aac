"""nuScenes: the tables through nuscenes-devkit, and info files (JSON, mmdetection3d's layout) that need no devkit.

base_link is nuScenes' ego frame (rear axle on the ground); it is not shifted to the vehicle's middle.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from rsd_model.contracts import CameraRig
from rsd_model.geometry import transform_points, yaw_of
from rsd_offline.datasets.frames import AnnotatedObjects, FrameSourceError, KeyFrame

CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
IMAGE_SIZE = (1600, 900)


class NuscenesInfoFrames:
    """Samples of an info file: `metainfo.categories` and `data_list` with images, lidar2ego and instances.

    `path`: the JSON file, or a folder that holds it as sample.json; images are looked for beside it.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path)
        self._file = path / "sample.json" if path.is_dir() else path
        self.name = f"nuscenes-info:{self._file.parent.name}"
        try:
            content = json.loads(self._file.read_text())
            self._samples, categories = content["data_list"], content["metainfo"]["categories"]
        except (OSError, ValueError, KeyError) as error:
            raise FrameSourceError(f"{self._file} is not an info file with metainfo and data_list ({error})") from error
        self._classes = {int(number): name for name, number in categories.items()}

    def __len__(self) -> int:
        return len(self._samples)

    def frame_id(self, index: int) -> str:
        """<sample token>/<five digits>: an info file has no scenes."""
        return f"{self._samples[index]['token']}/{index:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Read a sample."""
        sample = self._samples[index]
        try:
            cameras = [sample["images"][name] for name in CAMERAS]
            rig = CameraRig(
                CAMERAS,
                np.array([c["cam2img"] for c in cameras], float)[:, :3, :3],
                np.array([c["cam2ego"] for c in cameras], float),
                np.tile(np.array([IMAGE_SIZE]), (len(CAMERAS), 1)),
            )
            objects = self._objects(sample["instances"], np.array(sample["lidar_points"]["lidar2ego"], float))
        except (KeyError, ValueError, TypeError) as error:
            raise FrameSourceError(f"{self._file}: sample {index} is not complete ({error!r})") from error
        paths = [self._file.parent / c["img_path"] for c in cameras]
        return KeyFrame(self.frame_id(index), rig, lambda: read_images(paths), objects=objects)

    def _objects(self, instances: list[dict], lidar_to_base: np.ndarray) -> AnnotatedObjects:
        boxes = np.array([i["bbox_3d"] for i in instances], float).reshape(-1, 7)
        velocities = np.array([i.get("velocity", (np.nan, np.nan)) for i in instances], float).reshape(-1, 2)
        boxes[:, :3] = transform_points(lidar_to_base, boxes[:, :3])
        boxes[:, 6] += yaw_of(lidar_to_base)
        return AnnotatedObjects(
            boxes=boxes, velocities=velocities @ lidar_to_base[:2, :2].T,
            classes=tuple(self._classes.get(int(i["bbox_label_3d"]), "others") for i in instances),
            ids=np.arange(len(instances)), hidden=np.zeros(len(instances), bool),
        )  # fmt: skip


def read_images(paths: list[Path]) -> tuple[np.ndarray, ...]:
    """RGB images (H, W, 3) uint8. Raises FrameSourceError naming the first that is missing or damaged."""
    images = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise FrameSourceError(f"{path} is missing or not a readable image")
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return tuple(images)
