"""Drives of the embedded world as key frames."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np

from rsd_model.contracts import MAP_CLASSES, OBJECT_CLASSES, PLAN_STEPS, Command
from rsd_offline.datasets.episode_store import FORMAT_VERSION, Episode, EpisodeError, decode_image, find_episodes
from rsd_offline.datasets.frames import AnnotatedObjects, FrameSourceError, KeyFrame, future_positions, lane_offset

OPEN_EPISODES = 8
TIMES_OF_DAY = {"dusk": "dusk", "night": "night"}


class WorldFrames:
    """All finished episodes of a folder, one key frame every PLAN_STEP_SECONDS."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = Path(root), f"world:{Path(root).name}"
        folders = find_episodes(self.root)
        if not folders:
            raise FrameSourceError(f"{root} holds no finished episode (*/episode.json): `rsd train` collects them")
        counts = [_frame_count(folder) for folder in folders]
        self._places = [(folder, index) for folder, n in zip(folders, counts, strict=True) for index in range(n)]
        self._open: OrderedDict[Path, Episode] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def frame_id(self, index: int) -> str:
        """As in the label store of the collection."""
        folder, position = self._places[index]
        return f"{folder.name}/{position:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Read a frame; images are read when asked for."""
        folder, position = self._places[index]
        episode = self._episode(folder)
        frame = episode.frame(position, with_images=False)
        weather = str(episode.about.get("weather", ""))
        centers = frame.map_points[frame.map_labels == MAP_CLASSES.index("Center")]
        return KeyFrame(
            frame_id=episode.frame_id(position), rig=episode.rig,
            load_images=lambda: _images(episode, position), ego_speed=float(frame.velocity[0]),
            lane_offset=lane_offset(centers), command=Command(int(frame.command)),
            future=_future(episode, position),
            objects=AnnotatedObjects(
                boxes=np.asarray(frame.boxes, float).reshape(-1, 7),
                velocities=np.asarray(frame.velocities, float).reshape(-1, 2),
                classes=tuple(OBJECT_CLASSES[int(label)] for label in frame.labels),
                ids=np.asarray(frame.ids, np.int64), hidden=np.asarray(frame.pixels) == 0,
            ),
            weather=weather, time_of_day=TIMES_OF_DAY.get(weather, "day"), town=str(episode.about.get("town", "")),
        )  # fmt: skip

    def _episode(self, folder: Path) -> Episode:
        if folder not in self._open:
            self._open[folder] = self._read(folder)
            while len(self._open) > OPEN_EPISODES:
                self._open.popitem(last=False)
        self._open.move_to_end(folder)
        return self._open[folder]

    @staticmethod
    def _read(folder: Path) -> Episode:
        try:
            return Episode(folder)
        except EpisodeError as error:
            raise FrameSourceError(str(error)) from error


def _frame_count(folder: Path) -> int:
    try:
        about = json.loads((folder / "episode.json").read_text())
        version, frames = about["format_version"], int(about["frames"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FrameSourceError(f"{folder}/episode.json cannot be read ({error!r}): delete the episode") from error
    if version != FORMAT_VERSION:
        raise FrameSourceError(f"{folder} has format version {version}, this code reads {FORMAT_VERSION}: collect anew")
    return frames


def _future(episode: Episode, position: int) -> np.ndarray | None:
    following = range(position, min(position + PLAN_STEPS + 1, len(episode)))
    poses = np.stack([episode.frame(index, with_images=False).pose for index in following])
    return future_positions(poses, 0, PLAN_STEPS)


def _images(episode: Episode, position: int) -> tuple[np.ndarray, ...]:
    try:
        return tuple(decode_image(data) for data in episode.frame(position).images)
    except EpisodeError as error:
        raise FrameSourceError(str(error)) from error
