"""Opening a dataset for labelling by its folder."""

from __future__ import annotations

from pathlib import Path

from rsd_offline.datasets.frames import FrameSource, FrameSourceError

KINDS = ("world", "bench2drive", "nuscenes", "nuscenes-info")


def open_frames(path: Path, kind: str = "auto") -> FrameSource:
    """The key frames of a dataset. `kind` is one of KINDS, or `auto`: told from what lies in the folder.

    Raises FrameSourceError where nothing known is found.
    """
    path = Path(path)
    if not path.exists():
        raise FrameSourceError(f"{path} does not exist")
    kind = _kind_of(path) if kind == "auto" else kind
    if kind == "world":
        from rsd_offline.datasets.world_frames import WorldFrames

        return WorldFrames(path)
    if kind == "bench2drive":
        from rsd_offline.datasets.bench2drive import Bench2DriveFrames

        return Bench2DriveFrames(path)
    if kind == "nuscenes":
        from rsd_offline.datasets.nuscenes_tables import NuscenesFrames

        return NuscenesFrames(path)
    if kind == "nuscenes-info":
        from rsd_offline.datasets.nuscenes import NuscenesInfoFrames

        return NuscenesInfoFrames(path)
    raise FrameSourceError(f"dataset kind {kind!r} is unknown; choose among {', '.join(KINDS)}")


def _kind_of(path: Path) -> str:
    if path.suffix == ".json" or (path / "sample.json").is_file():
        return "nuscenes-info"
    if any(path.glob("v1.0-*/sample.json")):
        return "nuscenes"
    if (path / "anno").is_dir() or any(path.glob("*/anno")):
        return "bench2drive"
    if any(path.glob("*/episode.json")):
        return "world"
    raise FrameSourceError(
        f"{path} holds none of: */episode.json (embedded world), anno/*.json.gz or */anno (Bench2Drive clips), "
        "v1.0-*/sample.json (nuScenes), sample.json (nuScenes info file)"
    )
