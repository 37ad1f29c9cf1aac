"""Nodes without handlers of DDS events, which rclpy looks at on every wakeup: two a topic were half of a node's work.

What the handlers would tell, peers whose quality of service or type does not match, `PeerCheck` reads off the graph.
"""

from __future__ import annotations

from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription


class WithoutEvents:
    """Mixin to put before Node; `event_callbacks` that are given stay. Lifecycle publishers take `NO_EVENTS`."""

    def create_publisher(self, *args: Any, **options: Any) -> Publisher:
        """`Node.create_publisher`."""
        return super().create_publisher(*args, **NO_EVENTS | options)

    def create_subscription(self, *args: Any, **options: Any) -> Subscription:
        """`Node.create_subscription`."""
        events = SubscriptionEventCallbacks(use_default_callbacks=False)
        return super().create_subscription(*args, **{"event_callbacks": events} | options)


NO_EVENTS = {"event_callbacks": PublisherEventCallbacks(use_default_callbacks=False)}
