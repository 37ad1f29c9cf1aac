"""Small episodes and a small network for tests of datasets and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from rsd_model.geometry import bench2drive_rig, pose_matrix
from rsd_offline.datasets.episode_store import DriveFrame, encode_images, write_episode
from rsd_offline.labeling.store import FrameLabel, ObjectLabel, write_shard

RIG = bench2drive_rig(64, 36)
SPEED = 4.0  # m/s of the ego, along map x
CAR_SPEED = 6.0  # m/s of the one car, along map x, 10 m ahead and 3 m to the left at time 0


def drive_frame(index: int) -> DriveFrame:
    """Frame `index` (0.5 s apart) of an ego that drives straight behind a car that pulls away."""
    stamp = 0.5 * index
    images = [np.full((36, 64, 3), (37 * index + 11 * camera) % 255, np.uint8) for camera in range(6)]
    ahead = 10.0 + (CAR_SPEED - SPEED) * stamp
    line = np.stack([np.linspace(-20.0, 20.0, 20), np.full(20, 1.75)], axis=1)
    return DriveFrame(
        stamp=stamp,
        images=encode_images(images),
        pose=pose_matrix(np.array([SPEED * stamp, 0.0, 0.0]), 0.0),
        velocity=np.array([SPEED, 0.0, 0.0]),
        acceleration=np.zeros(3),
        yaw_rate=0.0,
        since_standstill=SPEED * stamp,
        command=3,
        route=np.stack([np.arange(50.0), np.zeros(50)], axis=1),
        plan=np.stack([SPEED * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1),
        boxes=np.array([[ahead, 3.0, 0.75, 4.5, 1.8, 1.5, 0.0]]),
        velocities=np.array([[CAR_SPEED, 0.0]]),
        labels=np.array([0]),
        ids=np.array([7]),
        pixels=np.array([500]),
        map_points=line[None],
        map_labels=np.array([1]),
    )


def write_drives(root: Path, episodes: int, frames: int = 10, risk: float = 0.6) -> None:
    """`episodes` equal episodes with their labels below `root`."""
    for number in range(episodes):
        name = f"drive_{number:05d}"
        write_episode(root / name, [drive_frame(i) for i in range(frames)], RIG, {"town": "alder"})
        ids = [f"{name}/{i:05d}" for i in range(frames)]
        objects = [ObjectLabel(i, 7, "car", risk) for i in ids]
        write_shard(root / "labels", name, [FrameLabel(i, judged="all") for i in ids], objects, {"model": "test"})


def write_small_model(path: Path) -> Path:
    """YAML of a network that takes milliseconds."""
    small = {
        "name": "small", "dims": 16, "heads": 2, "ffn_dims": 32, "image": {"width": 64, "height": 36},
        "backbone": {
            "block": "basic", "depths": [1, 1], "widths": [8, 16], "stem_width": 8, "stem_kernel": 3,
            "out_stages": [1], "frozen_stages": -1, "train_norm": True,
        },
        "bev": {
            "rows": 12, "columns": 6, "layers": 1, "temporal_points": 2, "spatial_points": 4, "feature_levels": 1,
        },
        "objects": {"queries": 8, "layers": 1, "points": 2, "max_decoded": 8},
        "map": {"instances": 4, "points": 5, "layers": 1, "sampling_points": 2, "max_decoded": 4},
        "ego": {"route_points": 4, "route_spacing": 2.5, "status": ["known", "speed"], "bev_points": 2},
        "risk_head": {"map_resolution": 2.0, "dims": 16, "layers": 1, "points": 2},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(small))
    return path
