"""Small datasets for tests of labelling: a few frames, small pictures, objects ahead of the ego."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsd_model.geometry import bench2drive_rig
from rsd_offline.datasets.episode_store import DriveFrame, encode_images, write_episode
from rsd_offline.datasets.frames import AnnotatedObjects, FrameSourceError, KeyFrame
from rsd_offline.labeling.store import FrameLabel, ObjectLabel, write_shard

RIG = bench2drive_rig(128, 72)
# x, y, z, length, width, height, yaw: a car ahead, a pedestrian on the left, a truck farther right
BOXES = np.array(
    [
        [10.0, 0.0, 0.8, 4.5, 1.9, 1.6, 0.0],
        [14.0, 5.0, 0.9, 0.7, 0.7, 1.8, 0.0],
        [25.0, -6.0, 1.6, 8.0, 2.6, 3.2, 0.0],
    ]
)
CLASSES = ("car", "pedestrian", "truck")


def images(index: int, brightness: int = 110) -> tuple[np.ndarray, ...]:
    """Six pictures that differ from frame to frame, so that no two questions are the same."""
    rng = np.random.default_rng(index)
    blocks = rng.integers(max(brightness - 40, 0), brightness + 40, (6, 9, 16, 3)).astype(np.uint8)
    return tuple(np.kron(b, np.ones((8, 8, 1), np.uint8)) for b in blocks)


class SmallFrames:
    """A frame source in memory; `damaged` frames cannot be read, `empty` ones have no objects."""

    def __init__(self, count: int, damaged: tuple[int, ...] = (), empty: tuple[int, ...] = (), brightness: int = 110):
        self.name, self._count = f"small:{count}", count
        self._damaged, self._empty, self._brightness = damaged, empty, brightness

    def __len__(self) -> int:
        return self._count

    def frame_id(self, index: int) -> str:
        return f"clip/{index:05d}"

    def frame(self, index: int) -> KeyFrame:
        if index in self._damaged:
            raise FrameSourceError(f"frame {index} is damaged")
        count = 0 if index in self._empty else len(BOXES)
        objects = AnnotatedObjects(
            BOXES[:count], np.tile([2.0, 0.0], (count, 1)), CLASSES[:count], np.arange(101, 101 + count),
            np.zeros(count, bool),
        )  # fmt: skip
        future = np.stack([np.arange(1, 7) * 4.0, np.zeros(6)], 1)
        return KeyFrame(
            self.frame_id(index), RIG, lambda: images(index, self._brightness), 8.0, 0.2, None, future, objects,
            ("clear", "rain")[index % 2], ("day", "night")[index // 2 % 2], "testtown",
        )  # fmt: skip


def write_world(root: Path, frames: int, boxes: np.ndarray = BOXES) -> Path:
    """A drive of the embedded world on disk, with the privileged teacher's labels beside it."""
    drive, objects = [], []
    for index in range(frames):
        pose = np.eye(4)
        pose[0, 3] = 4.0 * index
        drive.append(
            DriveFrame(
                stamp=0.5 * index, images=encode_images(images(index)), pose=pose, velocity=np.array([8.0, 0.0, 0.0]),
                acceleration=np.zeros(3), yaw_rate=0.0, since_standstill=4.0 * index,
                command=3, route=np.zeros((5, 2)), plan=np.zeros((6, 2)),
                boxes=boxes, velocities=np.tile([2.0, 0.0], (3, 1)), labels=np.array([0, 7, 2]),
                ids=np.array([101, 102, 103]), pixels=np.full(3, 50),
                map_points=np.array([[[-5.0, 0.5], [30.0, 0.5]]]), map_labels=np.array([3]),
            )
        )  # fmt: skip
        for row, risk in enumerate((0.9, 0.5, 0.1)):
            objects.append(ObjectLabel(f"drive/{index:05d}", 101 + row, CLASSES[row], risk, rank=row + 1, cause="told"))
    write_episode(root / "drive", drive, RIG, {"weather": "night", "town": "testtown"})
    write_shard(root / "labels", "drive", [FrameLabel(f"drive/{i:05d}", "all") for i in range(frames)], objects, {})
    return root
