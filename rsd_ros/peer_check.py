"""What DDS itself is silent about: peers of another message definition or quality of service, scarce shared memory."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from rsd_ros.compat.transport import transport_warnings
from rsd_ros.compat.type_hashes import type_mismatches
from rsd_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from rsd_ros.qos_mismatches import qos_mismatches

PERIOD = 2.0  # s; peers may come at any time


class PeerCheck:
    """Looks at the peers of `topics` every other second, and once at the transport when the images' size is known."""

    def __init__(
        self,
        node: Node,
        diagnostics: Diagnostics,
        topics: list[str],
        images: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        """`images` gives the number of images in a set and the bytes of one, None while unknown."""
        self._node, self._diagnostics, self._topics, self._images = node, diagnostics, topics, images
        self._transport_checked = False
        self._timer = node.create_timer(PERIOD, self.check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy(self) -> None:
        """Stop looking."""
        self._node.destroy_timer(self._timer)

    def check(self) -> None:
        """Compare type hashes and quality of service, and report."""
        mismatches = type_mismatches(self._node, self._topics) + qos_mismatches(self._node, self._topics)
        self._report("peers", mismatches, ERROR, "message definitions and quality of service of all peers agree")
        size = None if self._transport_checked else self._images()
        if size is not None:
            self._transport_checked = True
            self._report("transport", transport_warnings(*size), WARN, "shared memory holds the images")

    def _report(self, name: str, problems: list[str], level: bytes, all_well: str) -> None:
        changed = self._diagnostics.set(name, level if problems else OK, "; ".join(problems) or all_well)
        if changed and problems:
            log = self._node.get_logger()
            for problem in problems:
                log.error(problem) if level == ERROR else log.warning(problem)
