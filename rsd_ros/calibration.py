"""The rig as the messages tell it: camera_info for the lenses, TF for where the cameras sit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from sensor_msgs.msg import CameraInfo

from rsd_model.contracts import CameraRig
from rsd_model.geometry import bench2drive_rig
from rsd_ros.conversions import InvalidInput, camera_rig, distortion_of, intrinsics_of

# (4, 4) pose of a frame in base_link; raises InvalidInput while TF does not know it
FrameLookup = Callable[[str], np.ndarray]


@dataclass
class Calibration:
    """Builds the rig once every camera is known, or not at all; a refused camera_info never replaces a good one."""

    names: Sequence[str]
    lookup: FrameLookup
    source: str = "tf"  # or "bench2drive": focal lengths and mounts of that rig, only the sizes from camera_info
    problems: dict[str, str] = field(default_factory=dict)  # camera -> what is wrong with its newest camera_info
    warnings: dict[str, str] = field(default_factory=dict)
    _infos: dict[str, CameraInfo] = field(default_factory=dict)
    _rig: CameraRig | None = None

    def on_camera_info(self, camera: int, info: CameraInfo) -> None:
        """Take a camera_info in; an unchanged one costs a comparison."""
        name = self.names[camera]
        known = self._infos.get(name)
        if known is not None and _same(known, info):
            self.problems.pop(name, None)
            return
        try:
            self._check(info, name)
        except InvalidInput as problem:
            self.problems[name] = str(problem)
            return
        self.problems.pop(name, None)
        self._infos[name], self._rig = info, None

    def _check(self, info: CameraInfo, name: str) -> None:
        if self.source == "bench2drive":
            if not info.width or not info.height:
                raise InvalidInput(
                    f"{name}: camera_info says {info.width}x{info.height} pixels; publish the image's size in it"
                )
            return
        intrinsics_of(info, name)
        if distortion_of(info) > 0.02:
            self.warnings[name] = (
                f"{name}: camera_info has distortion up to {distortion_of(info):.2f}, "
                "the planner takes a pinhole; rectify the images"
            )

    def reset(self) -> None:
        """Look the mounts up again at the next use."""
        self._rig = None

    def rig(self) -> CameraRig:
        """The rig; raises InvalidInput that says which camera lacks what."""
        if self._rig is None:
            missing = [name for name in self.names if name not in self._infos]
            if missing:
                reasons = [self.problems[name] for name in missing if name in self.problems]
                raise InvalidInput("; ".join(reasons) or f"waiting for camera_info of {', '.join(missing)}")
            infos = [self._infos[name] for name in self.names]
            self._rig = self._bench2drive(infos) if self.source == "bench2drive" else self._from_tf(infos)
        return self._rig

    def _from_tf(self, infos: Sequence[CameraInfo]) -> CameraRig:
        mounts = [self.lookup(info.header.frame_id) for info in infos]
        return camera_rig(self.names, infos, mounts)

    def _bench2drive(self, infos: Sequence[CameraInfo]) -> CameraRig:
        rigs = [bench2drive_rig(info.width, info.height) for info in infos]
        if len(self.names) != len(rigs[0].names):
            raise InvalidInput(
                f"rig_source bench2drive has {len(rigs[0].names)} cameras, the parameter cameras {len(self.names)}"
            )
        return CameraRig(
            tuple(self.names),
            np.stack([rig.intrinsics[i] for i, rig in enumerate(rigs)]),
            rigs[0].cam_to_base,
            np.stack([rig.sizes[i] for i, rig in enumerate(rigs)]),
        )


def _same(a: CameraInfo, b: CameraInfo) -> bool:
    return (
        (a.width, a.height, a.header.frame_id) == (b.width, b.height, b.header.frame_id)
        and np.array_equal(a.k, b.k)
        and np.array_equal(a.d, b.d)
    )
