"""The part of message_filters that joins several topics by time stamp."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node


class SimpleFilter:
    """A source of messages that any number of callbacks and synchronizers can hang on."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
        """Calls `cb(*messages, *args)` for what comes through; returns the number of the connection."""
        self.callbacks[len(self.callbacks)] = (cb, args)
        return len(self.callbacks) - 1

    def signalMessage(self, *msg: Any) -> None:
        """Hands one message, or a set of them, to the callbacks."""
        for callback, arguments in self.callbacks.values():
            callback(*msg, *arguments)


class Subscriber(SimpleFilter):
    """A subscription as a source; options are those of Node.create_subscription."""

    def __init__(self, node: Node, message_type: type, topic: str, **options: Any) -> None:
        super().__init__()
        self.topic = topic
        self.sub = node.create_subscription(
            message_type, topic, self.signalMessage, options.pop("qos_profile", 10), **options
        )


class ApproximateTimeSynchronizer(SimpleFilter):
    """Hands over one message of every source when their stamps lie within `slop` seconds.

    A set leaves when its last message arrives; while one source is silent, none leaves.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
        super().__init__()
        self._slop_ns = round(slop * 1e9)
        self._queue_size = queue_size
        self._queues: list[dict[int, Any]] = [{} for _ in fs]  # by stamp in ns
        self._lock = threading.Lock()
        for index, source in enumerate(fs):
            source.registerCallback(self._add, index)

    def _add(self, message: Any, index: int) -> None:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        with self._lock:
            queue = self._queues[index]
            queue[stamp] = message
            while len(queue) > self._queue_size:
                del queue[min(queue)]
            stamps = self._matching_stamps(stamp, index)
            messages = [queue.pop(stamp) for queue, stamp in zip(self._queues, stamps, strict=True)] if stamps else []
        if messages:
            self.signalMessage(*messages)

    def _matching_stamps(self, stamp: int, index: int) -> tuple[int, ...] | None:
        def near(queue: dict[int, Any]) -> list[int]:
            return sorted((s for s in queue if abs(s - stamp) <= self._slop_ns), key=lambda s: abs(s - stamp))

        candidates = [[stamp] if other == index else near(queue) for other, queue in enumerate(self._queues)]
        fitting = (stamps for stamps in itertools.product(*candidates) if max(stamps) - min(stamps) <= self._slop_ns)
        return next(fitting, None)


class TimeSynchronizer(ApproximateTimeSynchronizer):
    """Hands over one message of every source when their stamps are equal."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__(fs, queue_size, slop=0.0)
