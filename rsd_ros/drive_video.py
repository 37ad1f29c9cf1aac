"""`drive.mp4` from a recording: six cameras with the plan and risky objects in them, and the bird's-eye view beside."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from rsd_model.contracts import CameraRig, Command
from rsd_ros.drive_drawing import BACKGROUND, FAINT, TEXT, BirdsEye, CameraProjector, draw_camera, put_text, risk_bgr
from rsd_ros.drive_log import DriveLog, Moment, decode_bgr, read_drive

TILE = (432, 244)  # width, height of a camera picture, px
STRIP = 112  # height of the figures below, px
PANEL = 424  # width of the bird's-eye view, px
HISTORY = 10.0  # s of the curves
# where a camera belongs in the 3 x 2 mosaic, by the words in its name
ORDER = ("front_left", "front", "front_right", "back_left", "back", "back_right")


def mosaic_order(names: Sequence[str]) -> list[str]:
    """Camera names as they are laid out: front row left to right, then the back row."""
    lowered = {n.lower().replace("rgb_", "").replace("cam_", ""): n for n in names}
    if set(ORDER) <= set(lowered):
        return [lowered[o] for o in ORDER]
    return list(names)[:6]


class DriveVideo:
    """Draws the frames of a drive."""

    def __init__(self, log: DriveLog) -> None:
        self._log = log
        self._names = mosaic_order(list(log.rig.names) if log.rig else sorted(log.moments[-1].images))
        self._projectors = _projectors(log.rig, self._names)
        self.size = (3 * TILE[0] + PANEL, 2 * TILE[1] + STRIP)
        self._birds_eye = BirdsEye(PANEL, 2 * TILE[1])

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) BGR pictures, one a moment."""
        for index, moment in enumerate(self._log.moments):
            yield self.frame(index, moment)

    def frame(self, index: int, moment: Moment) -> np.ndarray:
        """The picture of one moment."""
        canvas = np.full((self.size[1], self.size[0], 3), BACKGROUND, np.uint8)
        for number, name in enumerate(self._names):
            row, column = divmod(number, 3)
            x, y = column * TILE[0], row * TILE[1]
            canvas[y : y + TILE[1], x : x + TILE[0]] = self._tile(name, moment)
        canvas[: 2 * TILE[1], 3 * TILE[0] :] = self._birds_eye.draw(moment)
        put_text(canvas, "plan, objects and risk, seen from above", (3 * TILE[0] + 10, 18), 0.4, FAINT)
        self._strip(canvas[2 * TILE[1] :], index, moment)
        return canvas

    def _tile(self, name: str, moment: Moment) -> np.ndarray:
        tile = np.full((TILE[1], TILE[0], 3), BACKGROUND, np.uint8)
        if name in moment.images:
            tile = cv2.resize(decode_bgr(moment.images[name]), TILE, interpolation=cv2.INTER_AREA)
            if name in self._projectors:
                draw_camera(tile, moment, self._projectors[name])
        else:
            put_text(tile, "no image", (TILE[0] // 2 - 35, TILE[1] // 2), 0.5, (60, 60, 255))
        put_text(tile, name.lower().replace("rgb_", "").replace("cam_", "").replace("_", " "), (8, 16), 0.4)
        return tile

    def _strip(self, strip: np.ndarray, index: int, moment: Moment) -> None:
        risk, what = moment.top_risk
        put_text(strip, f"{moment.speed * 3.6:4.0f} km/h", (14, 44), 1.0)
        put_text(strip, Command(moment.trajectory.command).name, (14, 72), 0.5, FAINT)
        put_text(strip, f"t {moment.stamp - self._log.moments[0].stamp:5.1f} s", (14, 96), 0.5, FAINT)
        put_text(strip, f"risk {risk:.2f} {what}", (200, 44), 0.8, risk_bgr(risk))
        if moment.trajectory.is_stop:
            put_text(strip, f"STOP: {moment.trajectory.stop_reason[:70]}", (200, 72), 0.5, (80, 80, 255))
        past = [m for m in self._log.moments[: index + 1] if m.stamp > moment.stamp - HISTORY]
        times = np.array([m.stamp - moment.stamp for m in past])
        speeds = np.array([m.speed for m in past])
        curves = (
            ("speed, m/s", speeds, max(10.0, float(np.nanmax(speeds, initial=0.0))), TEXT),
            ("highest risk", np.array([m.top_risk[0] for m in past]), 1.0, (60, 120, 255)),
        )
        for number, (title, values, top, color) in enumerate(curves):
            _curve(strip[8:-8, 620 + 560 * number : 1150 + 560 * number], title, times, values, top, color)


def _projectors(rig: CameraRig | None, names: Sequence[str]) -> dict[str, CameraProjector]:
    if rig is None:
        return {}
    return {n: CameraProjector(rig, rig.names.index(n), TILE) for n in names if n in rig.names}


def _curve(
    area: np.ndarray, title: str, times: np.ndarray, values: np.ndarray, top: float, color: tuple[int, int, int]
) -> None:
    height, width = area.shape[:2]
    cv2.rectangle(area, (0, 0), (width - 1, height - 1), (62, 57, 52), 1)
    known = np.isfinite(values)
    x = (1.0 + times[known] / HISTORY) * (width - 1)
    y = (1.0 - np.clip(values[known] / top, 0, 1)) * (height - 6) + 3
    cv2.polylines(area, [np.rint(np.stack([x, y], 1)).astype(np.int32)], False, color, 2, cv2.LINE_AA)
    put_text(area, f"{title} (last {HISTORY:.0f} s, up to {top:.0f})", (8, 16), 0.38, FAINT)


def write_video(log: DriveLog, path: Path, on_frame: Callable[[], None] = lambda: None) -> None:
    """Encode the drive as H.264 at its own pace; `on_frame()` after each picture."""
    drawn = DriveVideo(log)
    stamps = [m.stamp for m in log.moments]
    period = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.1
    rate = Fraction(1.0 / max(period, 0.02)).limit_denominator(1000)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "24", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *drawn.size, "yuv420p"
        for picture in drawn.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            on_frame()
        container.mux(stream.encode(None))


def main() -> None:
    """`python -m rsd_ros.drive_video drive.mcap [drive.mp4]`."""
    parser = argparse.ArgumentParser(description="Draw a recorded drive as a video.")
    parser.add_argument("recording", type=Path, help="MCAP file of /rsd/recorder")
    parser.add_argument("video", type=Path, nargs="?", help="default: the recording's name with .mp4")
    arguments = parser.parse_args()
    write_video(read_drive(arguments.recording), arguments.video or arguments.recording.with_suffix(".mp4"))


if __name__ == "__main__":
    main()
