"""Message classes by name: the same suite for the real rosidl_runtime_py and for ours."""

import pytest
from nav_msgs.msg import Path

from rsd_ros.compat.rosidl_runtime_py import get_message


def test_a_message_class_is_found_by_its_name():
    assert get_message("nav_msgs/msg/Path") is Path


@pytest.mark.parametrize("name", ["no_msgs/msg/Path", "nav_msgs/msg/NoSuchType", "Path"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises((ValueError, ModuleNotFoundError, AttributeError)):
        get_message(name)
