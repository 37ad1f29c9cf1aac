"""The launch files name what exists: against stand-ins for `launch`, which the ROS wheels lack, and the real one."""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from rsd_model.resources import share_path
from rsd_ros.control_parameters import CONTROL_PARAMETERS
from rsd_ros.planner_parameters import PLANNER_PARAMETERS
from rsd_ros.world_parameters import WORLD_PARAMETERS

FILES = ("sim", "carla", "replay")
DECLARED = {
    "planner": {p.name: p for p in PLANNER_PARAMETERS},
    "control": {p.name: p for p in CONTROL_PARAMETERS},
    "world": {p.name: p for p in WORLD_PARAMETERS},
}


@dataclass
class Thing:
    """Whatever a launch file makes, with its arguments."""

    kind: str
    positional: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)

    def perform(self, context: dict[str, str]) -> str:
        """As a LaunchConfiguration does."""
        return context[self.positional[0]]


def recording(kind: str) -> Any:
    return lambda *positional, **named: Thing(kind, positional, named)


@pytest.fixture
def launch_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.action": ["Action"],
        "launch.actions": [
            "DeclareLaunchArgument", "SetEnvironmentVariable", "OpaqueFunction", "Shutdown", "IncludeLaunchDescription",
            "ExecuteProcess",
        ],
        "launch.conditions": ["IfCondition"],
        "launch.substitutions": ["LaunchConfiguration"],
        "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
    }  # fmt: skip
    for module, members in names.items():
        stand_in = types.ModuleType(module)
        for member in members:
            setattr(stand_in, member, recording(member))
        monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.delitem(sys.modules, "rsd_ros.launch_parts", raising=False)


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_launch", share_path(f"launch/{name}.launch.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def actions(name: str, **arguments: str) -> tuple[list[Thing], list[Thing]]:
    """Declared arguments, and what the launch file starts."""
    description = load(name).generate_launch_description().positional[0]
    declared = [thing for thing in description if thing.kind == "DeclareLaunchArgument"]
    context = {thing.positional[0]: thing.named.get("default_value", "recording") for thing in declared}
    opaque = next(thing for thing in description if thing.kind == "OpaqueFunction")
    return declared, opaque.named["function"](context | arguments)


@pytest.mark.usefixtures("launch_stand_ins")
@pytest.mark.parametrize("name", FILES)
def test_a_launch_file_starts_our_nodes_with_parameters_that_exist_and_have_the_right_type(name: str):
    declared, started = actions(name)
    assert all(thing.named["description"] for thing in declared)
    assert "rviz" in {thing.positional[0] for thing in declared}
    nodes = [thing for thing in started if thing.kind == "Node"]
    assert {node.named["executable"] for node in nodes} >= {"planner_node", "rviz2"}
    for node in nodes:
        if node.named["package"] != "rsd":
            continue
        module, own = node.named["executable"], node.named["name"]
        assert share_path(f"rsd_ros/{module}.py").exists()
        assert (node.named["namespace"], module) == ("/rsd", f"{own}_node")
        for values in node.named["parameters"]:
            check_parameters(own, values)


def check_parameters(node: str, values: Any) -> None:
    """A dict, or a parameter file of which the node's own section counts."""
    if isinstance(values, str):
        values = yaml.safe_load(Path(values).read_text())[f"/rsd/{node}"]["ros__parameters"]
    for key, value in values.items():
        if key == "use_sim_time":
            continue
        parameter = DECLARED[node][key]
        assert type(value) is type(parameter.default), key
        assert not parameter.choices or value in parameter.choices
        assert parameter.low is None or parameter.low <= value <= parameter.high, key


@pytest.mark.parametrize("file", ["sim", "carla", "replay", "vehicle"])
def test_every_parameter_file_names_parameters_that_exist(file: str):
    sections = yaml.safe_load(share_path(f"config/ros/{file}.yaml").read_text())
    for section in sections:
        check_parameters(section.removeprefix("/rsd/"), str(share_path(f"config/ros/{file}.yaml")))


@pytest.mark.usefixtures("launch_stand_ins")
def test_a_role_of_the_leaderboard_reaches_every_topic():
    _, started = actions("carla", role_name="hero")
    text = str([thing.named["parameters"] for thing in started if thing.named.get("package") == "rsd"])
    assert "/carla/hero/CAM_BACK_LEFT/image" in text
    assert "/carla/hero/vehicle_control_cmd" in text
    assert "/carla/hero/status" in text
    assert "ego_vehicle" not in text


@pytest.mark.usefixtures("launch_stand_ins")
def test_replay_plays_the_bag_on_its_own_time_and_drives_nothing():
    _, started = actions("replay", bag="drive.mcap", loop="true")
    assert not [thing for thing in started if thing.named.get("name") == "control"]
    command = next(thing for thing in started if thing.kind == "ExecuteProcess").named["cmd"]
    assert command[:4] == ["ros2", "bag", "play", "drive.mcap"]
    assert "--clock" in command
    assert "--loop" in command


@pytest.mark.parametrize("name", FILES)
def test_the_real_launch_makes_command_lines_of_it(name: str, monkeypatch: pytest.MonkeyPatch):
    actions = pytest.importorskip("launch_ros.actions", reason="launch comes with a ROS installation alone")
    from launch import LaunchContext

    monkeypatch.delitem(sys.modules, "rsd_ros.launch_parts", raising=False)
    context = LaunchContext()
    context.launch_configurations["bag"] = "drive.mcap"
    entities = load(name).generate_launch_description().entities
    started = [action for entity in entities for action in entity.execute(context) or []]
    nodes = [action for action in started if isinstance(action, actions.Node) and action.node_package == "rsd"]
    for node in nodes:
        node._perform_substitutions(context)
    assert {"/rsd/planner"} <= {node.node_name for node in nodes} <= {"/rsd/planner", "/rsd/control", "/rsd/world"}


def test_the_rviz_view_shows_what_the_planner_publishes():
    view = yaml.safe_load(share_path("config/rviz/rsd.rviz").read_text())
    displays = view["Visualization Manager"]["Displays"]
    topics = {d["Topic"]["Value"] for d in displays if isinstance(d.get("Topic"), dict)}
    assert {
        "/rsd/planner/markers", "/rsd/planner/risk_grid", "/rsd/planner/path", "/carla/ego_vehicle/CAM_FRONT/image",
        "/carla/ego_vehicle/waypoints",
    } <= topics  # fmt: skip
    assert view["Visualization Manager"]["Global Options"]["Fixed Frame"] == "map"
