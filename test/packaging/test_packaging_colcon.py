"""`colcon build` of this tree: messages, Python packages, launch and configuration in one install space."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # a crowded machine takes minutes to compile the messages
ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns(".*", "out", "runs", "data", "build", "install", "log", "__pycache__", "*.egg-info")
PROBE = """
from rsd.msg import RiskGrid
import rsd, rsd_ros, rsd_model, rsd_world, rsd_offline
from rsd_model.resources import config_path
from ament_index_python.packages import get_package_share_directory
print(RiskGrid(width=3).width, rsd.__file__, rsd_ros.__file__, config_path("fastdds.xml"))
print(get_package_share_directory("rsd"))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace whose install space was built from a copy of this tree."""
    colcon = shutil.which("colcon") or Path(sys.executable).with_name("colcon")
    if not Path(colcon).exists():
        pytest.skip("colcon is not installed")
    workspace = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT, workspace / "src" / "rsd", ignore=IGNORED)
    prefix = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    environment = os.environ | {
        "AMENT_PREFIX_PATH": prefix,
        "CMAKE_PREFIX_PATH": prefix,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [str(colcon), "build", "--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
    result = subprocess.run(
        command, cwd=workspace, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


def test_one_package_is_built(workspace):
    assert [path.name for path in (workspace / "install").iterdir() if path.is_dir()] == ["rsd"]


def test_messages_and_packages_are_imported_from_the_install_space(workspace):
    shell = f"source install/setup.bash && {sys.executable} -c '{PROBE}'"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        ["bash", "-c", shell], cwd=workspace, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    install = str(workspace / "install" / "rsd")
    assert result.stdout.startswith("3 ")
    assert result.stdout.count(install) == 4


def test_launch_files_and_configuration_are_installed(workspace):
    share = workspace / "install" / "rsd" / "share" / "rsd"
    for folder in ("config", "launch"):
        ours = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".yaml", ".rviz", ".xml")
        }
        assert {path for path in ours if not (share / path).exists()} == set()


def test_every_node_is_a_program_of_the_package(workspace):
    nodes = {path.stem for path in (ROOT / "rsd_ros").glob("*_node.py")}
    programs = workspace / "install" / "rsd" / "lib" / "rsd"
    assert {path.name for path in programs.iterdir() if os.access(path, os.X_OK)} == nodes
    first_line, *_ = (programs / "planner_node").read_text().splitlines()
    assert first_line == f"#!{sys.executable}"
