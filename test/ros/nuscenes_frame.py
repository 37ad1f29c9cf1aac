"""One real six-camera frame as ROS messages, from nuScenes' demo sample; it is looked for beside the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rsd_model.contracts import CameraRig
from rsd_model.geometry import BENCH2DRIVE_CAMERAS, box_corners, project_to_image
from rsd_ros.conversions import NANOSECONDS, byte_array, ns_to_stamp

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "nuscenes_sample"
EDGES = [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]


@dataclass(frozen=True)
class Camera:
    """One camera of the sample."""

    name: str
    file: Path
    offset: int  # ns, from the earliest camera
    intrinsics: np.ndarray  # (3, 3)
    cam_to_ego: np.ndarray  # (4, 4)
    lidar_to_pixels: np.ndarray  # (3, 4), with the vehicle's own motion between LiDAR and camera

    def raw(self, stamp: int) -> Image:
        """bgr8 image message."""
        pixels = cv2.imread(str(self.file))
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="bgr8", step=3 * pixels.shape[1])
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp + self.offset), self.name
        message.data = byte_array(pixels)
        return message

    def compressed(self, stamp: int) -> CompressedImage:
        """The JPEG as it is."""
        message = CompressedImage(format="jpeg")
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp + self.offset), self.name
        message.data = byte_array(np.frombuffer(self.file.read_bytes(), np.uint8))
        return message

    def info(self, stamp: int) -> CameraInfo:
        """Its calibration."""
        message = CameraInfo(width=1600, height=900, k=self.intrinsics.ravel().tolist())
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp + self.offset), self.name
        return message


@dataclass(frozen=True)
class Frame:
    """The cameras in the rig's order, and the annotated boxes."""

    cameras: list[Camera]
    boxes_lidar: np.ndarray  # (B, 7), LiDAR frame
    lidar_to_ego: np.ndarray  # (4, 4)
    ego_to_map: np.ndarray  # (4, 4)

    def corners_in_ego(self) -> np.ndarray:
        """(B, 8, 3) m."""
        corners = np.stack([box_corners(box) for box in self.boxes_lidar])
        return corners @ self.lidar_to_ego[:3, :3].T + self.lidar_to_ego[:3, 3]


def load_frame() -> Frame:
    """The sample."""
    sample = json.loads((FOLDER / "sample.json").read_text())["data_list"][0]
    first = min(image["timestamp"] for image in sample["images"].values())
    cameras = []
    for name in BENCH2DRIVE_CAMERAS:
        image = sample["images"][name]
        intrinsics = np.array(image["cam2img"])[:3, :3]
        cameras.append(
            Camera(
                name,
                FOLDER / image["img_path"],
                round((image["timestamp"] - first) * NANOSECONDS),
                intrinsics,
                np.array(image["cam2ego"]),
                intrinsics @ np.array(image["lidar2cam"])[:3],
            )
        )
    boxes = np.array([instance["bbox_3d"] for instance in sample["instances"]])
    return Frame(cameras, boxes, np.array(sample["lidar_points"]["lidar2ego"]), np.array(sample["ego2global"]))


def draw_boxes(frame: Frame, rig: CameraRig, images: list[np.ndarray]) -> np.ndarray:
    """Six RGB images (H, W, 3) in two rows with all boxes projected through the rig."""
    drawn = [image.copy() for image in images]
    for corners in frame.corners_in_ego():
        for camera, image in enumerate(drawn):
            pixels, depth = project_to_image(rig, camera, corners)
            if (depth > 0.5).all() and ((pixels > -500) & (pixels < 2500)).all():
                for a, b in EDGES:
                    cv2.line(image, tuple(pixels[a].astype(int)), tuple(pixels[b].astype(int)), (255, 220, 0), 3)
    rows = [np.hstack([drawn[i] for i in row]) for row in ((1, 0, 2), (4, 3, 5))]
    return cv2.resize(np.vstack(rows), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
