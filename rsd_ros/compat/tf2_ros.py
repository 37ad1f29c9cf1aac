"""tf2_ros: the tree of coordinate frames over time."""

try:
    from tf2_ros import (
        Buffer,
        ConnectivityException,
        ExtrapolationException,
        LookupException,
        StaticTransformBroadcaster,
        TransformBroadcaster,
        TransformException,
        TransformListener,
    )
except ImportError:
    from rsd_ros.compat.fallback.tf2_broadcaster import StaticTransformBroadcaster, TransformBroadcaster
    from rsd_ros.compat.fallback.tf2_buffer import (
        Buffer,
        ConnectivityException,
        ExtrapolationException,
        LookupException,
        TransformException,
    )
    from rsd_ros.compat.fallback.tf2_listener import TransformListener
