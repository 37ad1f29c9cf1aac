"""Which images belong together, and how long to wait for one that is missing. No ROS in here, but for `approximate`.

Policy `deadline`: a set leaves when every awaited camera is there, or at its deadline with the missing ones marked.
Policy `approximate`: message_filters.ApproximateTimeSynchronizer, which yields nothing while one camera is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

MAX_OPEN_SETS = 4  # older ones are given up
PATIENCE = 3  # sets in a row a camera may miss before nobody waits for it


@dataclass(frozen=True)
class ImageSet:
    """Images of one instant, in the rig's order; None where a camera is missing."""

    images: tuple[Any, ...]
    stamps: tuple[int | None, ...]  # ns
    waited: float  # s from the first image to the set leaving

    @property
    def stamp(self) -> int:
        """Stamp of the set in ns: its newest image's."""
        return max(stamp for stamp in self.stamps if stamp is not None)

    @property
    def valid(self) -> tuple[bool, ...]:
        """Which cameras are there."""
        return tuple(stamp is not None for stamp in self.stamps)


@dataclass
class SyncCounters:
    """What happened since the start."""

    complete: int = 0  # sets that left with every camera
    incomplete: int = 0  # sets that left with a camera missing
    superseded: int = 0  # sets given up because a newer one was ready
    late: int = 0  # images of an instant that has already left
    duplicates: int = 0  # images that arrived twice
    resets: int = 0  # jumps back in time


class Synchronizer(Protocol):
    """What the planner node needs of either policy. `now` is a monotonic clock in s, stamps are ns."""

    counters: SyncCounters

    def add(self, camera: int, stamp: int, image: Any, now: float) -> bool:
        """Take one image in; whether who waits should look: a set is ready, or its deadline runs from now on."""

    def take(self, now: float) -> ImageSet | None:
        """The newest set that is ready, if any; older ones are dropped."""

    def next_deadline(self) -> float | None:
        """When a set that is open now becomes ready by waiting alone."""

    def reset(self) -> None:
        """Forget all images: time jumped."""


@dataclass
class _OpenSet:
    reference: int
    deadline: float
    opened: float
    images: list[Any]
    stamps: list[int | None]

    def close(self, now: float) -> ImageSet:
        return ImageSet(tuple(self.images), tuple(self.stamps), now - self.opened)


class DeadlineSynchronizer:
    """Groups images whose stamps lie within `tolerance`; waits at most `deadline` s (wall clock) for the missing ones.

    The deadline is wall time on purpose: in lock-step simulation the clock stands still until the planner answers.
    A camera that missed `PATIENCE` sets in a row is not waited for until it sends again.
    """

    def __init__(self, cameras: int, deadline: float, tolerance: float, reset_after: float = 1.0) -> None:
        """`deadline`, `tolerance` and `reset_after` (a jump back in stamps beyond which all is forgotten) in s."""
        self.counters = SyncCounters()
        self._cameras, self._deadline = cameras, deadline
        self._tolerance, self._reset_after = round(tolerance * 1e9), round(reset_after * 1e9)
        self._open: list[_OpenSet] = []  # by rising reference stamp
        self._missed = [0] * cameras
        self._left: _OpenSet | None = None  # the newest set that left
        self._left_at: float | None = None

    def reset(self) -> None:
        """Forget all images: time jumped."""
        self._open.clear()
        self._missed = [0] * self._cameras
        self._left = self._left_at = None
        self.counters.resets += 1

    def add(self, camera: int, stamp: int, image: Any, now: float) -> bool:
        """Take one image in; `stamp` ns, `now` s of a monotonic clock. See `Synchronizer.add`."""
        known = [candidate.reference for candidate in (*self._open, *((self._left,) if self._left else ()))]
        if known and stamp < max(known) - self._reset_after:
            self.reset()
        if any(candidate.stamps[camera] == stamp for candidate in self._open):
            self.counters.duplicates += 1
            return False
        chosen = self._fitting(camera, stamp)
        if chosen is None and self._is_late(camera, stamp):
            self._missed[camera] = 0  # too late for its set, yet the camera lives
            self.counters.late += 1
            return False
        self._forget_misses_after_a_pause(now)
        self._missed[camera] = 0
        opens = chosen is None
        chosen = chosen or self._open_set(stamp, now)
        chosen.images[camera], chosen.stamps[camera] = image, stamp
        return opens or self._ready(chosen, now)

    def _fitting(self, camera: int, stamp: int) -> _OpenSet | None:
        """The open set nearest in time that still lacks this camera: its next image belongs to a later set."""
        fitting = [s for s in self._open if abs(stamp - s.reference) <= self._tolerance and s.stamps[camera] is None]
        return min(fitting, key=lambda s: abs(stamp - s.reference), default=None)

    def _is_late(self, camera: int, stamp: int) -> bool:
        if self._left is None:
            return False
        own = self._left.stamps[camera]
        return stamp <= (self._left.reference + self._tolerance if own is None else own)

    def _forget_misses_after_a_pause(self, now: float) -> None:
        if self._left_at is not None and not self._open and now - self._left_at > 5.0 * self._deadline:
            # All cameras were gone: as they return, the first set waits for each of them.
            self._missed = [0] * self._cameras

    def _open_set(self, stamp: int, now: float) -> _OpenSet:
        fresh = _OpenSet(stamp, now + self._deadline, now, [None] * self._cameras, [None] * self._cameras)
        self._open = sorted([*self._open, fresh], key=lambda s: s.reference)
        if len(self._open) > MAX_OPEN_SETS:
            self._open.pop(0)
            self.counters.superseded += 1
        return fresh

    def _ready(self, candidate: _OpenSet, now: float) -> bool:
        missing = [i for i, stamp in enumerate(candidate.stamps) if stamp is None]
        return now >= candidate.deadline or all(self._missed[i] >= PATIENCE for i in missing)

    def take(self, now: float) -> ImageSet | None:
        """The newest set that is ready, if any; older ones, ready or not, are dropped and counted."""
        ready = [i for i, candidate in enumerate(self._open) if self._ready(candidate, now)]
        if not ready:
            return None
        newest = self._open[ready[-1]]
        chosen = newest.close(now)
        self.counters.superseded += ready[-1]
        self._open = self._open[ready[-1] + 1 :]
        if self._left is not None and chosen.stamp <= max(s for s in self._left.stamps if s is not None):
            self.counters.superseded += 1  # a straggler's set: a newer instant has been planned on
            return None
        newest.images.clear()
        self._left, self._left_at = newest, now
        for camera, valid in enumerate(chosen.valid):
            self._missed[camera] = 0 if valid else self._missed[camera] + 1
        if all(chosen.valid):
            self.counters.complete += 1
        else:
            self.counters.incomplete += 1
        return chosen

    def next_deadline(self) -> float | None:
        """When a set that is open now becomes ready by waiting alone."""
        return min((s.deadline for s in self._open), default=None)


class ApproximateSynchronizer:
    """message_filters.ApproximateTimeSynchronizer behind the same interface: complete sets only."""

    def __init__(self, cameras: int, slop: float, queue_size: int = 10) -> None:
        """`slop` in s: the largest spread of the stamps in a set."""
        self.counters = SyncCounters()
        self._cameras, self._slop, self._queue_size = cameras, slop, queue_size
        self._connect()

    def _connect(self) -> None:
        from rsd_ros.compat import message_filters

        self._filters = [message_filters.SimpleFilter() for _ in range(self._cameras)]
        self._joint = message_filters.ApproximateTimeSynchronizer(self._filters, self._queue_size, self._slop)
        self._joint.registerCallback(self._joined)
        self._newest: int | None = None
        self._ready: ImageSet | None = None

    def add(self, camera: int, stamp: int, image: Any, now: float) -> bool:
        """Take one message in; its header carries the stamp. Whether a set is complete."""
        if self._newest is not None and stamp < self._newest - 1_000_000_000:
            self.reset()
        self._newest = stamp if self._newest is None else max(stamp, self._newest)
        self._filters[camera].signalMessage(image)
        return self._ready is not None

    def _joined(self, *messages: Any) -> None:
        if self._ready is not None:
            self.counters.superseded += 1
        stamps = tuple(m.header.stamp.sec * 1_000_000_000 + m.header.stamp.nanosec for m in messages)
        self._ready = ImageSet(messages, stamps, 0.0)

    def take(self, now: float) -> ImageSet | None:
        """The newest complete set, if any."""
        ready, self._ready = self._ready, None
        if ready is not None:
            self.counters.complete += 1
        return ready

    def next_deadline(self) -> None:
        """Waiting never completes a set here."""
        return None

    def reset(self) -> None:
        """Forget all images: time jumped."""
        self._connect()
        self.counters.resets += 1
