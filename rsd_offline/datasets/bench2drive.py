"""Bench2Drive clips on disk as key frames, every half second."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS, PLAN_STEPS
from rsd_offline.datasets.bench2drive_annotations import (
    CAMERAS,
    FRAMES_PER_SECOND,
    ClipName,
    annotated_objects,
    camera_rig,
    command_of,
    ego_pose,
    read_annotation,
)
from rsd_offline.datasets.frames import FrameSourceError, KeyFrame, future_positions
from rsd_offline.datasets.nuscenes import read_images

STRIDE = round(PLAN_STEP_SECONDS * FRAMES_PER_SECOND)


class Bench2DriveFrames:
    """All clips of a folder (or one clip), unpacked: `<clip>/anno/00000.json.gz`, `<clip>/camera/rgb_*/00000.jpg`."""

    def __init__(self, root: Path) -> None:
        root = Path(root)
        self.name = f"bench2drive:{root.name}"
        clips = [root] if (root / "anno").is_dir() else sorted(p.parent for p in root.glob("*/anno"))
        self._places = [(clip, frame) for clip in clips for frame in range(0, _clip_length(clip), STRIDE)]
        if not self._places:
            raise FrameSourceError(f"{root} holds no clip with anno/*.json.gz: unpack the clips' archives first")

    def __len__(self) -> int:
        return len(self._places)

    def frame_id(self, index: int) -> str:
        """<clip>/<frame of the clip>."""
        clip, frame = self._places[index]
        return f"{clip.name}/{frame:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Read a frame's annotation; images are read when asked for."""
        clip, number = self._places[index]
        annotation = _annotation(clip, number)
        previous = _annotation(clip, number - 1) if number > 0 else None
        weather, time_of_day = ClipName.parse(clip.name).conditions
        try:
            speed = float(annotation.get("speed", np.nan))
            return KeyFrame(
                frame_id=self.frame_id(index), rig=camera_rig(annotation),
                load_images=lambda: read_images(_image_paths(clip, number)),
                ego_speed=speed if np.isfinite(speed) else None, command=command_of(annotation),
                future=_future(clip, number), objects=annotated_objects(annotation, previous),
                weather=weather, time_of_day=time_of_day, town=ClipName.parse(clip.name).town,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
            raise FrameSourceError(f"{_annotation_path(clip, number)} is not complete: {error!r}") from error


def _annotation_path(clip: Path, frame: int) -> Path:
    return clip / "anno" / f"{frame:05d}.json.gz"


@lru_cache(maxsize=48)
def _annotation(clip: Path, frame: int) -> dict:
    return read_annotation(_annotation_path(clip, frame))


def _image_paths(clip: Path, frame: int) -> list[Path]:
    return [clip / "camera" / f"rgb_{name.removeprefix('CAM_').lower()}" / f"{frame:05d}.jpg" for name in CAMERAS]


def _clip_length(clip: Path) -> int:
    names = [path.name.split(".")[0] for path in (clip / "anno").glob("*.json.gz")]
    return max((int(name) + 1 for name in names if name.isdecimal()), default=0)


def _future(clip: Path, frame: int) -> np.ndarray | None:
    poses = [ego_pose(_annotation(clip, frame))]
    for step in range(1, PLAN_STEPS + 1):
        if not _annotation_path(clip, frame + step * STRIDE).is_file():
            break
        poses.append(ego_pose(_annotation(clip, frame + step * STRIDE)))
    return future_positions(np.stack(poses), 0, PLAN_STEPS)
