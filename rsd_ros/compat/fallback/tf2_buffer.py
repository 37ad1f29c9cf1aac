"""The tree of coordinate frames over time, and lookups in it: the part of tf2_ros that needs no graph."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

from rsd_ros.compat.fallback.tf_transformations import quaternion_from_matrix, quaternion_matrix, quaternion_slerp

LONGEST_CHAIN = 1000  # more frames in a row than any vehicle has: the tree has a loop


class TransformException(Exception):
    """A transform that cannot be given."""


class LookupException(TransformException):
    """A frame that nobody has published."""


class ConnectivityException(TransformException):
    """Two frames that are not in one tree."""


class ExtrapolationException(TransformException):
    """A time outside what was received."""


@dataclass
class _Frame:
    """How one frame lay in its parent, over time."""

    parent: str
    is_static: bool
    stamps: list[int] = field(default_factory=list)  # ns, rising
    poses: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # translation, quaternion xyzw

    def insert(self, stamp: int, pose: tuple[np.ndarray, np.ndarray], cache_ns: int) -> None:
        if self.is_static:
            self.stamps, self.poses = [stamp], [pose]
            return
        if self.stamps and stamp < self.stamps[-1] - cache_ns:
            return  # as tf2 does: data older than the cache is dropped
        index = bisect.bisect_left(self.stamps, stamp)
        replaces = index < len(self.stamps) and self.stamps[index] == stamp
        self.stamps[index : index + replaces] = [stamp]
        self.poses[index : index + replaces] = [pose]
        expired = bisect.bisect_left(self.stamps, self.stamps[-1] - cache_ns)
        del self.stamps[:expired], self.poses[:expired]

    def matrix_at(self, stamp: int, name: str) -> np.ndarray:
        """(4, 4) frame to parent."""
        if self.is_static:
            return _matrix(*self.poses[0])
        if not self.stamps[0] <= stamp <= self.stamps[-1]:
            raise ExtrapolationException(
                f"transform of {name} was asked for {stamp / 1e9:.6f} s, known are "
                f"{self.stamps[0] / 1e9:.6f} .. {self.stamps[-1] / 1e9:.6f} s"
            )
        after = bisect.bisect_left(self.stamps, stamp)
        if self.stamps[after] == stamp:
            return _matrix(*self.poses[after])
        fraction = (stamp - self.stamps[after - 1]) / (self.stamps[after] - self.stamps[after - 1])
        (start, turned_start), (end, turned_end) = self.poses[after - 1 : after + 1]
        return _matrix(start + fraction * (end - start), quaternion_slerp(turned_start, turned_end, fraction))


class Buffer:
    """Keeps transforms for `cache_time` (10 s) and answers where one frame lies in another."""

    def __init__(self, cache_time: Duration | None = None, node: object = None) -> None:
        del node  # the real one offers services there
        self._cache_ns = (cache_time or Duration(seconds=10)).nanoseconds
        self._frames: dict[str, _Frame] = {}
        self._changed = threading.Condition()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Takes in a transform that changes over time."""
        self._set(transform, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Takes in a transform that holds for all times."""
        self._set(transform, is_static=True)

    def clear(self) -> None:
        """Forgets everything, as after a jump in time."""
        with self._changed:
            self._frames.clear()

    def can_transform(
        self, target_frame: str, source_frame: str, time: Time | TimeMessage, timeout: Duration | None = None
    ) -> bool:
        """True when lookup_transform would answer."""
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException:
            return False
        return True

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time | TimeMessage, timeout: Duration | None = None
    ) -> TransformStamped:
        """The pose of source_frame in target_frame at `time` (0: the newest time at which it is known), interpolated.

        Waits up to `timeout` for it, for which another thread has to spin.
        Raises LookupException, ConnectivityException or ExtrapolationException.
        """
        stamp = _nanoseconds(time)
        target, source = target_frame.lstrip("/"), source_frame.lstrip("/")
        problem: TransformException = TransformException()

        def answer() -> TransformStamped | None:
            nonlocal problem
            try:
                return self._lookup(target, source, stamp)
            except TransformException as error:
                problem = error
            return None

        with self._changed:
            found = self._changed.wait_for(answer, timeout=timeout.nanoseconds / 1e9 if timeout else 0.0)
        if found is None:
            raise problem
        return found

    def _set(self, transform: TransformStamped, is_static: bool) -> None:
        child, parent = transform.child_frame_id.lstrip("/"), transform.header.frame_id.lstrip("/")
        shift, turn = transform.transform.translation, transform.transform.rotation
        pose = np.array([shift.x, shift.y, shift.z]), np.array([turn.x, turn.y, turn.z, turn.w])
        length = np.linalg.norm(pose[1])
        if child == parent or not (np.isfinite(pose[0]).all() and np.isfinite(length) and length > 0.5):
            return  # as tf2 does: a transform that means nothing is ignored
        with self._changed:
            frame = self._frames.get(child)
            if frame is None or (frame.parent, frame.is_static) != (parent, is_static):
                frame = self._frames[child] = _Frame(parent, is_static)
            frame.insert(_nanoseconds(transform.header.stamp), (pose[0], pose[1] / length), self._cache_ns)
            self._changed.notify_all()

    def _lookup(self, target: str, source: str, stamp: int) -> TransformStamped:
        known = self._frames.keys() | {frame.parent for frame in self._frames.values()}
        for name in (target, source):
            if name not in known:
                raise LookupException(f"frame {name!r} does not exist; known are {', '.join(sorted(known)) or 'none'}")
        upward, downward = self._chain(source), self._chain(target)
        if upward[-1] != downward[-1]:
            raise ConnectivityException(f"frames {target!r} and {source!r} are not in one tree")
        while len(upward) > 1 and len(downward) > 1 and upward[-2] == downward[-2]:
            upward.pop()
            downward.pop()
        stamp = stamp or self._newest_common_stamp(upward[:-1] + downward[:-1])
        matrix = np.linalg.inv(self._to_last(downward, stamp)) @ self._to_last(upward, stamp)
        return _message(matrix, target, source, stamp)

    def _chain(self, name: str) -> list[str]:
        """From a frame to the root of its tree."""
        chain = [name]
        while chain[-1] in self._frames:
            chain.append(self._frames[chain[-1]].parent)
            if len(chain) > LONGEST_CHAIN:
                raise LookupException(f"the frames above {name!r} form a loop")
        return chain

    def _newest_common_stamp(self, names: list[str]) -> int:
        return min((self._frames[n].stamps[-1] for n in names if not self._frames[n].is_static), default=0)

    def _to_last(self, chain: list[str], stamp: int) -> np.ndarray:
        """(4, 4) first frame of the chain to the last."""
        matrix = np.eye(4)
        for name in chain[:-1]:
            matrix = self._frames[name].matrix_at(stamp, name) @ matrix
        return matrix


def _nanoseconds(time: Time | TimeMessage) -> int:
    return time.nanoseconds if isinstance(time, Time) else time.sec * 1_000_000_000 + time.nanosec


def _matrix(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    matrix = quaternion_matrix(quaternion)
    matrix[:3, 3] = translation
    return matrix


def _message(matrix: np.ndarray, target: str, source: str, stamp: int) -> TransformStamped:
    message = TransformStamped(child_frame_id=source)
    message.header.frame_id = target
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = map(float, matrix[:3, 3])
    turn.x, turn.y, turn.z, turn.w = map(float, quaternion_from_matrix(matrix))
    return message
