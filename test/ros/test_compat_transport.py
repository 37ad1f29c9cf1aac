"""Images need a large shared-memory segment: the settings reach Fast DDS, and their absence is noticed."""

from pathlib import Path

import pytest

from rsd_model.resources import config_path
from rsd_ros.compat import transport

FULL_HD_SET = (6, 1600 * 900 * 4)
NODE = """
import rclpy
rclpy.init()
node = rclpy.create_node("quiet")
print("ready", flush=True)
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    pass
"""


@pytest.fixture
def variable(monkeypatch):
    name = transport.profile_variable()
    for each in transport.PROFILE_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    return name


def test_our_profile_carries_six_full_images(variable, monkeypatch):
    monkeypatch.setenv(variable, str(config_path("fastdds.xml")))
    assert transport.transport_warnings(*FULL_HD_SET) == []


def test_without_a_profile_the_remedy_is_named(variable):
    (warning,) = transport.transport_warnings(*FULL_HD_SET)
    assert f"{variable}={config_path('fastdds.xml')}" in warning
    assert "69.1 MB" in warning


def test_a_profile_that_does_not_exist_is_named(variable, monkeypatch):
    monkeypatch.setenv(variable, "/nowhere/profile.xml")
    assert "/nowhere/profile.xml, which does not exist" in transport.transport_warnings(*FULL_HD_SET)[0]


def test_a_segment_that_is_too_small_is_measured(variable, monkeypatch, tmp_path):
    small = tmp_path / "small.xml"
    small.write_text(config_path("fastdds.xml").read_text().replace("134217728", "8000000"))
    monkeypatch.setenv(variable, str(small))
    assert "segment of 8.0 MB" in transport.transport_warnings(*FULL_HD_SET)[0]
    assert transport.transport_warnings(6, 400 * 225 * 4) == []


def test_a_full_shared_memory_is_named(variable, monkeypatch):
    monkeypatch.setenv(variable, str(config_path("fastdds.xml")))
    monkeypatch.setattr(transport.shutil, "disk_usage", lambda path: _Usage(free=1_000_000))
    (warning,) = transport.transport_warnings(*FULL_HD_SET)
    assert "has 1.0 MB left" in warning


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_other_middlewares_are_not_judged(variable, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert transport.transport_warnings(*FULL_HD_SET) == []


def test_what_the_user_has_set_is_kept(variable, monkeypatch):
    monkeypatch.setenv(variable, "/mine.xml")
    environment = transport.transport_environment()
    assert environment[variable] == "/mine.xml"
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "268435456"


def test_a_node_opens_the_segment_of_our_profile(variable, start_process, spin_until):
    process = start_process("-c", NODE)
    assert spin_until([], lambda: "ready" in process.output(), seconds=120)
    process.note_shared_memory()
    segments = [path for path in process.shared_memory if "port" not in path.name and not path.name.endswith("_el")]
    assert max(path.stat().st_size for path in segments) >= transport.segment_size(config_path("fastdds.xml"))
    process.stop()
    assert not any(Path(path).exists() for path in segments)
