"""What the code imports is what the metadata declares, and packages import each other one way only."""

import ast
import importlib.metadata
import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = {"rsd_model", "rsd_world", "rsd_ros", "rsd_offline"}
ARROWS = {
    "rsd_model": set(),
    "rsd_world": {"rsd_model.geometry", "rsd_model.contracts", "rsd_model.control", "rsd_model.resources"},
    "rsd_ros": {"rsd_model", "rsd_world"},
    "rsd_offline": {"rsd_model", "rsd_world"},
}
ROS_PACKAGE = re.compile(
    r"rclpy|launch\w*|\w+_msgs|\w+_interfaces|rosidl_\w+|message_filters|cv_bridge|tf2_ros|tf_transformations|ament_\w+"
)
OPTIONAL = {"triton", "carla", "scenariogeneration", "pyclothoids"}  # CUDA torch brings triton; the others are extras
MODULE_OF = {"pillow": "PIL", "opencv-python-headless": "cv2", "pyyaml": "yaml", "mcap-ros2-support": "mcap_ros2"}


def imports(path: Path, top_level_only: bool) -> set[str]:
    """Modules that a file imports, dotted."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def imports_of(package: str, top_level_only: bool) -> set[str]:
    files = (ROOT / package).rglob("*.py")
    return set().union(*(imports(path, top_level_only) for path in files))


def is_allowed(module: str, package: str) -> bool:
    root = module.split(".")[0]
    allowed = ARROWS[package] | {package}
    return root not in OWN or any(module == name or module.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("package", sorted(OWN))
def test_packages_import_each_other_along_the_arrows(package):
    assert {module for module in imports_of(package, False) if not is_allowed(module, package)} == set()


@pytest.mark.parametrize("package", sorted(OWN - {"rsd_ros"}))
def test_ros_is_imported_in_one_package_alone(package):
    assert {module for module in imports_of(package, False) if ROS_PACKAGE.fullmatch(module.split(".")[0])} == set()


@pytest.mark.parametrize("package", ["rsd_model", "rsd_world", "rsd_ros"])
def test_what_driving_imports_is_a_declared_dependency(package):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]]
    declared = {MODULE_OF.get(name, name) for name in names}
    roots = {module.split(".")[0] for module in imports_of(package, True)}
    third_party = {r for r in roots if r not in OWN | set(sys.stdlib_module_names) and not ROS_PACKAGE.fullmatch(r)}
    assert third_party - declared - OPTIONAL - {"rsd"} == set()


def test_every_ros_package_that_is_imported_is_named_in_package_xml():
    tree = ElementTree.parse(ROOT / "package.xml")
    named = {node.text for node in tree.iter() if node.tag.endswith("depend")}
    files = [ROOT / "rsd_ros", ROOT / "launch"]
    roots = {
        module.split(".")[0] for folder in files for path in folder.rglob("*.py") for module in imports(path, False)
    }
    assert {root for root in roots if ROS_PACKAGE.fullmatch(root)} - named == set()


def test_every_installed_ros_wheel_has_the_pinned_version():
    """One wheel of another distribution breaks rclpy."""
    installed = {d.name: d.version for d in importlib.metadata.distributions() if d.name.startswith("ros-")}
    if not installed:
        pytest.skip("ROS does not come from wheels here")
    ros = "jazzy" if installed["ros-rclpy"].startswith("7.") else "kilted"
    lines = (ROOT / "requirements" / f"ros-{ros}.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line.startswith("ros-"))
    assert installed == pinned


def test_package_xml_and_pyproject_agree_on_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tree = ElementTree.parse(ROOT / "package.xml")
    assert (tree.findtext("version"), tree.findtext("license")) == (project["version"], project["license"]["text"])


def test_our_distribution_is_not_named_as_a_message_package():
    """Installing one would uninstall the other: the message packages register themselves under their ROS names."""
    from rsd_ros.build_messages import PACKAGES

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] not in PACKAGES
