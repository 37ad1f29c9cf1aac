"""`drive.mp4` from a recording: six cameras with the plan and risky objects in them, and the bird's-eye view beside."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from rsd_model.contracts import CameraRig, Command
from rsd_ros.birds_eye import BirdsEye
from rsd_ros.drawn_text import WHITE, Color, put_text, shortened
from rsd_ros.drive_drawing import BACKGROUND, FAINT, CameraProjector, draw_camera, risk_bgr
from rsd_ros.drive_log import DriveLog, DriveLogError, Moment, decode_bgr, read_drive

TILE = (432, 244)  # width, height of a camera picture, px
STRIP = 112  # height of the figures below, px
PANEL = 424  # width of the bird's-eye view, px
HISTORY = 10.0  # s of the curves
SILENT = 0.5  # s without images after which moments without any are shown, too
LAST_SHOWN = 0.1  # s that the last picture stands
TIME_BASE = Fraction(1, 1000)  # s
RED: Color = (80, 80, 255)
AMBER: Color = (60, 180, 255)
# where a camera belongs in the 3 x 2 mosaic, by the words in its name
ORDER = ("front_left", "front", "front_right", "back_left", "back", "back_right")
COMMANDS = {
    Command.LEFT: "turn left", Command.RIGHT: "turn right", Command.STRAIGHT: "go straight",
    Command.LANEFOLLOW: "follow the lane", Command.CHANGELANELEFT: "change to the left lane",
    Command.CHANGELANERIGHT: "change to the right lane",
}  # fmt: skip


def mosaic_order(names: Sequence[str]) -> list[str]:
    """Camera names as they are laid out: front row left to right, then the back row."""
    lowered = {short_name(n): n for n in names}
    if set(ORDER) <= set(lowered):
        return [lowered[o] for o in ORDER]
    return list(names)[:6]


def short_name(name: str) -> str:
    """A camera's name without its prefix: "front_left"."""
    return name.lower().replace("rgb_", "").replace("cam_", "")


class DriveVideo:
    """Draws the frames of a drive."""

    def __init__(self, log: DriveLog) -> None:
        self._log = log
        seen = dict.fromkeys(name for moment in log.moments for name in moment.images)
        self._names = mosaic_order(list(log.rig.names) if log.rig else sorted(seen))
        self._projectors = _projectors(log.rig, self._names)
        self.size = (3 * TILE[0] + PANEL, 2 * TILE[1] + STRIP)
        self._birds_eye = BirdsEye(PANEL, 2 * TILE[1])

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Seconds since the start and the (H, W, 3) BGR picture, for every moment that is worth showing."""
        shown = -math.inf
        for index, moment in enumerate(self._log.moments):
            # stop trajectories between two images would make the picture flicker
            if moment.images or moment.stamp - shown > SILENT:
                shown = moment.stamp
                yield moment.stamp - self._log.moments[0].stamp, self.frame(index)

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) BGR of one of the log's moments; a negative index counts from the end."""
        index %= len(self._log.moments)
        moment = self._log.moments[index]
        canvas = np.full((self.size[1], self.size[0], 3), BACKGROUND, np.uint8)
        for number, name in enumerate(self._names):
            row, column = divmod(number, 3)
            x, y = column * TILE[0], row * TILE[1]
            canvas[y : y + TILE[1], x : x + TILE[0]] = self._tile(name, moment)
        panel = self._birds_eye.draw(moment, self._log.route_ahead(moment))
        canvas[: 2 * TILE[1], 3 * TILE[0] :] = panel
        put_text(canvas, "seen by the planner, from above", (3 * TILE[0] + 8, 4), 12)
        self._strip(canvas[2 * TILE[1] :], index)
        return canvas

    def _tile(self, name: str, moment: Moment) -> np.ndarray:
        tile = np.full((TILE[1], TILE[0], 3), BACKGROUND, np.uint8)
        try:
            if name in moment.images:
                tile = cv2.resize(decode_bgr(moment.images[name]), TILE, interpolation=cv2.INTER_AREA)
                if name in self._projectors:
                    draw_camera(tile, moment, self._projectors[name])
            else:
                put_text(tile, "no image", (TILE[0] // 2 - 30, TILE[1] // 2 - 8), 14, RED)
        except DriveLogError:
            put_text(tile, "damaged image", (TILE[0] // 2 - 50, TILE[1] // 2 - 8), 14, RED)
        put_text(tile, short_name(name).replace("_", " "), (8, 4), 12)
        return tile

    def _strip(self, strip: np.ndarray, index: int) -> None:
        moment, first = self._log.moments[index], self._log.moments[0]
        speed = "no odometry" if math.isnan(moment.speed) else f"{abs(moment.speed) * 3.6:.0f} km/h"
        put_text(strip, speed, (14, 8), 28 if moment.odometry is not None else 16, bold=True)
        put_text(strip, COMMANDS[Command(moment.trajectory.command)], (14, 52), 14)
        put_text(strip, f"{moment.stamp - first.stamp:.1f} s{_latency(moment)}", (14, 80), 12, FAINT)
        self._risk_words(strip, moment)
        past = [m for m in self._log.moments[: index + 1] if m.stamp > moment.stamp - HISTORY]
        times = np.array([m.stamp - moment.stamp for m in past])
        speeds = np.array([3.6 * m.speed for m in past])
        top = max(30.0, 10.0 * math.ceil(np.nanmax(speeds, initial=0.0) / 10.0))
        risks = np.array([m.top_risk[0] for m in past])
        _curve(strip[6:-6, 640:1170], "speed, km/h", times, speeds, top, WHITE)
        _curve(strip[6:-6, 1182:1712], "highest object risk", times, risks, 1.0, (60, 120, 255))

    def _risk_words(self, strip: np.ndarray, moment: Moment) -> None:
        left, width = 250, 370
        if reason := moment.trajectory.stop_reason:
            color = RED if moment.trajectory.is_stop else AMBER
            put_text(strip, "STOPPING", (left, 8), 28, color, bold=True)
            put_text(strip, shortened(reason, 12, width), (left, 52), 12, color)
            return
        top = moment.top_object
        if top is None:
            put_text(strip, "no object found", (left, 16), 16, FAINT)
            return
        put_text(strip, f"risk {top.risk:.2f}", (left, 8), 28, risk_bgr(top.risk), bold=True)
        away = math.hypot(top.pose.position.x, top.pose.position.y)
        count = len(moment.objects.objects)
        words = f"{top.class_name.replace('_', ' ')}, {away:.0f} m away; {count} object{'s' * (count > 1)} in all"
        put_text(strip, words, (left, 52), 14)


def _latency(moment: Moment) -> str:
    known = moment.status is not None and moment.status.total_milliseconds > 0.0
    return f", planned in {moment.status.total_milliseconds:.0f} ms" if known else ""


def _projectors(rig: CameraRig | None, names: Sequence[str]) -> dict[str, CameraProjector]:
    if rig is None:
        return {}
    return {n: CameraProjector(rig, rig.names.index(n), TILE) for n in names if n in rig.names}


def _curve(area: np.ndarray, title: str, times: np.ndarray, values: np.ndarray, top: float, color: Color) -> None:
    height, width = area.shape[:2]
    cv2.rectangle(area, (0, 0), (width - 1, height - 1), (70, 65, 60), 1)
    known = np.isfinite(values)
    x = (1.0 + times[known] / HISTORY) * (width - 1)
    y = (1.0 - np.clip(values[known] / top, 0, 1)) * (height - 28) + 22
    if known.any():
        cv2.polylines(area, [np.rint(np.stack([x, y], 1)).astype(np.int32)], False, color, 2, cv2.LINE_AA)
    put_text(area, f"{title}, 0 to {top:.0f}, last {HISTORY:.0f} s", (8, 3), 11, FAINT)


def write_video(log: DriveLog, path: Path, on_frame: Callable[[], None] = lambda: None) -> None:
    """Encode the drive as H.264, each picture at its own time; `on_frame()` after each."""
    drawn = DriveVideo(log)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *drawn.size, "yuv420p"
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        for seconds, picture in drawn.frames():
            _encode(container, stream, picture, seconds)
            on_frame()
        _encode(container, stream, picture, seconds + LAST_SHOWN)  # else the last one would not be seen
        container.mux(stream.encode(None))


def _encode(
    container: av.container.OutputContainer, stream: av.VideoStream, picture: np.ndarray, seconds: float
) -> None:
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
    frame.time_base, frame.pts = TIME_BASE, round(seconds / TIME_BASE)
    container.mux(stream.encode(frame))


def main() -> int:
    """`python -m rsd_ros.drive_video drive.mcap [drive.mp4]`."""
    parser = argparse.ArgumentParser(description="Draw a recorded drive as a video.")
    parser.add_argument("recording", type=Path, help="MCAP file of /rsd/recorder")
    parser.add_argument("video", type=Path, nargs="?", help="default: the recording's name with .mp4")
    arguments = parser.parse_args()
    try:
        log = read_drive(arguments.recording)
    except DriveLogError as problem:
        print(f"drive_video: {problem}", file=sys.stderr)
        return 1
    write_video(log, arguments.video or arguments.recording.with_suffix(".mp4"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
