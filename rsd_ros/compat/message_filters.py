"""message_filters: sets of messages that belong together in time."""

try:
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter, Subscriber, TimeSynchronizer
except ImportError:
    from rsd_ros.compat.fallback.message_filters import (
        ApproximateTimeSynchronizer,
        SimpleFilter,
        Subscriber,
        TimeSynchronizer,
    )
