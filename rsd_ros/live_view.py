"""The demo's live window, laid out as the video. Tk, because headless OpenCV has no windows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from rsd_ros.demo_processes import DemoError
from rsd_ros.drive_log import DriveLog, Moment
from rsd_ros.drive_video import HISTORY, DriveVideo


class NoWindowError(DemoError):
    """No window can be opened; the message says what is missing."""


class LiveView:
    """A window that shows the newest moment."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise NoWindowError(f"--view needs Tk ({error}): apt-get install python3-tk, or leave --view out") from None
        self._errors = (tkinter.TclError, RuntimeError)  # of a window that was closed
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise NoWindowError(f"--view cannot open a window: {error}") from None
        self._root.title(f"RSD: {title}")
        self._photo = tkinter.PhotoImage
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._past: deque[Moment] = deque()
        self._open = True

    def show(self, moment: Moment, surroundings: DriveLog) -> None:
        """Draw one moment with the rig and route of `surroundings`; does nothing once the window was closed."""
        if not self._open or not moment.images or moment.trajectory is None:
            return
        if not self._past or moment.stamp != self._past[-1].stamp:
            self._past.append(moment)
        while self._past[0].stamp < moment.stamp - HISTORY:
            self._past.popleft()
        log = replace(surroundings, moments=list(self._past))
        try:
            self._image = self._photo(data=_ppm(DriveVideo(log).frame(-1)))  # Tk keeps no reference of its own
            self._label.configure(image=self._image)
            self._root.update()
        except self._errors:
            self._open = False


def _ppm(picture: np.ndarray) -> bytes:
    """(H, W, 3) BGR as PPM, which every Tk reads."""
    height, width = picture.shape[:2]
    return b"P6 %d %d 255 " % (width, height) + cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).tobytes()
