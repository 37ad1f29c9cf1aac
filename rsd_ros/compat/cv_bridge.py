"""cv_bridge: images between messages and numpy."""

try:
    from cv_bridge import CvBridge, CvBridgeError
except ImportError:
    from rsd_ros.compat.fallback.cv_bridge import CvBridge, CvBridgeError
