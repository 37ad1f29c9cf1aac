"""The last odometry messages, and the ego state at the instant of an image. No graph in here."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from nav_msgs.msg import Odometry

from rsd_model.contracts import EgoState
from rsd_model.geometry import rotation_z
from rsd_ros.conversions import NANOSECONDS, InvalidInput, ego_state, stamp_to_ns

LENGTH = 200  # messages kept
FRESH = 30_000_000  # ns; an image this much newer than the odometry need not wait for the next one


class EgoHistory:
    """Ego states by stamp. A message that is refused leaves the last good one in place."""

    def __init__(self, timeout: float) -> None:
        """`timeout` s: an image further than this from any odometry is not planned on."""
        self._timeout = round(timeout * NANOSECONDS)
        self._states: deque[tuple[int, EgoState]] = deque(maxlen=LENGTH)
        self.heard: int | None = None  # stamp in ns of the newest message, refused ones included
        self.problem: str | None = None  # what is wrong with the newest message
        self.refused = 0

    def reset(self) -> None:
        """Forget all: time jumped."""
        self._states.clear()
        self.heard = self.problem = None

    def add(self, message: Odometry) -> None:
        """Take a message in; a broken one is counted and described in `problem`."""
        stamp = stamp_to_ns(message.header.stamp)
        if self.heard is not None and stamp < self.heard - NANOSECONDS:
            self.reset()
        self.heard = stamp if self.heard is None else max(stamp, self.heard)
        try:
            state = ego_state(message, self._states[-1][1] if self._states else None)
        except InvalidInput as problem:
            self.problem = str(problem)
            self.refused += 1
            return
        self.problem = None
        if not self._states or stamp > self._states[-1][0]:
            self._states.append((stamp, state))

    @property
    def newest(self) -> tuple[int, EgoState] | None:
        """Stamp in ns and state of the newest good message."""
        return self._states[-1] if self._states else None

    def has_reached(self, stamp: int) -> bool:
        """Whether odometry of (nearly) `stamp` ns has come, good or bad."""
        return self.heard is not None and self.heard >= stamp - FRESH

    def at(self, stamp: int) -> EgoState:
        """State at `stamp` ns, carried on from the message before it at constant twist.

        Raises InvalidInput where no odometry is near in time.
        """
        if not self._states:
            raise InvalidInput(self.problem or "waiting for odometry")
        before = [entry for entry in self._states if entry[0] <= stamp]
        known, state = before[-1] if before else self._states[0]
        gap = stamp - known
        if abs(gap) > self._timeout:
            why = (
                f" ({self.problem})"
                if self.problem
                else "; check that it is published, and on the same clock as the images"
            )
            raise InvalidInput(f"odometry is {abs(gap) / NANOSECONDS:.2f} s away from the images{why}")
        return state if gap == 0 else carry_on(state, gap / NANOSECONDS)


def carry_on(state: EgoState, seconds: float) -> EgoState:
    """`state` moved on by `seconds` at constant velocity and yaw rate."""
    pose = state.pose.copy()
    middle = pose[:3, :3] @ rotation_z(state.yaw_rate * seconds / 2.0)
    pose[:3, 3] += middle @ (state.velocity * seconds)
    pose[:3, :3] = pose[:3, :3] @ rotation_z(state.yaw_rate * seconds)
    return replace(state, stamp=state.stamp + seconds, pose=np.asarray(pose))
