"""Drives of the embedded world on disk: one folder an episode, written whole or not at all.

    <episode>/episode.json   what was driven (town, route, scenario, weather, seed, policy, outcome) and the camera rig
    <episode>/frames.npz     everything but the images, ragged arrays as values + offsets
    <episode>/images.bin     JPEG images one behind the other; `image_offsets` in frames.npz says where

Frames are PLAN_STEP_SECONDS apart, so the future of an object is its box in the following frames.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from rsd_model.contracts import CameraRig

FORMAT_VERSION = 2
JPEG_QUALITY = 92


class EpisodeError(ValueError):
    """An episode folder cannot be read."""


@dataclass(frozen=True)
class DriveFrame:
    """One recorded instant; everything in base_link of that instant but `pose`."""

    stamp: float  # s
    images: tuple[bytes, ...]  # N JPEG
    pose: np.ndarray  # (4, 4) base_link -> map
    velocity: np.ndarray  # (3,) m/s
    acceleration: np.ndarray  # (3,) m/s^2
    yaw_rate: float  # rad/s
    since_standstill: float  # m driven since the vehicle last stood
    command: int
    route: np.ndarray  # (R, 2) m, 1 m apart
    plan: np.ndarray  # (6, 2) m, the expert's plan from here
    boxes: np.ndarray  # (K, 7)
    velocities: np.ndarray  # (K, 2) m/s
    labels: np.ndarray  # (K,) int
    ids: np.ndarray  # (K,) int
    pixels: np.ndarray  # (K,) int, visible pixels over all cameras
    map_points: np.ndarray  # (M, P, 2) m
    map_labels: np.ndarray  # (M,) int


_FIXED = ("stamp", "pose", "velocity", "acceleration", "yaw_rate", "since_standstill", "command", "plan")
_RAGGED = ("route", "boxes", "velocities", "labels", "ids", "pixels", "map_points", "map_labels")


def encode_images(images: Sequence[np.ndarray]) -> tuple[bytes, ...]:
    """RGB images (H, W, 3) uint8 to JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return tuple(cv2.imencode(".jpg", cv2.cvtColor(i, cv2.COLOR_RGB2BGR), options)[1].tobytes() for i in images)


def decode_image(data: bytes) -> np.ndarray:
    """JPEG to RGB (H, W, 3) uint8; raises EpisodeError where it is damaged."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise EpisodeError(f"a JPEG of {len(data)} bytes cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_episode(folder: Path, frames: Sequence[DriveFrame], rig: CameraRig, about: dict) -> None:
    """Write an episode atomically: a killed writer leaves no half episode. Raises EpisodeError without frames."""
    if not frames:
        raise EpisodeError(f"{folder}: an episode needs at least one frame")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {key: np.stack([np.asarray(getattr(f, key)) for f in frames]) for key in _FIXED}
    for key in _RAGGED:
        values = [np.asarray(getattr(f, key)) for f in frames]
        arrays[key] = np.concatenate(values)
        arrays[f"{key}_offsets"] = np.cumsum([0] + [len(v) for v in values])
    blobs = [blob for f in frames for blob in f.images]
    arrays["image_offsets"] = np.cumsum([0] + [len(b) for b in blobs]).astype(np.int64)
    for name in ("intrinsics", "cam_to_base", "sizes"):
        arrays[f"rig_{name}"] = getattr(rig, name)
    (partial / "images.bin").write_bytes(b"".join(blobs))
    np.savez_compressed(partial / "frames.npz", **arrays)
    about = {"format_version": FORMAT_VERSION, "cameras": list(rig.names), "frames": len(frames), **about}
    (partial / "episode.json").write_text(json.dumps(about, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


class Episode:
    """An episode on disk. Arrays are read once, images when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.about = json.loads((folder / "episode.json").read_text())
            with np.load(folder / "frames.npz", allow_pickle=False) as data:
                self._arrays = {key: data[key] for key in data.files}
        except (OSError, ValueError, KeyError) as error:
            raise EpisodeError(f"{folder} is not a readable episode ({error}): delete it and collect again") from error
        if self.about.get("format_version") != FORMAT_VERSION:
            found = self.about.get("format_version")
            raise EpisodeError(f"{folder} has format version {found}, this code reads {FORMAT_VERSION}: collect again")
        a = self._arrays
        self.rig = CameraRig(tuple(self.about["cameras"]), a["rig_intrinsics"], a["rig_cam_to_base"], a["rig_sizes"])

    def __len__(self) -> int:
        return int(self.about["frames"])

    def frame_id(self, index: int) -> str:
        """Name of a frame in label stores."""
        return f"{self.folder.name}/{index:05d}"

    def frame(self, index: int, with_images: bool = True) -> DriveFrame:
        """Frame `index`; without images `images` is empty."""
        a = self._arrays
        fields = {key: a[key][index] for key in _FIXED}
        for key in _RAGGED:
            start, stop = a[f"{key}_offsets"][index : index + 2]
            fields[key] = a[key][start:stop]
        return DriveFrame(images=self._images(index) if with_images else (), **fields)

    def _images(self, index: int) -> tuple[bytes, ...]:
        cameras = len(self.rig.names)
        offsets = self._arrays["image_offsets"][index * cameras : (index + 1) * cameras + 1]
        with (self.folder / "images.bin").open("rb") as file:
            file.seek(offsets[0])
            data = file.read(int(offsets[-1] - offsets[0]))
        if len(data) != offsets[-1] - offsets[0]:
            raise EpisodeError(f"{self.folder}/images.bin ends before frame {index}: delete it and collect again")
        return tuple(data[b - offsets[0] : e - offsets[0]] for b, e in pairwise(offsets))


def find_episodes(root: Path) -> list[Path]:
    """Finished episode folders under `root`, sorted by name."""
    return sorted(p.parent for p in root.glob("*/episode.json") if not p.parent.name.startswith("."))
