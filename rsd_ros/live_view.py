"""The demo's live window, laid out as the video. Tk, because headless OpenCV has no windows."""

from __future__ import annotations

import cv2
import numpy as np

from rsd_ros.drive_log import DriveLog, Moment
from rsd_ros.drive_video import DriveVideo


class NoWindowError(RuntimeError):
    """No window can be opened; the message says what is missing."""


class LiveView:
    """A window that shows the newest moment."""

    def __init__(self) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise NoWindowError(f"--view needs Tk ({error}): apt-get install python3-tk, or leave --view out") from None
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise NoWindowError(f"--view cannot open a window: {error}") from None
        self._root.title("RSD")
        self._photo = tkinter.PhotoImage
        self._label = tkinter.Label(self._root)
        self._label.pack()

    def show(self, moment: Moment) -> None:
        """Draw one moment; without images nothing changes."""
        if not moment.images or moment.trajectory is None:
            return
        video = DriveVideo(DriveLog([moment], None, []))
        self._image = self._photo(data=_ppm(video.frame(0, moment)))  # Tk keeps no reference of its own
        self._label.configure(image=self._image)
        self._root.update()


def _ppm(picture: np.ndarray) -> bytes:
    """(H, W, 3) BGR as PPM, which every Tk reads."""
    height, width = picture.shape[:2]
    return b"P6 %d %d 255 " % (width, height) + cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).tobytes()
