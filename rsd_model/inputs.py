"""From one frame set to the numbers the network takes; training, the ROS node and in-process drives share it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from rsd_model.config import ImageConfig, ModelConfig
from rsd_model.contracts import STANDSTILL, CameraRig, EgoState
from rsd_model.geometry import base_to_lidar_points, lidar_to_image, wrap_angle, yaw_of

STANDSTILL_FADES = 10.0  # m driven after which a standstill counts 1 / e


def network_image(image: np.ndarray, config: ImageConfig) -> np.ndarray:
    """Resize an RGB image (h, w, 3) uint8 to the configured size and pad it with zeros at the right and the bottom."""
    padded = np.zeros((*config.padded_size, 3), np.uint8)
    height, width = image.shape[:2]
    if (width, height) == (config.width, config.height):
        padded[:height, :width] = image
        return padded
    shrinks = width >= config.width and height >= config.height
    method = cv2.INTER_AREA if shrinks and config.resize == "area" else cv2.INTER_LINEAR
    padded[: config.height, : config.width] = cv2.resize(image, (config.width, config.height), interpolation=method)
    return padded


class ImageNormaliser:
    """Resized and padded images (..., H, W, 3) uint8 RGB to the network's (..., 3, H, W) float, on one device.

    The channels stay last in memory; whole rows are normalised at once, since runs of three values are slow.
    """

    def __init__(self, config: ImageConfig, device: torch.device) -> None:
        self._config, self.device = config, device
        self._reversed = config.channels == "bgr"
        width = config.padded_size[1]
        self._mean = torch.tensor(config.mean, device=device).repeat(width)
        self._std = torch.tensor(config.std, device=device).repeat(width)

    def __call__(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device)
        rows = (pixels.flip(-1) if self._reversed else pixels).float().flatten(-2)
        values = ((rows - self._mean) / self._std).unflatten(-1, (-1, 3)).movedim(-1, -3)
        if self._config.pad_with == "zero":
            values[..., self._config.height :, :] = 0.0
            values[..., :, self._config.width :] = 0.0
        return values


def rig_projection(rig: CameraRig, config: ImageConfig) -> np.ndarray:
    """(N, 4, 4) float32 projection of LiDAR-frame points to pixels of the resized images."""
    size = np.tile([[config.width, config.height]], (len(rig.names), 1))
    return lidar_to_image(rig, size).astype(np.float32)


def can_bus(ego: EgoState, previous: EgoState | None) -> np.ndarray:
    """(18,) CAN-bus vector in Bench2Drive's order with the deltas VAD's detector puts in.

    0:3 displacement in the map frame m (z 0), 3:7 quaternion wxyz of the heading, 7:10 speed, 10:13 acceleration,
    13:16 negative yaw rate on z, 16 heading rad, 17 change of heading in DEGREES. Without `previous` deltas are 0.
    """
    yaw = yaw_of(ego.pose)
    values = np.zeros(18, np.float32)
    values[3], values[6] = np.cos(yaw / 2.0), np.sin(yaw / 2.0)
    values[7] = ego.speed
    values[10:13] = ego.acceleration
    values[15] = -ego.yaw_rate
    values[16] = yaw
    if previous is not None:
        values[0:2] = ego.pose[:2, 3] - previous.pose[:2, 3]
        values[17] = np.degrees(wrap_angle(yaw - yaw_of(previous.pose)))
    return values


def resample_route(route: np.ndarray, count: int, spacing: float) -> np.ndarray:
    """`count` points (count, 2) every `spacing` m along a route (R, 2) m; past its end the last point repeats."""
    if len(route) == 0:
        return np.zeros((count, 2))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(route, axis=0), axis=1))])
    wanted = spacing * np.arange(1, count + 1)
    return np.stack([np.interp(wanted, along, route[:, k]) for k in range(2)], axis=1)


def route_input(route: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(R, 2) float32 route ahead in the LiDAR frame as the ego query takes it, from points in base_link."""
    points = resample_route(route, config.ego.route_points, config.ego.route_spacing)
    return base_to_lidar_points(points).astype(np.float32)


class StandstillMemory:
    """Metres driven since the vehicle last stood: whether a stop sign has been obeyed is in no image."""

    def __init__(self) -> None:
        self.metres = np.inf  # never seen standing
        self._before: EgoState | None = None

    def update(self, ego: EgoState) -> float:
        """Take the ego state of one instant in; returns the metres up to it. A stamp in the past forgets."""
        before, self._before = self._before, ego
        if abs(ego.speed) < STANDSTILL:
            self.metres = 0.0
        elif before is None or ego.stamp < before.stamp:
            self.metres = np.inf
        else:
            self.metres += float(np.linalg.norm((ego.pose - before.pose)[:2, 3]))
        return self.metres


def ego_status(ego: EgoState, since_standstill: float, config: ModelConfig) -> np.ndarray:
    """(S,) float32 numbers of about 1 that `config.ego.status` names (`EGO_STATUS`); zeros mean: not known.

    `since_standstill` m is what `StandstillMemory` says; it enters as 1 at a standstill, fading to 0.
    """
    values = {
        "known": 1.0,
        "speed": ego.speed / 10.0,
        "acceleration": ego.acceleration[0] / 3.0,
        "yaw_rate": ego.yaw_rate / 0.5,
        "standstill": np.exp(-since_standstill / STANDSTILL_FADES),
    }
    return np.array([values[name] for name in config.ego.status], np.float32)
